//! Bytes of a fuzzer read as choices. Where they end, everything is 0, so that every input means something and short ones mean
//! simple cases.

use kinglet::gguf::Value;

/// Numbers that are near something: zero, a power of two, a limit, the end of a type.
const AWKWARD: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    255,
    256,
    65_535,
    1 << 16,
    100_001,
    (1 << 20) + 1,
    (1 << 24) + 1,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 5,
    1 << 61,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// The bytes that are left.
#[derive(Debug, Clone)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `n` bytes, fewer at the end.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub fn bool(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number in `0..n`; n > 0.
    pub fn below(&mut self, n: usize) -> usize {
        let number = if n <= 256 { usize::from(self.u8()) } else { self.u32() as usize };
        number % n
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// A number that is near something, or any.
    pub fn number(&mut self) -> u64 {
        match self.u8() {
            i @ 0..=191 => AWKWARD[usize::from(i) % AWKWARD.len()],
            192..=223 => u64::from(self.u8()),
            _ => self.u64(),
        }
    }

    /// An f32 that is near something, or any bits.
    pub fn float(&mut self) -> f32 {
        const FLOATS: [f32; 12] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e-40,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
        ];
        match self.u8() {
            i @ 0..=127 => FLOATS[usize::from(i) % FLOATS.len()],
            i @ 128..=191 => f32::from(i as i8) / 8.0,
            _ => f32::from_bits(self.u32()),
        }
    }

    /// A scalar or a short string, of any type.
    pub fn scalar(&mut self) -> Value {
        match self.u8() % 12 {
            0 => Value::U8(self.number() as u8),
            1 => Value::I8(self.number() as i8),
            2 => Value::U16(self.number() as u16),
            3 => Value::I16(self.number() as i16),
            4 => Value::U32(self.number() as u32),
            5 => Value::I32(self.number() as i32),
            6 => Value::F32(self.float()),
            7 => Value::Bool(self.bool()),
            8 => Value::String(self.text(12)),
            9 => Value::U64(self.number()),
            10 => Value::I64(self.number() as i64),
            _ => Value::F64(f64::from_bits(self.u64())),
        }
    }

    /// Up to `n` bytes as text.
    pub fn text(&mut self, n: usize) -> String {
        let n = self.below(n + 1);
        String::from_utf8_lossy(self.bytes(n)).into_owned()
    }
}
