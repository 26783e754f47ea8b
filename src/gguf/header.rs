//! The header as a state machine: every state waits for so many bytes, and the bytes lead to the next state. So a header that
//! comes one byte at a time is read in linear time, and what is kept is the result, not the bytes. Checks of values and
//! tensors are in `value.rs` and `directory.rs`; called by the parser.

use super::{
    Header, Metadata, Value,
    directory::{RawInfo, TensorDirectory},
    limits::{
        MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_ARRAY_LENGTH, MAX_DIMS, MAX_HEADER_BYTES, MAX_KEY_BYTES, MAX_KEYS,
        MAX_NAME_BYTES, MAX_STRING_BYTES, MAX_TENSORS,
    },
    quoted,
    reader::Reader,
    value::{Array, StringArray, ValueType},
};
use crate::{
    error::{Error, Result},
    hash::Fnv,
};

/// `general.alignment` where the file has none.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A header as far as it has come.
#[derive(Debug)]
pub(super) struct HeaderReader {
    state: State,
    version: u32,
    n_tensors: u64,
    n_keys: u64,
    alignment: u64,
    metadata: Metadata,
    /// The key whose value is being read.
    key: String,
    directory: TensorDirectory,
    fingerprint: Fnv,
}

/// What is being waited for.
#[derive(Debug)]
enum State {
    Magic,
    Version,
    TensorCount,
    KeyCount,
    KeyLength,
    Key { n: usize },
    ValueType,
    Scalar(ValueType),
    StringLength,
    String { n: usize },
    ElementType,
    ArrayLength(ValueType),
    Numbers { array: Array, element: ValueType, n_left: usize },
    ElementLength { array: StringArray, n_left: usize },
    Element { array: StringArray, n_left: usize, n: usize },
    NameLength,
    Name { n: usize },
    DimCount(RawInfo),
    Dims(RawInfo),
    TensorType(RawInfo),
    Offset(RawInfo),
    Done,
}

impl Default for HeaderReader {
    fn default() -> Self {
        Self {
            state: State::Magic,
            version: 0,
            n_tensors: 0,
            n_keys: 0,
            alignment: DEFAULT_ALIGNMENT,
            metadata: Metadata::default(),
            key: String::new(),
            directory: TensorDirectory::default(),
            fingerprint: Fnv::default(),
        }
    }
}

impl HeaderReader {
    /// Reads on; the header, once it is complete.
    pub(super) fn read(&mut self, reader: &mut Reader, chunk: &mut &[u8]) -> Result<Option<Header>> {
        while !matches!(self.state, State::Done) {
            let n = self.n_needed(chunk.len());
            let at = reader.position() - reader.n_partial() as u64;
            if at.saturating_add(n as u64) > MAX_HEADER_BYTES {
                return Err(limit("length of the header", at.saturating_add(n as u64), MAX_HEADER_BYTES, at));
            }
            let Some(bytes) = reader.take(chunk, n)? else { return Ok(None) };
            self.fingerprint.write(bytes);
            let state = std::mem::replace(&mut self.state, State::Done);
            self.state = self.step(state, bytes, at)?;
        }
        self.header(reader.position()).map(Some)
    }

    /// How many bytes the state waits for. Numbers of an array are taken as many at a time as there are.
    fn n_needed(&self, available: usize) -> usize {
        match &self.state {
            State::Magic | State::Version | State::ValueType | State::ElementType => 4,
            State::DimCount(_) | State::TensorType(_) => 4,
            State::TensorCount | State::KeyCount | State::KeyLength | State::StringLength | State::ArrayLength(_) => 8,
            State::ElementLength { .. } | State::NameLength | State::Offset(_) => 8,
            State::Key { n } | State::String { n } | State::Element { n, .. } | State::Name { n } => *n,
            State::Scalar(t) => t.n_bytes(),
            State::Numbers { element, n_left, .. } => {
                (available / element.n_bytes()).clamp(1, (*n_left).max(1)) * element.n_bytes()
            }
            State::Dims(info) => info.n_dims as usize * 8,
            State::Done => 0,
        }
    }

