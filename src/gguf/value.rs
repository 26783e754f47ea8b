//! Metadata values, kept compact: a vocabulary of 150,000 strings is two allocations.

use std::sync::Arc;

use super::quoted;
use crate::error::{Error, Result};
use crate::table::Names;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names of GGUF's value types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array; nested arrays are refused by the parser.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names of GGUF's value types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(StringArray),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Strings one after the other in one buffer. Bytes as in the file: a vocabulary piece need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StringArray {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl StringArray {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of string `i`.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { *self.ends.get(i - 1)? as usize };
        self.bytes.get(start..end)
    }

    /// All strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map_while(|i| self.get(i))
    }

    /// Appends one string; fails where the whole would pass 4 GiB or memory cannot be had.
    pub fn push(&mut self, s: &[u8]) -> Result<()> {
        let memory = |_| Error::Memory { what: "metadata strings".into(), needed_bytes: s.len() as u64 };
        let end = u32::try_from(self.bytes.len() + s.len()).map_err(|_| Error::file("a string array is over 4 GiB"))?;
        self.bytes.try_reserve(s.len()).map_err(memory)?;
        self.ends.try_reserve(1).map_err(memory)?;
        self.bytes.extend_from_slice(s);
        self.ends.push(end);
        Ok(())
    }
}

/// GGUF's types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// The type with this number.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        const ALL: [ValueType; 13] = [
            ValueType::U8,
            ValueType::I8,
            ValueType::U16,
            ValueType::I16,
            ValueType::U32,
            ValueType::I32,
            ValueType::F32,
            ValueType::Bool,
            ValueType::String,
            ValueType::Array,
            ValueType::U64,
            ValueType::I64,
            ValueType::F64,
        ];
        ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Bytes of a value; 1 for strings and arrays, whose lengths stand in the file.
    pub(super) fn n_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool | Self::String | Self::Array => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// The value of a scalar; `None` where a boolean is neither 0 nor 1.
    pub(super) fn scalar(self, bytes: &[u8]) -> Option<Value> {
        macro_rules! number {
            ($variant:ident, $t:ty) => {
                Value::$variant(<$t>::from_le_bytes(bytes.try_into().ok()?))
            };
        }
        Some(match self {
            Self::U8 => number!(U8, u8),
            Self::I8 => number!(I8, i8),
            Self::U16 => number!(U16, u16),
            Self::I16 => number!(I16, i16),
            Self::U32 => number!(U32, u32),
            Self::I32 => number!(I32, i32),
            Self::F32 => number!(F32, f32),
            Self::U64 => number!(U64, u64),
            Self::I64 => number!(I64, i64),
            Self::F64 => number!(F64, f64),
            Self::Bool => match bytes {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return None,
            },
            Self::String | Self::Array => return None,
        })
    }
}

impl Array {
    /// An array of such elements; arrays of arrays do not exist here.
    pub(super) fn empty(element: ValueType) -> Self {
        match element {
            ValueType::U8 => Self::U8(vec![]),
            ValueType::I8 => Self::I8(vec![]),
            ValueType::U16 => Self::U16(vec![]),
            ValueType::I16 => Self::I16(vec![]),
            ValueType::U32 => Self::U32(vec![]),
            ValueType::I32 => Self::I32(vec![]),
            ValueType::F32 => Self::F32(vec![]),
            ValueType::Bool => Self::Bool(vec![]),
            ValueType::U64 => Self::U64(vec![]),
            ValueType::I64 => Self::I64(vec![]),
            ValueType::F64 => Self::F64(vec![]),
            ValueType::String | ValueType::Array => Self::String(StringArray::default()),
        }
    }

