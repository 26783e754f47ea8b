//! Builds GGUF files: valid as long as nothing says otherwise, with a hook for every single field, so that a test can make
//! a file with exactly one thing wrong. Written from ggml's `docs/gguf.md`, with no code of the parser.

use kinglet::{
    gguf::{Array, StringArray, Value},
    quant::Format,
};

/// `general.alignment` where a file has none.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// GGUF's numbers of value types.
pub mod value_type {
    pub const U8: u32 = 0;
    pub const I32: u32 = 5;
    pub const U32: u32 = 4;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const COUNT: u32 = 13;
}

/// A file in the making. Every field may be set to something wrong.
#[derive(Debug, Clone)]
pub struct GgufBuilder {
    pub magic: [u8; 4],
    pub version: u32,
    /// What the header says, where that is not the truth.
    pub n_tensors: Option<u64>,
    /// What the header says, where that is not the truth.
    pub n_kv: Option<u64>,
    pub kvs: Vec<RawKv>,
    pub tensors: Vec<RawTensor>,
    /// What offsets and padding are made with; `general.alignment` is a key like any other ([`Self::aligned`] sets both).
    pub alignment: u64,
    /// Bytes behind the last tensor.
    pub trailing: Vec<u8>,
}

/// A key-value pair as it is written.
#[derive(Debug, Clone)]
pub struct RawKv {
    pub key: Vec<u8>,
    /// What is written as the length of the key, where that is not the truth.
    pub key_length: Option<u64>,
    pub value_type: u32,
    /// The value's bytes behind the type.
    pub value: Vec<u8>,
}

/// An entry of the tensor directory and its data, as they are written.
#[derive(Debug, Clone)]
pub struct RawTensor {
    pub name: Vec<u8>,
    /// What is written as the length of the name, where that is not the truth.
    pub name_length: Option<u64>,
    /// What is written as the number of dimensions, where that is not the truth.
    pub n_dims: Option<u32>,
    /// Dimensions as in the file: innermost first.
    pub ne: Vec<u64>,
    pub ggml_type: u32,
    /// What is written as the offset, where that is not where the data will be.
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

impl RawTensor {
    /// Sets the scale of every block (the f16 at its beginning) to these bits: NaN, infinities, denormals.
    pub fn set_scales(&mut self, f16_bits: u16) {
        let format = Format::from_ggml_type(self.ggml_type).expect("a known format");
        assert!(matches!(format, Format::Q4_0 | Format::Q4_1 | Format::Q8_0), "{} has no scales", format.name());
        for block in self.data.chunks_exact_mut(format.block_bytes()) {
            block[..2].copy_from_slice(&f16_bits.to_le_bytes());
        }
    }
}

impl Default for GgufBuilder {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_kv: None,
            kvs: vec![],
            tensors: vec![],
            alignment: DEFAULT_ALIGNMENT,
            trailing: vec![],
        }
    }
}

impl GgufBuilder {
    /// A file with no keys and no tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key-value pair.
    pub fn kv(self, key: &str, value: impl Into<Value>) -> Self {
        let (value_type, value) = encode(&value.into());
        self.raw_kv(RawKv { key: key.into(), key_length: None, value_type, value })
    }

    /// Adds a key-value pair as it stands.
    pub fn raw_kv(mut self, kv: RawKv) -> Self {
        self.kvs.push(kv);
        self
    }

