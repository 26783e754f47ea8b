//! The one public error of the engine, and the stable codes that JavaScript shares.
//!
//! A variant says what happened, what was found and expected, and whose fault it usually is. `code()` is part of the
//! public API: it never changes for a variant. Codes for faults that only the page can meet (E_NETWORK, E_RANGE,
//! E_QUOTA, E_CSP, E_BUSY, E_TEMPLATE) are raised in TypeScript.

use serde::Serialize;

/// The result of every fallible call of the engine.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What can go wrong in the engine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a well-formed GGUF file, or its contents contradict each other. The file's fault.
    #[error("{what}{}", at(*offset))]
    FileFormat {
        /// What was found and what was expected, naming the key or tensor.
        what: String,
        /// Byte offset in the file, where it is known.
        offset: Option<u64>,
    },
    /// The file, or the files, are a part of a model. The page can ask for the others.
    #[error("{what}")]
    MissingParts {
        /// Which parts are missing.
        what: String,
        /// How many there are of the whole model.
        n_parts: u64,
    },
    /// A count or size in the file is over a named limit of this engine. The file's fault, or a hostile file.
    #[error("{what}: {found} is over the limit of {limit}{}", at(*offset))]
    FileLimit {
        /// What is limited.
        what: String,
        /// What the file says.
        found: u64,
        /// The limit.
        limit: u64,
        /// Byte offset in the file, where it is known.
        offset: Option<u64>,
    },
    /// The model's architecture, or a variant of it, is not one that this engine runs.
    #[error("{what}")]
    UnsupportedArch {
        /// Names the architecture and what about it is not supported.
        what: String,
    },
    /// A tensor's format is not one that this engine reads.
    #[error("tensor {tensor}: format {format} is not supported")]
    UnsupportedQuant {
        /// GGUF name of the tensor.
        tensor: String,
        /// ggml's name of the format, or its number.
        format: String,
    },
    /// The bytes are not the ones that were promised (checksum, length).
    #[error("{what}")]
    Integrity {
        /// What was promised and what came.
        what: String,
    },
    /// Memory could not be had.
    #[error("{what} needs {needed_bytes} bytes of memory, which could not be had")]
    Memory {
        /// What the memory was for.
        what: String,
        /// How much was asked for, bytes.
        needed_bytes: u64,
    },
    /// The prompt and the tokens asked for do not fit the context.
    #[error("{requested_tokens} tokens do not fit the context of {available_tokens}")]
    ContextOverflow {
        /// Tokens that the request needs at least.
        requested_tokens: usize,
        /// Tokens that the context holds.
        available_tokens: usize,
    },
    /// A documented feature that this build does not have.
    #[error("{what}")]
    UnsupportedFeature {
        /// Names the feature.
        what: String,
    },
    /// The model is not one that can do what was asked (embeddings from a decoder without pooling, and the like).
    #[error("{what}")]
    UnsupportedTask {
        /// Names the task and the model.
        what: String,
    },
    /// The caller passed a value that no model could take. The caller's fault; nothing was done.
    #[error("{what}")]
    InvalidArgument {
        /// Names the argument, the value and the range.
        what: String,
    },
    /// There is no GPU that could be used, or it was not granted.
    #[error("{what}")]
    GpuUnavailable {
        /// What was asked for and what came.
        what: String,
    },
    /// The GPU went away. Nothing on it can be used any more.
    #[error("the GPU was lost: {what}")]
    GpuLost {
        /// What the browser or the driver says.
        what: String,
    },
    /// The GPU computes something else than it was told, in every form that was tried.
    #[error("the GPU computes wrongly: {what}")]
    GpuWrong {
        /// Names the kernel and the difference.
        what: String,
    },
    /// A defect of this engine, or logits that are not finite. Please report it.
    #[error("{what}")]
    Internal {
        /// What was found.
        what: String,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |o| format!(" (at byte {o})"))
}

impl Error {
    /// The stable code that JavaScript sees as `KingletError.code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FileFormat { .. } | Self::MissingParts { .. } => "E_FILE_FORMAT",
            Self::FileLimit { .. } => "E_FILE_LIMIT",
            Self::UnsupportedArch { .. } => "E_UNSUPPORTED_ARCH",
            Self::UnsupportedQuant { .. } => "E_UNSUPPORTED_QUANT",
            Self::Integrity { .. } => "E_INTEGRITY",
            Self::Memory { .. } => "E_MEMORY",
            Self::ContextOverflow { .. } => "E_CONTEXT_OVERFLOW",
            Self::UnsupportedFeature { .. } => "E_UNSUPPORTED_FEATURE",
            Self::UnsupportedTask { .. } => "E_UNSUPPORTED_TASK",
            Self::InvalidArgument { .. } => "RangeError",
            Self::GpuUnavailable { .. } => "E_GPU_UNAVAILABLE",
            Self::GpuLost { .. } => "E_GPU_LOST",
            Self::GpuWrong { .. } => "E_GPU_WRONG",
            Self::Internal { .. } => "E_INTERNAL",
        }
    }

    /// The numbers behind the message, for `KingletError.details`.
    pub fn details(&self) -> ErrorDetails {
        match *self {
            Self::FileFormat { offset, .. } => ErrorDetails { offset, ..ErrorDetails::default() },
            Self::MissingParts { n_parts, .. } => ErrorDetails { parts: Some(n_parts), ..ErrorDetails::default() },
            Self::FileLimit { offset, limit, found, .. } => {
                ErrorDetails { offset, limit: Some(limit), found: Some(found), ..ErrorDetails::default() }
            }
            Self::Memory { needed_bytes, .. } => {
                ErrorDetails { needed_bytes: Some(needed_bytes), ..ErrorDetails::default() }
            }
            Self::ContextOverflow { requested_tokens, available_tokens } => ErrorDetails {
                requested_tokens: Some(requested_tokens as u64),
                available_tokens: Some(available_tokens as u64),
                ..ErrorDetails::default()
            },
            _ => ErrorDetails::default(),
        }
    }

    /// A malformed file, without an offset.
    pub fn file(what: impl Into<String>) -> Self {
        Self::FileFormat { what: what.into(), offset: None }
    }

    /// A defect of this engine.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
    }
}

/// Numbers that go with an [`Error`]; absent ones are left out of the JavaScript object.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of the variants of Error")]
pub struct ErrorDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_tokens: Option<u64>,
}

/// An empty vector with room for exactly `n` items, or [`Error::Memory`]: the way to allocate anything whose size comes
/// from a file or a caller.
pub fn try_vec<T>(n: usize, what: &str) -> Result<Vec<T>> {
    let mut v = Vec::new();
    match v.try_reserve_exact(n) {
        Ok(()) => Ok(v),
        Err(_) => {
            Err(Error::Memory { what: what.into(), needed_bytes: (n as u64).saturating_mul(size_of::<T>() as u64) })
        }
    }
}
