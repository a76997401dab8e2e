//! Tests of xlb in the kernel and in namespaces.
pub mod conformance;
