//! Metadata values, kept compact: a vocabulary of 150,000 strings is two allocations.

use crate::error::{Error, Result};

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

/// The key-value pairs of a file, in file order, with typed access. A key of the wrong type is an error that names it;
/// a key that is absent is `None`, so each default is written beside the call.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

impl Metadata {
    /// Adds a pair; a key that is there already is refused.
    pub fn insert(&mut self, key: String, value: Value) -> Result<()> {
        if self.get(&key).is_some() {
            return Err(Error::file(format!("metadata key {key} stands twice")));
        }
        self.pairs.push((key, value));
        Ok(())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v))
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
