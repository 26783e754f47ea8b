//! Says what a file is that is not GGUF: what a browser gets instead of a model is mostly a web page or a Git-LFS pointer.

use super::header::format_error;
use crate::error::Result;

/// Checks the first four bytes.
pub(super) fn check(magic: &[u8]) -> Result<()> {
    let kind = match magic {
        b"GGUF" => return Ok(()),
        b"FUGG" => "it is a byte-swapped GGUF file",
        b"vers" => "it looks like a Git-LFS pointer: the model itself was not downloaded",
        b"lmgg" | b"fmgg" | b"tjgg" | b"ggml" | b"ggmf" | b"ggjt" => "it is a file of the GGML family from before GGUF",
        [b'P', b'K', 3, 4] => "it is a ZIP archive or a PyTorch checkpoint",
        [0x1f, 0x8b, ..] => "it is compressed with gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "it is compressed with zstd",
        [0x80, 2..=5, ..] => "it is a Python pickle, such as an old PyTorch checkpoint",
        [_, _, _, 0] => "it is some binary file, perhaps safetensors",
        m => match m.trim_ascii_start().strip_prefix(b"\xef\xbb\xbf").unwrap_or(m.trim_ascii_start()) {
            [b'<', ..] => "it looks like HTML: a web page came instead of the model",
            [b'{' | b'[', ..] => "it looks like JSON: an answer of a server came instead of the model",
            _ => "its first bytes are not \"GGUF\"",
        },
    };
    Err(format_error(format!("this is no GGUF file: {kind} (found \"{}\")", magic.escape_ascii()), 0))
}
