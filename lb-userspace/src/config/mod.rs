//! keepalived.conf: bytes → lexer → tokens → parser → tree → lowering → [`model::Config`] and diagnostics.
//!
//! Knows the language and nothing else: no health, no maps, no clock. The specification's sections are named
//! where a rule is followed.

pub mod model;
