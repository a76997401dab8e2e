//! Named situations of the language.
