//! Properties of the whole road from bytes to model.
