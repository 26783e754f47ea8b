//! What a model is known by where something of it is saved: a hash of its header (metadata and tensor directory), of the first
//! bytes of every tensor's data, and of this engine's version. Two models with the same header, such as two trainings of one
//! architecture, differ in the data; all of it would have to be read twice, its beginnings cost nothing.

use crate::{gguf::Header, hash::Fnv};

/// Bytes of each tensor's data that count.
const FIRST_BYTES: usize = 64;

/// The hash as the model arrives. The same for any chunks.
pub(super) struct Identity {
    hash: Fnv,
    /// The tensor whose data came last.
    tensor: Option<usize>,
    n_left: usize,
}

impl Identity {
    pub(super) fn new(header: &Header) -> Self {
        let mut hash = Fnv::default();
        hash.write(env!("CARGO_PKG_VERSION").as_bytes());
        hash.write(&header.fingerprint.to_le_bytes());
        Self { hash, tensor: None, n_left: 0 }
    }

    /// The next bytes of a tensor's data have come.
    pub(super) fn note(&mut self, tensor: usize, bytes: &[u8]) {
        if self.tensor.replace(tensor) != Some(tensor) {
            self.n_left = FIRST_BYTES;
        }
        let n = self.n_left.min(bytes.len());
        self.hash.write(bytes.get(..n).unwrap_or_default());
        self.n_left -= n;
    }

    pub(super) fn finish(&self) -> u64 {
        self.hash.finish()
    }
}