    /// Sets a key to another value, or adds it.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let (value_type, value) = encode(&value.into());
        match self.kvs.iter_mut().find(|kv| kv.key == key.as_bytes()) {
            Some(kv) => (kv.value_type, kv.value) = (value_type, value),
            None => self.kvs.push(RawKv { key: key.into(), key_length: None, value_type, value }),
        }
        self
    }

    /// Removes a key, which must be there.
    pub fn without(mut self, key: &str) -> Self {
        let before = self.kvs.len();
        self.kvs.retain(|kv| kv.key != key.as_bytes());
        assert_eq!(self.kvs.len() + 1, before, "no key {key}");
        self
    }

    /// Adds `general.alignment` and lays the tensors out by it.
    pub fn aligned(mut self, alignment: u32) -> Self {
        self.alignment = u64::from(alignment);
        self.kv("general.alignment", Value::U32(alignment))
    }

    /// Adds a tensor; `shape` is outermost first, and the data must be as long as shape and format say.
    pub fn tensor(self, name: &str, shape: &[usize], format: Format, data: Vec<u8>) -> Self {
        let n: usize = shape.iter().product();
        assert_eq!(data.len(), n / format.block_len() * format.block_bytes(), "data of {name} {shape:?}");
        self.raw_tensor(RawTensor {
            name: name.into(),
            name_length: None,
            n_dims: None,
            ne: shape.iter().rev().map(|&n| n as u64).collect(),
            ggml_type: format.ggml_type(),
            offset: None,
            data,
        })
    }

    /// Adds a tensor as it stands.
    pub fn raw_tensor(mut self, tensor: RawTensor) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// The key-value pair with this key, to be changed.
    pub fn kv_mut(&mut self, key: &str) -> &mut RawKv {
        self.kvs.iter_mut().find(|kv| kv.key == key.as_bytes()).unwrap_or_else(|| panic!("no key {key}"))
    }

    /// The tensor with this name, to be changed.
    pub fn tensor_mut(&mut self, name: &str) -> &mut RawTensor {
        self.tensors.iter_mut().find(|t| t.name == name.as_bytes()).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Removes a tensor, which must be there.
    pub fn without_tensor(mut self, name: &str) -> Self {
        let before = self.tensors.len();
        self.tensors.retain(|t| t.name != name.as_bytes());
        assert_eq!(self.tensors.len() + 1, before, "no tensor {name}");
        self
    }

    /// Puts a tensor of zeros of another shape (outermost first) in the place of one, which must be there.
    pub fn reshaped(mut self, name: &str, shape: &[usize], format: Format) -> Self {
        let tensor = self.tensor_mut(name);
        tensor.ne = shape.iter().rev().map(|&n| n as u64).collect();
        tensor.ggml_type = format.ggml_type();
        tensor.data = vec![0; shape.iter().product::<usize>() / format.block_len() * format.block_bytes()];
        self
    }

    /// Changes anything.
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The bytes up to the end of the tensor directory, without the padding.
    pub fn build_header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_kv.unwrap_or(self.kvs.len() as u64).to_le_bytes());
        for kv in &self.kvs {
            out.extend(kv.key_length.unwrap_or(kv.key.len() as u64).to_le_bytes());
            out.extend(&kv.key);
            out.extend(kv.value_type.to_le_bytes());
            out.extend(&kv.value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            out.extend(tensor.name_length.unwrap_or(tensor.name.len() as u64).to_le_bytes());
            out.extend(&tensor.name);
            out.extend(tensor.n_dims.unwrap_or(tensor.ne.len() as u32).to_le_bytes());
            tensor.ne.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(tensor.ggml_type.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(offset).to_le_bytes());
            offset += (tensor.data.len() as u64).next_multiple_of(self.alignment);
        }
        out
    }

    /// The whole file. As ggml writes it, the data of every tensor is padded, the last one's too.
    pub fn build(&self) -> Vec<u8> {
        let mut out = self.build_header();
        let pad = |out: &mut Vec<u8>| out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
        pad(&mut out);
        for tensor in &self.tensors {
            out.extend(&tensor.data);
            pad(&mut out);
        }
        out.extend(&self.trailing);
        out
    }
}

/// A string value.
pub fn string(s: &str) -> Value {
    Value::String(s.into())
}

/// An array of strings.
pub fn strings<S: AsRef<[u8]>>(items: impl IntoIterator<Item = S>) -> Value {
    let mut array = StringArray::default();
    for s in items {
        array.push(s.as_ref()).expect("test strings are short");
    }
    Value::Array(Array::String(array))
}

/// A string as GGUF writes it: length, bytes.
pub fn string_bytes(s: &[u8]) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s].concat()
}

/// GGUF's type number and bytes of a value.
pub fn encode(value: &Value) -> (u32, Vec<u8>) {
    match value {
        Value::U8(x) => (0, vec![*x]),
        Value::I8(x) => (1, x.to_le_bytes().into()),
        Value::U16(x) => (2, x.to_le_bytes().into()),
        Value::I16(x) => (3, x.to_le_bytes().into()),
        Value::U32(x) => (4, x.to_le_bytes().into()),
        Value::I32(x) => (5, x.to_le_bytes().into()),
        Value::F32(x) => (6, x.to_le_bytes().into()),
        Value::Bool(x) => (7, vec![u8::from(*x)]),
        Value::String(s) => (8, string_bytes(s.as_bytes())),
        Value::Array(array) => {
            let (element, n, bytes) = encode_array(array);
            (9, [&element.to_le_bytes()[..], &(n as u64).to_le_bytes(), &bytes].concat())
        }
        Value::U64(x) => (10, x.to_le_bytes().into()),
        Value::I64(x) => (11, x.to_le_bytes().into()),
        Value::F64(x) => (12, x.to_le_bytes().into()),
    }
}

fn encode_array(array: &Array) -> (u32, usize, Vec<u8>) {
    macro_rules! numbers {
        ($element:literal, $items:expr) => {
            ($element, $items.len(), $items.iter().flat_map(|x| x.to_le_bytes()).collect())
        };
    }
    match array {
        Array::U8(a) => numbers!(0, a),
        Array::I8(a) => numbers!(1, a),
        Array::U16(a) => numbers!(2, a),
        Array::I16(a) => numbers!(3, a),
        Array::U32(a) => numbers!(4, a),
        Array::I32(a) => numbers!(5, a),
        Array::F32(a) => numbers!(6, a),
        Array::Bool(a) => (7, a.len(), a.iter().map(|&b| u8::from(b)).collect()),
        Array::String(a) => (8, a.len(), a.iter().flat_map(string_bytes).collect()),
        Array::U64(a) => numbers!(10, a),
        Array::I64(a) => numbers!(11, a),
        Array::F64(a) => numbers!(12, a),
    }
}
