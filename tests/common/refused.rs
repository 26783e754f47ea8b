//! Models that are refused by their header. Tensor data has no part in that: a model is refused before its weights are fetched.

use kinglet::{arch::Model, error::Result};

use super::{gguf_builder::GgufBuilder, parse::parse};

pub const FORMAT: &str = "E_FILE_FORMAT";
pub const ARCH: &str = "E_UNSUPPORTED_ARCH";

/// What a file's header says, or why it is no model.
pub fn model(file: &GgufBuilder) -> Result<Model> {
    Model::from_header(&parse(&file.build()).expect("the file itself is well-formed").header)
}

/// Holds that a file is refused with a code, in words that hold `part`.
#[track_caller]
pub fn refused(file: &GgufBuilder, code: &str, part: &str) {
    let Err(error) = model(file) else { panic!("was accepted, should say {part:?}") };
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(part), "{error:?} does not say {part:?}");
}
