//! Tests of xlb in the kernel and in namespaces.