    /// What the state waits for, for people.
    pub(super) fn waits_for(&self) -> String {
        let key = quoted(&self.key);
        let keys = format!("key {} of {}", self.metadata.len() + 1, self.n_keys);
        let entry = format!("tensor {} of {}", self.directory.len() + 1, self.n_tensors);
        match &self.state {
            State::Magic => "the 4 bytes \"GGUF\"".into(),
            State::Version => "the 4 bytes of the version".into(),
            State::TensorCount => "the 8 bytes of the number of tensors".into(),
            State::KeyCount => "the 8 bytes of the number of metadata keys".into(),
            State::KeyLength => format!("the 8 bytes of the length of metadata {keys}"),
            State::Key { n } => format!("the {n} bytes of metadata {keys}"),
            State::ValueType => format!("the 4 bytes of the type of metadata key {key}"),
            State::Scalar(t) => format!("the {} bytes of the value of metadata key {key}", t.n_bytes()),
            State::StringLength => format!("the 8 bytes of the length of metadata key {key}"),
            State::String { n } => format!("the {n} bytes of the string of metadata key {key}"),
            State::ElementType => format!("the 4 bytes of the element type of metadata key {key}"),
            State::ArrayLength(_) => format!("the 8 bytes of the length of the array of metadata key {key}"),
            State::Numbers { n_left, element, .. } => {
                format!(
                    "the next {} bytes of metadata key {key}, of which {n_left} elements are missing",
                    element.n_bytes()
                )
            }
            State::ElementLength { n_left, .. } => {
                format!(
                    "the 8 bytes of a string's length in metadata key {key}, of which {n_left} elements are missing"
                )
            }
            State::Element { n, n_left, .. } => {
                format!("the {n} bytes of a string of metadata key {key}, of which {n_left} elements are missing")
            }
            State::NameLength => format!("the 8 bytes of the length of the name of {entry}"),
            State::Name { n } => format!("the {n} bytes of the name of {entry}"),
            State::DimCount(info) => {
                format!("the 4 bytes of the number of dimensions of tensor {}", quoted(&info.name))
            }
            State::Dims(info) => {
                format!("the {} bytes of the dimensions of tensor {}", info.n_dims * 8, quoted(&info.name))
            }
            State::TensorType(info) => format!("the 4 bytes of the type of tensor {}", quoted(&info.name)),
            State::Offset(info) => format!("the 8 bytes of the offset of tensor {}", quoted(&info.name)),
            State::Done => "the padding behind the header".into(),
        }
    }

    /// The state after `state`, whose bytes are here; they began at `at`.
    fn step(&mut self, state: State, bytes: &[u8], at: u64) -> Result<State> {
        match state {
            State::Magic => super::magic::check(bytes).map(|()| State::Version),
            State::Version => self.version(u32_of(bytes)?).map(|()| State::TensorCount),
            State::TensorCount => {
                self.n_tensors = at_most("number of tensors", u64_of(bytes)?, MAX_TENSORS, at)?;
                Ok(State::KeyCount)
            }
            State::KeyCount => {
                self.n_keys = at_most("number of metadata keys", u64_of(bytes)?, MAX_KEYS, at)?;
                Ok(self.next_key())
            }
            State::KeyLength | State::Key { .. } | State::ValueType => self.step_key(state, bytes, at),
            State::NameLength
            | State::Name { .. }
            | State::DimCount(_)
            | State::Dims(_)
            | State::TensorType(_)
            | State::Offset(_) => self.step_tensor(state, bytes, at),
            _ => self.step_value(state, bytes, at),
        }
    }

    fn version(&mut self, version: u32) -> Result<()> {
        self.version = version;
        let what = match version {
            2 | 3 => return Ok(()),
            v if matches!(v.swap_bytes(), 1..=3) => {
                format!(
                    "this is a big-endian GGUF file (version {}); only little-endian files are read",
                    v.swap_bytes()
                )
            }
            v => format!("GGUF version {v} is not supported (2 and 3 are)"),
        };
        Err(format_error(what, 4))
    }

    fn step_key(&mut self, state: State, bytes: &[u8], at: u64) -> Result<State> {
        match state {
            State::KeyLength => match u64_of(bytes)? {
                0 => Err(format_error(format!("metadata key {} is empty", self.metadata.len() + 1), at)),
                n => Ok(State::Key { n: string_length(n, MAX_KEY_BYTES, || "a metadata key".into(), at)? }),
            },
            State::Key { .. } => {
                self.key = utf8(bytes, || format!("metadata key {}", self.metadata.len() + 1), at)?;
                if self.metadata.get(&self.key).is_some() {
                    return Err(format_error(format!("metadata key {} stands twice", quoted(&self.key)), at));
                }
                Ok(State::ValueType)
            }
            _ => Ok(match self.value_type(u32_of(bytes)?, at)? {
                ValueType::String => State::StringLength,
                ValueType::Array => State::ElementType,
                scalar => State::Scalar(scalar),
            }),
        }
    }

