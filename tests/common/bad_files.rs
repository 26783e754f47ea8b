//! The malformed files of our list as whole files, each with what the engine has to say to it: read by `tests/bad_files.rs`, which
//! holds the engine to it, and by the program `bad_files`, which prints what each of them costs.

use super::{
    gguf_builder::{GgufBuilder, RawKv, RawTensor, string, strings, value_type},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{gguf::Value, quant::Format};

/// A malformed file.
pub struct BadFile {
    /// Its row in the list (`tests/bad_files.rs` has it).
    pub row: u8,
    pub name: String,
    pub bytes: Vec<u8>,
    /// The code of the error, and a part of its message.
    pub code: &'static str,
    pub says: String,
    /// Whether it is seen before any room is made for weights.
    pub at_header: bool,
}

const FORMAT: &str = "E_FILE_FORMAT";
const LIMIT: &str = "E_FILE_LIMIT";
const QUANT: &str = "E_UNSUPPORTED_QUANT";

/// A small good model.
pub fn good() -> GgufBuilder {
    let config =
        TinyConfig { n_layer: 1, n_embd: 32, n_ff: 32, n_head: 2, n_head_kv: 1, n_vocab: 299, ..TinyConfig::default() };
    tiny_llama(&config, 5)
}

/// All of them.
pub fn all() -> Vec<BadFile> {
    let mut files = vec![];
    no_gguf(&mut files);
    lying_headers(&mut files);
    bad_directories(&mut files);
    cut_files(&mut files);
    poisoned(&mut files);
    no_models(&mut files);
    bad_vocabularies(&mut files);
    files
}

fn add(files: &mut Vec<BadFile>, row: u8, name: &str, bytes: impl Into<Vec<u8>>, code: &'static str, says: &str) {
    let (name, bytes) = (name.to_owned(), bytes.into());
    files.push(BadFile { row, name, bytes, code, says: says.to_owned(), at_header: true });
}

fn no_gguf(files: &mut Vec<BadFile>) {
    let mut no = |row, name: &str, bytes: &[u8], says: &str| add(files, row, name, bytes, FORMAT, says);
    no(1, "empty file", b"", "the file ends too early");
    no(1, "3 bytes", b"GGU", "3 bytes of the 4 bytes");
    no(1, "\"GGUF\" only", b"GGUF", "the version");
    no(2, "HTML login page", b"<!DOCTYPE html><html><title>Sign in</title>", "looks like HTML");
    no(
        2,
        "Git-LFS pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:b179c9\nsize 98",
        "Git-LFS pointer",
    );
    no(2, "JSON error body", b"{\"error\":\"Invalid username or password.\"}", "looks like JSON");
    no(2, "gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "compressed with gzip");
    no(2, "zip", b"PK\x03\x04\x14\0", "ZIP archive or a PyTorch checkpoint");
    no(2, "safetensors", b"\x38\x9e\0\0\0\0\0\0{\"__metadata__\":{}}", "safetensors");
    no(2, "pickle", b"\x80\x02}q\0(X", "Python pickle");
    no(2, "zstd", b"\x28\xb5\x2f\xfd\x04\x58", "compressed with zstd");
    no(2, "ggjt", b"tjgg\x03\0\0\0", "before GGUF");
}

fn lying_headers(files: &mut Vec<BadFile>) {
    let mut lie =
        |row, name: &str, file: GgufBuilder, code, says: &str| add(files, row, name, file.build(), code, says);
    for version in [0, 1, 4u32] {
        lie(
            3,
            &format!("version {version}"),
            good().with(|f| f.version = version),
            FORMAT,
            "is not supported (2 and 3",
        );
    }
    lie(3, "version 3, byte-swapped", good().with(|f| f.version = 3u32.swap_bytes()), FORMAT, "big-endian");
    let small = || GgufBuilder::new().kv("note", string(&"x".repeat(900)));
    for (shown, n) in [("10^9", 1_000_000_000), ("2^63", 1 << 63), ("2^64 - 1", u64::MAX)] {
        lie(4, &format!("{shown} keys in 1 kB"), small().with(|f| f.n_kv = Some(n)), LIMIT, "number of metadata keys");
        lie(
            4,
            &format!("{shown} tensors in 1 kB"),
            small().with(|f| f.n_tensors = Some(n)),
            LIMIT,
            "number of tensors",
        );
    }
    for (shown, n) in [("2^64 - 1", u64::MAX), ("2^32 + 5", (1 << 32) + 5), ("more than there are", 1000)] {
        let file = small().with(|f| f.kv_mut("note").value[..8].copy_from_slice(&n.to_le_bytes()));
        lie(5, &format!("string whose length is {shown}"), file, FORMAT, "metadata key note");
    }
    let array = |element: u32, n: u64| {
        let value = [&element.to_le_bytes()[..], &n.to_le_bytes(), &[0; 64]].concat();
        small().raw_kv(RawKv { key: b"array".into(), key_length: None, value_type: value_type::ARRAY, value })
    };
    lie(6, "array of 2^61 u64", array(value_type::U64, 1 << 61), LIMIT, "length of the array");
    lie(6, "array of 2^24 u64 in 1 kB", array(value_type::U64, 1 << 24), FORMAT, "ends too early");
    let deep = [value_type::ARRAY.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(1000);
    let deep = RawKv { key: b"deep".into(), key_length: None, value_type: value_type::ARRAY, value: deep };
    lie(6, "array of arrays, 1,000 deep", small().raw_kv(deep), LIMIT, "depth of the array");
    let raw = |key: &[u8]| RawKv { key: key.into(), key_length: None, value_type: value_type::U8, value: vec![1] };
    lie(7, "duplicate key", good().raw_kv(raw(b"general.name")), FORMAT, "general.name stands twice");
    lie(7, "empty key", good().raw_kv(raw(b"")), FORMAT, "is empty");
    lie(7, "key that is not UTF-8", good().raw_kv(raw(b"\xff")), FORMAT, "is not UTF-8");
    let twice = good().tensors[1].clone();
    lie(7, "duplicate tensor", good().raw_tensor(twice), FORMAT, "stands twice");
    for n in [0, 3, 13] {
        lie(8, &format!("alignment {n}"), good().kv("general.alignment", Value::U32(n)), FORMAT, "is no power of two");
    }
    lie(8, "alignment 2^31", good().kv("general.alignment", Value::U32(1 << 31)), LIMIT, "general.alignment");
    lie(8, "alignment of type i32", good().kv("general.alignment", Value::I32(32)), FORMAT, "is not of the type u32");
}

fn bad_directories(files: &mut Vec<BadFile>) {
    let mut bad =
        |row, name: &str, file: GgufBuilder, code, says: &str| add(files, row, name, file.build(), code, says);
    let up = |change: &dyn Fn(&mut RawTensor)| good().with(|f| change(f.tensor_mut("blk.0.ffn_up.weight")));
    for (name, ne, code, says) in [
        ("dims [2^32 + 1, 1]", vec![(1 << 32) + 1, 1], LIMIT, "a dimension of tensor blk.0.ffn_up"),
        ("dims [2^33, 2^31]", vec![1 << 33, 1 << 31], LIMIT, "a dimension of tensor blk.0.ffn_up"),
        ("5 dims", vec![32, 1, 1, 1, 1], FORMAT, "has 5 dimensions"),
    ] {
        bad(9, name, up(&|t| t.ne = ne.clone()), code, says);
    }
    bad(
        9,
        "a dim of 0",
        good().reshaped("blk.0.ffn_up.weight", &[0, 32], Format::Q8_0),
        FORMAT,
        "has the shape [0, 32]",
    );
    bad(10, "Q4_K row of 255", up(&|t| (t.ne, t.ggml_type) = (vec![255, 32], 12)), FORMAT, "not whole blocks of Q4_K");
    bad(11, "overlap", up(&|t| t.offset = Some(0)), FORMAT, "inside or before the tensor before it");
    bad(11, "hole", up(&|t| t.offset = Some(1 << 20)), FORMAT, "leaves a hole");
    bad(
        11,
        "all at offset 0",
        good().with(|f| f.tensors.iter_mut().for_each(|t| t.offset = Some(0))),
        FORMAT,
        "inside or",
    );
    for (number, says) in [
        (-1i32, "number -1 (unknown)"),
        (99, "number 99 (unknown)"),
        (4, "Q4_2 (number 4, removed"),
        (31, "Q4_0_4_4 (number 31, removed"),
        (28, "format F64"),
    ] {
        let file = up(&|t| (t.ne, t.ggml_type) = (vec![256, 32], number as u32));
        bad(12, &format!("type {number}"), file, QUANT, says);
    }
}

fn cut_files(files: &mut Vec<BadFile>) {
    let whole = good().build();
    let header = good().build_header().len();
    for (name, n) in [
        ("first 1 %", whole.len() / 100),
        ("first 50 %", whole.len() / 2),
        ("first 99 %", whole.len() * 99 / 100),
        ("header but its last byte", header - 1),
        ("header only", header),
    ] {
        add(files, 13, name, &whole[..n], FORMAT, "the file ends too early");
        files.last_mut().expect("one was added").at_header = n < header;
    }
}

/// Where a block's scales lie and how wide they are, from the structs of ggml-common.h; `None`: the weights are their own.
pub fn scales(format: Format) -> Option<&'static [(usize, usize)]> {
    Some(match format.name() {
        "F32" | "F16" | "BF16" => return None,
        "Q4_1" | "Q5_1" | "Q4_K" | "Q5_K" => &[(0, 2), (2, 2)],
        "Q2_K" => &[(80, 2), (82, 2)],
        "Q3_K" => &[(108, 2)],
        "Q6_K" => &[(208, 2)],
        "TQ1_0" => &[(52, 2)],
        "TQ2_0" => &[(64, 2)],
        "MXFP4" => &[(0, 1)],
        "Q4_0" | "Q5_0" | "Q8_0" | "IQ4_NL" | "IQ4_XS" => &[(0, 2)],
        other => panic!("where are the scales of {other}?"),
    })
}

/// Sets one scale of every block, or every weight, to a kind of number.
pub fn poison(data: &mut [u8], format: Format, place: usize, number: Number) {
    let Some(scales) = scales(format) else {
        let bytes = number.weight(format);
        data.chunks_exact_mut(bytes.len()).for_each(|weight| weight.copy_from_slice(&bytes));
        return;
    };
    let (at, n) = scales[place];
    // An exponent alone has no infinities and no denormals.
    let bytes = if n == 1 { vec![number.e8m0()] } else { number.f16().to_le_bytes().to_vec() };
    data.chunks_exact_mut(format.block_bytes()).for_each(|block| block[at..at + n].copy_from_slice(&bytes));
}

/// What a scale may be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Nan,
    Infinity,
    Denormal,
    Largest,
    Usual,
}

impl Number {
    pub fn f16(self) -> u16 {
        match self {
            Self::Nan => 0x7e00,
            Self::Infinity => 0x7c00,
            Self::Denormal => 0x0001,
            Self::Largest => 0x7bff,
            Self::Usual => 0x1000,
        }
    }

    fn e8m0(self) -> u8 {
        match self {
            Self::Nan | Self::Infinity => 0xff,
            Self::Denormal => 0,
            Self::Largest => 0xfe,
            Self::Usual => 0x76,
        }
    }

    fn weight(self, format: Format) -> Vec<u8> {
        let single = match self {
            Self::Nan => 0x7fc0_0000,
            Self::Infinity => 0x7f80_0000,
            Self::Denormal => 0x0001_0000,
            Self::Largest => 0x7f7f_0000,
            Self::Usual => 0x3a00_0000u32,
        };
        match format.name() {
            "F32" => single.to_le_bytes().into(),
            "BF16" => ((single >> 16) as u16).to_le_bytes().into(),
            _ => self.f16().to_le_bytes().into(),
        }
    }
}

/// A model whose feed-forward matrices have this format. Width 256: K-quants have blocks of that.
pub fn model_of(format: Format) -> GgufBuilder {
    let config = TinyConfig {
        n_layer: 1,
        n_embd: 256,
        n_ff: 256,
        n_head: 4,
        n_head_kv: 2,
        head_size: 64,
        n_vocab: 299,
        n_ctx: 64,
        ..TinyConfig::default()
    };
    let n = 256 * 256 / format.block_len() * format.block_bytes();
    tiny_llama(&config, 5).with(|f| {
        let up = f.tensor_mut("blk.0.ffn_up.weight");
        // No quant is 0: that times a scale that is no number would be none in one format and 0 in another.
        (up.ggml_type, up.data) = (format.ggml_type(), vec![0x77; n]);
        for place in 0..scales(format).map_or(1, <[_]>::len) {
            poison(&mut up.data, format, place, Number::Usual);
        }
    })
}

fn poisoned(files: &mut Vec<BadFile>) {
    for format in Format::ALL {
        for number in [Number::Nan, Number::Infinity] {
            let file =
                model_of(format).with(|f| poison(&mut f.tensor_mut("blk.0.ffn_up.weight").data, format, 0, number));
            let name = format!("all scales {number:?}, {}", format.name());
            add(files, 15, &name, file.build(), FORMAT, "blk.0.ffn_up.weight");
            files.last_mut().expect("one was added").at_header = false;
        }
    }
}

fn no_models(files: &mut Vec<BadFile>) {
    let mut bad = |row, name: &str, file: GgufBuilder, says: &str| add(files, row, name, file.build(), FORMAT, says);
    let set = |key: &str, value: Value| good().set(&format!("llama.{key}"), value);
    bad(16, "0 heads", set("attention.head_count", Value::U32(0)), "llama.attention.head_count");
    bad(16, "7 key heads of 2", set("attention.head_count_kv", Value::U32(7)), "llama.attention.head_count_kv");
    bad(16, "rope of 64 in heads of 16", set("rope.dimension_count", Value::U32(64)), "llama.rope.dimension_count");
    bad(16, "epsilon NaN", set("attention.layer_norm_rms_epsilon", Value::F32(f32::NAN)), "layer_norm_rms_epsilon");
    bad(16, "10^6 layers", set("block_count", Value::U32(1_000_000)), "llama.block_count");
    let up = "blk.0.ffn_up.weight";
    bad(17, "ffn_up missing", good().without_tensor(up), "blk.0.ffn_up.weight [32, 32] is missing");
    bad(17, "ffn_up of the wrong shape", good().reshaped(up, &[64, 32], Format::Q8_0), "[64, 32], expected [32, 32]");
    let embd = "token_embd.weight";
    bad(
        17,
        "token_embd with swapped dims",
        good().reshaped(embd, &[32, 299], Format::F16),
        "[32, 299], expected [299, 32]",
    );
}

fn bad_vocabularies(files: &mut Vec<BadFile>) {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let pieces = |change: &dyn Fn(&mut Vec<String>)| {
        let mut pieces: Vec<String> = super::tiny_llama::base_vocabulary();
        change(&mut pieces);
        good().set(&key("tokens"), strings(pieces))
    };
    let mut bad =
        |row, name: &str, file: GgufBuilder, code, says: &str| add(files, row, name, file.build(), code, says);
    bad(18, "0 pieces", good().set(&key("tokens"), strings([""; 0])), FORMAT, "tokenizer.ggml.tokens");
    bad(18, "duplicate pieces", pieces(&|p| p[200] = p[100].clone()), FORMAT, "pieces 100 and 200 are both");
    bad(18, "a piece of 1 MB", pieces(&|p| p[200] = "x".repeat(1 << 20)), LIMIT, "bytes of piece 200");
    let byte = pieces(&|p| p[200] = "<0x-1>".into());
    let byte = byte.with(|f| {
        // The type of piece 200: behind the element type and the length.
        let types = &mut f.kv_mut("tokenizer.ggml.token_type").value;
        types[12 + 200 * 4..][..4].copy_from_slice(&6i32.to_le_bytes());
    });
    bad(18, "byte piece <0x-1>", byte, FORMAT, "<0x-1>");
    bad(18, "BOS id of no piece", good().set(&key("bos_token_id"), Value::U32(299)), FORMAT, "bos_token_id");
    let merges = |merges: &[&str]| good().set(&key("merges"), strings(merges));
    bad(19, "a merge of unknown pieces", merges(&["no such"]), FORMAT, "tokenizer.ggml.merges: entry 0");
    bad(19, "10^6 merges of one", merges(&vec!["x"; 1_000_000]), FORMAT, "tokenizer.ggml.merges: entry 0");
}
