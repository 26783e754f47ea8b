//! Every tensor type that ggml ever numbered, so that a file with one that this engine does not read is refused by name, and
//! so that its shape can be checked first. Source: `ggml.h` and gguf-py's `GGML_QUANT_SIZES`.

/// What is known about a ggml type number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgmlType {
    /// A type of today's ggml.
    Known {
        /// ggml's name.
        name: &'static str,
        /// Elements per block.
        block_len: u64,
        /// Bytes per block.
        block_bytes: u64,
    },
    /// A type that ggml once had and took back.
    Removed {
        /// ggml's name.
        name: &'static str,
    },
    /// A number that ggml never gave.
    Unknown,
}

impl GgmlType {
    /// Looks a number up.
    pub fn from_number(number: u32) -> Self {
        match usize::try_from(number).ok().and_then(|i| TYPES.get(i)) {
            None => Self::Unknown,
            Some(&(name, 0, _)) => Self::Removed { name },
            Some(&(name, block_len, block_bytes)) => Self::Known { name, block_len, block_bytes },
        }
    }
}

/// Name, elements and bytes per block, by number. No elements: removed.
const TYPES: [(&str, u64, u64); 43] = [
    ("F32", 1, 4),
    ("F16", 1, 2),
    ("Q4_0", 32, 18),
    ("Q4_1", 32, 20),
    ("Q4_2", 0, 0),
    ("Q4_3", 0, 0),
    ("Q5_0", 32, 22),
    ("Q5_1", 32, 24),
    ("Q8_0", 32, 34),
    ("Q8_1", 32, 36),
    ("Q2_K", 256, 84),
    ("Q3_K", 256, 110),
    ("Q4_K", 256, 144),
    ("Q5_K", 256, 176),
    ("Q6_K", 256, 210),
    ("Q8_K", 256, 292),
    ("IQ2_XXS", 256, 66),
    ("IQ2_XS", 256, 74),
    ("IQ3_XXS", 256, 98),
    ("IQ1_S", 256, 50),
    ("IQ4_NL", 32, 18),
    ("IQ3_S", 256, 110),
    ("IQ2_S", 256, 82),
    ("IQ4_XS", 256, 136),
    ("I8", 1, 1),
    ("I16", 1, 2),
    ("I32", 1, 4),
    ("I64", 1, 8),
    ("F64", 1, 8),
    ("IQ1_M", 256, 56),
    ("BF16", 1, 2),
    ("Q4_0_4_4", 0, 0),
    ("Q4_0_4_8", 0, 0),
    ("Q4_0_8_8", 0, 0),
    ("TQ1_0", 256, 54),
    ("TQ2_0", 256, 66),
    ("IQ4_NL_4_4", 0, 0),
    ("IQ4_NL_4_8", 0, 0),
    ("IQ4_NL_8_8", 0, 0),
    ("MXFP4", 32, 17),
    ("NVFP4", 64, 36),
    ("Q1_0", 128, 18),
    ("Q2_0", 64, 18),
];