    fn step_value(&mut self, state: State, bytes: &[u8], at: u64) -> Result<State> {
        match state {
            State::Scalar(t) => {
                let value = t.scalar(bytes).ok_or_else(|| {
                    format_error(format!("metadata key {}: a boolean is neither 0 nor 1", quoted(&self.key)), at)
                })?;
                self.end_value(value, at)
            }
            State::StringLength => Ok(State::String { n: self.string_length(bytes, at)? }),
            State::String { .. } => {
                let value = utf8(bytes, || format!("the string of metadata key {}", quoted(&self.key)), at)?;
                self.end_value(Value::String(value), at)
            }
            State::ElementType => match self.value_type(u32_of(bytes)?, at)? {
                ValueType::Array => Err(limit(
                    format!("depth of the array of metadata key {}", quoted(&self.key)),
                    MAX_ARRAY_DEPTH + 1,
                    MAX_ARRAY_DEPTH,
                    at,
                )),
                element => Ok(State::ArrayLength(element)),
            },
            State::ArrayLength(element) => {
                let what = || format!("length of the array of metadata key {}", quoted(&self.key));
                let n_left = at_most(what(), u64_of(bytes)?, MAX_ARRAY_LENGTH, at)? as usize;
                match element {
                    ValueType::String => self.next_element(StringArray::default(), n_left, at),
                    _ => self.next_numbers(Array::empty(element), element, n_left, at),
                }
            }
            State::Numbers { mut array, element, n_left } => {
                array.extend_from_bytes(bytes).map_err(|e| self.in_key(e, at))?;
                self.next_numbers(array, element, n_left.saturating_sub(bytes.len() / element.n_bytes()), at)
            }
            State::ElementLength { array, n_left } => {
                Ok(State::Element { array, n_left, n: self.string_length(bytes, at)? })
            }
            State::Element { mut array, n_left, .. } => {
                array.push(bytes).map_err(|e| self.in_key(e, at))?;
                self.next_element(array, n_left.saturating_sub(1), at)
            }
            _ => Err(Error::internal("the GGUF parser took a state for a value's")),
        }
    }

    fn step_tensor(&mut self, state: State, bytes: &[u8], at: u64) -> Result<State> {
        let entry = || format!("the name of tensor {} of {}", self.directory.len() + 1, self.n_tensors);
        match state {
            State::NameLength => match u64_of(bytes)? {
                0 => Err(format_error(format!("{} is empty", entry()), at)),
                n => Ok(State::Name { n: string_length(n, MAX_NAME_BYTES, entry, at)? }),
            },
            State::Name { .. } => Ok(State::DimCount(self.directory.begin(utf8(bytes, entry, at)?, at)?)),
            State::DimCount(mut info) => {
                info.n_dims = u32_of(bytes)?;
                if !(1..=MAX_DIMS).contains(&info.n_dims) {
                    let what = format!(
                        "tensor {} has {} dimensions, expected 1 to {MAX_DIMS}",
                        quoted(&info.name),
                        info.n_dims
                    );
                    return Err(format_error(what, at));
                }
                Ok(State::Dims(info))
            }
            State::Dims(mut info) => {
                for (dim, bytes) in info.ne.iter_mut().zip(bytes.as_chunks().0) {
                    *dim = u64::from_le_bytes(*bytes);
                }
                info.check_dims(at)?;
                Ok(State::TensorType(info))
            }
            State::TensorType(mut info) => {
                info.set_type(u32_of(bytes)?, at)?;
                Ok(State::Offset(info))
            }
            State::Offset(info) => {
                self.directory.push(info, u64_of(bytes)?, self.alignment, at)?;
                Ok(self.next_tensor())
            }
            _ => Err(Error::internal("the GGUF parser took a state for a tensor's")),
        }
    }

    fn value_type(&self, number: u32, at: u64) -> Result<ValueType> {
        ValueType::from_number(number).ok_or_else(|| {
            let what = format!("metadata key {} has the type {}, expected 0 to 12", quoted(&self.key), number as i32);
            format_error(what, at)
        })
    }

