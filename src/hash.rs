//! FNV-1a, 64 bits (Fowler, Noll, Vo): finds damage and tells models apart; keeps nobody out.

/// A hash of bytes that come in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Goes on with these bytes.
    #[inline(never)]
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    }

    /// The hash of all bytes so far.
    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the reference implementation's table of test vectors.
    #[test]
    fn the_published_hashes() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            let (mut whole, mut pieces) = (Fnv::default(), Fnv::default());
            whole.write(text.as_bytes());
            text.as_bytes().chunks(2).for_each(|piece| pieces.write(piece));
            assert_eq!((whole.finish(), pieces.finish()), (hash, hash), "{text}");
        }
    }
}