    /// Appends little-endian numbers or booleans; room is made for what is there. The offset of an error counts from the first of
    /// these bytes.
    pub(super) fn extend_from_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        macro_rules! numbers {
            ($items:expr, $t:ty) => {{
                let chunks = bytes.as_chunks::<{ size_of::<$t>() }>().0;
                $items
                    .try_reserve(chunks.len())
                    .map_err(|_| Error::Memory { what: "a metadata array".into(), needed_bytes: bytes.len() as u64 })?;
                $items.extend(chunks.iter().map(|b| <$t>::from_le_bytes(*b)));
            }};
        }
        match self {
            Self::U8(a) => numbers!(a, u8),
            Self::I8(a) => numbers!(a, i8),
            Self::U16(a) => numbers!(a, u16),
            Self::I16(a) => numbers!(a, i16),
            Self::U32(a) => numbers!(a, u32),
            Self::I32(a) => numbers!(a, i32),
            Self::F32(a) => numbers!(a, f32),
            Self::U64(a) => numbers!(a, u64),
            Self::I64(a) => numbers!(a, i64),
            Self::F64(a) => numbers!(a, f64),
            Self::Bool(a) => {
                if let Some(i) = bytes.iter().position(|b| *b > 1) {
                    let what = "a boolean is neither 0 nor 1".into();
                    return Err(Error::FileFormat { what, offset: Some(i as u64) });
                }
                a.try_reserve(bytes.len())
                    .map_err(|_| Error::Memory { what: "a metadata array".into(), needed_bytes: bytes.len() as u64 })?;
                a.extend(bytes.iter().map(|b| *b == 1));
            }
            Self::String(_) => return Err(Error::internal("strings are not numbers")),
        }
        Ok(())
    }
}

fn key_of(pairs: &[(Arc<str>, Value)], i: usize) -> Option<&str> {
    pairs.get(i).map(|(key, _)| &**key)
}

/// The key-value pairs of a file, in file order, with typed access. A key of the wrong type is an error that names it;
/// a key that is absent is `None`, so each default is written beside the call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(Arc<str>, Value)>,
    /// Where each key stands in `pairs`.
    index: Names,
}

impl Metadata {
    /// Adds a pair; a key that is there already is refused.
    pub fn insert(&mut self, key: String, value: Value) -> Result<()> {
        if !self.index.insert(&key, &|i| key_of(&self.pairs, i))? {
            return Err(Error::file(format!("metadata key {} stands twice", quoted(&key))));
        }
        self.pairs.push((key.into(), value));
        Ok(())
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.get(self.index.find(key, &|i| key_of(&self.pairs, i))?).map(|(_, v)| v)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(k, v)| (&**k, v))
    }

    /// A whole number that is not negative, of any integer type.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        let n = match self.get(key) {
            None => return Ok(None),
            Some(Value::U8(n)) => Some(u64::from(*n)),
            Some(Value::U16(n)) => Some(u64::from(*n)),
            Some(Value::U32(n)) => Some(u64::from(*n)),
            Some(Value::U64(n)) => Some(*n),
            Some(Value::I8(n)) => u64::try_from(*n).ok(),
            Some(Value::I16(n)) => u64::try_from(*n).ok(),
            Some(Value::I32(n)) => u64::try_from(*n).ok(),
            Some(Value::I64(n)) => u64::try_from(*n).ok(),
            Some(_) => None,
        };
        n.map(Some).ok_or_else(|| Error::file(format!("metadata key {key} is not a whole number ≥ 0")))
    }

    /// A floating-point number of either width.
    pub fn f64(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(x)) => Ok(Some(f64::from(*x))),
            Some(Value::F64(x)) => Ok(Some(*x)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not a floating-point number"))),
        }
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not a boolean"))),
        }
    }

    /// A UTF-8 string.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not a string"))),
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(a))) => Ok(Some(a)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not an array of strings"))),
        }
    }

    /// An array of f32.
    pub fn f32s(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::F32(a))) => Ok(Some(a)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not an array of f32"))),
        }
    }

    /// An array of i32.
    pub fn i32s(&self, key: &str) -> Result<Option<&[i32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::I32(a))) => Ok(Some(a)),
            Some(_) => Err(Error::file(format!("metadata key {key} is not an array of i32"))),
        }
    }
}