    fn string_length(&self, bytes: &[u8], at: u64) -> Result<usize> {
        string_length(
            u64_of(bytes)?,
            MAX_STRING_BYTES,
            || format!("a string of metadata key {}", quoted(&self.key)),
            at,
        )
    }

    fn next_key(&self) -> State {
        if (self.metadata.len() as u64) < self.n_keys { State::KeyLength } else { self.next_tensor() }
    }

    fn next_tensor(&self) -> State {
        if (self.directory.len() as u64) < self.n_tensors { State::NameLength } else { State::Done }
    }

    fn next_numbers(&mut self, array: Array, element: ValueType, n_left: usize, at: u64) -> Result<State> {
        if n_left > 0 { Ok(State::Numbers { array, element, n_left }) } else { self.end_value(Value::Array(array), at) }
    }

    fn next_element(&mut self, array: StringArray, n_left: usize, at: u64) -> Result<State> {
        if n_left > 0 {
            return Ok(State::ElementLength { array, n_left });
        }
        self.end_value(Value::Array(Array::String(array)), at)
    }

    fn end_value(&mut self, value: Value, at: u64) -> Result<State> {
        if self.key == "general.alignment" {
            self.alignment = alignment(&value, at)?;
        }
        self.metadata.insert(std::mem::take(&mut self.key), value)?;
        Ok(self.next_key())
    }

    /// An error of a value's bytes, which begin at `at`, with the key and the place.
    fn in_key(&self, error: Error, at: u64) -> Error {
        match error {
            Error::FileFormat { what, offset } => format_error(
                format!("metadata key {}: {what}", quoted(&self.key)),
                at.saturating_add(offset.unwrap_or_default()),
            ),
            other => other,
        }
    }

    fn header(&mut self, header_bytes: u64) -> Result<Header> {
        let data_offset = header_bytes
            .checked_next_multiple_of(self.alignment)
            .ok_or_else(|| format_error("the header is too long".into(), header_bytes))?;
        let (tensors, end_offset) = std::mem::take(&mut self.directory).finish(header_bytes, data_offset)?;
        Ok(Header {
            version: self.version,
            metadata: std::mem::take(&mut self.metadata),
            tensors,
            alignment: self.alignment,
            data_offset,
            end_offset,
            fingerprint: self.fingerprint.finish(),
        })
    }
}

fn alignment(value: &Value, at: u64) -> Result<u64> {
    let Value::U32(n) = *value else {
        return Err(format_error("metadata key general.alignment is not of the type u32".into(), at));
    };
    if !n.is_power_of_two() {
        return Err(format_error(format!("metadata key general.alignment: {n} is no power of two"), at));
    }
    at_most("general.alignment", u64::from(n), MAX_ALIGNMENT, at)
}

/// The length of a string. One that is too long is taken for damage, not for a large model: no length is near the limit.
fn string_length(n: u64, max: u64, what: impl FnOnce() -> String, at: u64) -> Result<usize> {
    if n <= max {
        return Ok(n as usize);
    }
    Err(format_error(format!("{} has a length of {n} bytes, expected at most {max}", what()), at))
}

fn utf8(bytes: &[u8], what: impl FnOnce() -> String, at: u64) -> Result<String> {
    match std::str::from_utf8(bytes) {
        Ok(s) => Ok(s.into()),
        Err(e) => Err(format_error(format!("{} is not UTF-8", what()), at.saturating_add(e.valid_up_to() as u64))),
    }
}

fn at_most(what: impl Into<String>, found: u64, max: u64, at: u64) -> Result<u64> {
    if found <= max { Ok(found) } else { Err(limit(what, found, max, at)) }
}

pub(super) fn limit(what: impl Into<String>, found: u64, limit: u64, at: u64) -> Error {
    Error::FileLimit { what: what.into(), found, limit, offset: Some(at) }
}

pub(super) fn format_error(what: String, at: u64) -> Error {
    Error::FileFormat { what, offset: Some(at) }
}

fn u32_of(bytes: &[u8]) -> Result<u32> {
    bytes.try_into().map(u32::from_le_bytes).map_err(|_| Error::internal("the GGUF parser took too few bytes"))
}

fn u64_of(bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_le_bytes).map_err(|_| Error::internal("the GGUF parser took too few bytes"))
}
