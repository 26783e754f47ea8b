//! What the GGUF parser refuses, each case one mutation of a good file: the handcrafted cases of llama.cpp's
//! `tests/test-gguf.cpp` under their names, and our own list of bad files. Each is parsed whole and one byte at a time, and
//! must give the same error both times.

mod common;

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use common::{
    gguf_builder::{GgufBuilder, RawKv, RawTensor, encode, string, strings, value_type},
    parse::{parse, parse_in_chunks},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::Error,
    gguf::{Value, limits},
    quant::Format,
};

/// A small good file.
fn good() -> GgufBuilder {
    GgufBuilder::new()
        .kv("first", Value::U32(1))
        .kv("second", string("two"))
        .kv("third", strings(["three", "3"]))
        .kv("fourth", Value::Bool(true))
        .tensor("a", &[3, 32], Format::Q4_0, vec![1; 54])
        .tensor("b", &[2, 4], Format::F32, vec![2; 32])
        .tensor("c", &[64], Format::Q8_0, vec![3; 68])
}

fn tensor(name: &str, ne: &[u64], ggml_type: u32) -> RawTensor {
    RawTensor {
        name: name.into(),
        name_length: None,
        n_dims: None,
        ne: ne.into(),
        ggml_type,
        offset: None,
        data: vec![],
    }
}

fn raw_kv(key: &[u8], value_type: u32, value: &[u8]) -> RawKv {
    RawKv { key: key.into(), key_length: None, value_type, value: value.into() }
}

/// The error of a file, which must be the same however the file is cut.
fn error_of(name: &str, file: &[u8]) -> Error {
    let Err(error) = parse(file) else { panic!("{name}: was accepted") };
    for size in [1, 7] {
        assert_eq!(parse_in_chunks(file, &[size]).err().as_ref(), Some(&error), "{name} in chunks of {size}");
    }
    error
}

/// Asserts the error's code and a part of its message, which names the thing, what was found and what was expected.
fn refused(name: &str, file: &[u8], code: &str, part: &str) {
    let error = error_of(name, file);
    assert_eq!(error.code(), code, "{name}: {error}");
    assert!(error.to_string().contains(part), "{name}: {error:?} does not say {part:?}");
}

const FORMAT: &str = "E_FILE_FORMAT";
const LIMIT: &str = "E_FILE_LIMIT";
const QUANT: &str = "E_UNSUPPORTED_QUANT";

/// Name, file, code, and a part of the message.
type Case = (&'static str, GgufBuilder, &'static str, &'static str);

fn refused_all<const N: usize>(cases: [Case; N]) {
    for (name, file, code, part) in cases {
        refused(name, &file.build(), code, part);
    }
}

#[test]
fn handcrafted_header() {
    let version = |v: u32| good().with(|f| f.version = v);
    refused_all([
        ("HEADER_BAD_MAGIC", good().with(|f| f.magic = *b"FUGG"), FORMAT, "no GGUF file: it is a byte-swapped"),
        ("HEADER_BAD_VERSION_0", version(0), FORMAT, "version 0 is not supported (2 and 3 are)"),
        ("HEADER_BAD_VERSION_1", version(1), FORMAT, "version 1 is not supported"),
        ("HEADER_BAD_VERSION_FUTURE", version(4), FORMAT, "version 4 is not supported"),
        ("HEADER_BAD_N_TENSORS", good().with(|f| f.n_tensors = Some(u64::MAX)), LIMIT, "number of tensors: 1844674407"),
        ("HEADER_BAD_N_KV", good().with(|f| f.n_kv = Some(u64::MAX)), LIMIT, "number of metadata keys: 1844674407"),
    ]);
}

#[test]
fn handcrafted_kv() {
    let key_size = good().with(|f| f.kvs[1].key_length = Some(u64::MAX));
    let bad_type = good().with(|f| f.kvs[0].value_type = value_type::COUNT);
    let align = |value| good().kv("general.alignment", value);
    refused_all([
        ("KV_BAD_KEY_SIZE", key_size, FORMAT, "a metadata key has a length of 18446744073709551615 bytes"),
        ("KV_EMPTY_KEY", good().with(|f| f.kvs[1].key = vec![]), FORMAT, "metadata key 2 is empty"),
        ("KV_BAD_TYPE", bad_type, FORMAT, "first has the type 13, expected 0 to 12"),
        // Upstream has no such file any more: it makes llama.cpp allocate more than 1 TB.
        ("KV_BAD_VALUE_SIZE", good().with(|f| f.kvs[1].value = vec![0xff; 8]), FORMAT, "second has a length of 18446"),
        ("KV_DUPLICATE_KEY", good().kv("second", Value::U8(0)), FORMAT, "metadata key second stands twice"),
        ("KV_BAD_ALIGN", align(Value::U32(13)), FORMAT, "general.alignment: 13 is no power of two"),
        ("KV_WRONG_TYPE_ALIGN", align(Value::I32(32)), FORMAT, "general.alignment is not of the type u32"),
    ]);
}

#[test]
fn handcrafted_tensors() {
    let b = |change: fn(&mut RawTensor)| good().with(|f| change(f.tensor_mut("b")));
    refused_all([
        ("TENSORS_BAD_NAME_SIZE", b(|t| t.name = vec![b'n'; 64]), FORMAT, "a length of 64 bytes, expected at most 63"),
        ("TENSORS_BAD_N_DIMS", b(|t| t.n_dims = Some(5)), FORMAT, "b has 5 dimensions, expected 1 to 4"),
        ("TENSORS_BAD_SHAPE", b(|t| t.ne = vec![u64::MAX; 2]), LIMIT, "a dimension of tensor b: 18446744073709551615"),
        ("TENSORS_NE_TOO_BIG", b(|t| t.ne = vec![4 * 0x7fff_ffff; 2]), LIMIT, "a dimension of tensor b: 8589934588"),
        (
            "TENSORS_NBYTES_TOO_BIG",
            b(|t| t.ne = vec![1_533_915_930; 2]),
            LIMIT,
            "number of elements of tensor b: 23528",
        ),
        (
            "TENSORS_NBYTES_PAD_WRAP",
            b(|t| t.ne = vec![4, (1 << 30) - 1, (1 << 30) + 1]),
            LIMIT,
            "number of elements of tensor b: 4611686018427387900 is over the limit",
        ),
        ("TENSORS_BAD_TYPE", b(|t| t.ggml_type = 43), QUANT, "tensor b: format number 43 (unknown)"),
        (
            "TENSORS_BAD_OFFSET",
            b(|t| t.offset = Some(u64::MAX)),
            FORMAT,
            "b: the offset 18446744073709551615 is no multiple of the alignment 32, expected 64",
        ),
        ("TENSORS_DUPLICATE_NAME", b(|t| t.name = b"a".into()), FORMAT, "tensor a stands twice"),
        ("TENSORS_BAD_ALIGN", good().aligned(13), FORMAT, "general.alignment: 13 is no power of two"),
        (
            "TENSORS_INCONSISTENT_ALIGN",
            good().with(|f| f.alignment = 1),
            FORMAT,
            "tensor b: the offset 54 is no multiple of the alignment 32, expected 64",
        ),
    ]);
}

#[test]
fn handcrafted_data() {
    let too_big = || tensor("", &[0x7fff_ffff_ffff_ffc0], 24);
    let overflow = GgufBuilder::new()
        .raw_tensor(RawTensor { name: b"x".into(), ..too_big() })
        .raw_tensor(RawTensor { name: b"y".into(), ..too_big() });
    refused_all([
        (
            "DATA_NOT_ENOUGH_DATA",
            good().with(|f| f.tensor_mut("c").data.truncate(32)),
            FORMAT,
            "the file ends too early: 32 of 68 bytes of tensor c",
        ),
        ("DATA_BAD_ALIGN", good().aligned(13), FORMAT, "general.alignment: 13 is no power of two"),
        (
            "DATA_INCONSISTENT_ALIGN",
            good().aligned(64).with(|f| f.alignment = 1),
            FORMAT,
            "tensor b: the offset 54 is no multiple of the alignment 64, expected 64",
        ),
        (
            "DATA_MEM_SIZE_OVERFLOW",
            overflow,
            LIMIT,
            "a dimension of tensor x: 9223372036854775744 is over the limit of 4294967295",
        ),
    ]);
}

#[test]
fn handcrafted_that_are_good() {
    for (name, file) in [
        ("HEADER_EMPTY", GgufBuilder::new()),
        ("KV_SUCCESS", good().with(|f| f.tensors.clear())),
        ("TENSORS_ZERO_DIM", good().tensor("zero", &[0, 64], Format::Q8_0, vec![])),
        ("TENSORS_SUCCESS, DATA_SUCCESS", good()),
        ("TENSORS_CUSTOM_ALIGN, DATA_CUSTOM_ALIGN", good().aligned(1)),
    ] {
        let parsed = parse(&file.build()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(parsed.header.metadata.len(), file.kvs.len(), "{name}");
        assert!(parsed.data.iter().eq(file.tensors.iter().map(|t| &t.data)), "{name}");
    }
}

#[test]
fn row_1_empty_and_very_short_files() {
    // Nothing was fed at all.
    refused("empty", b"", FORMAT, "the file ends too early: nothing of the 4 bytes \"GGUF\" (at byte 0)");
    refused("three bytes", b"GGU", FORMAT, "3 bytes of the 4 bytes \"GGUF\" (at byte 3)");
    refused("the magic only", b"GGUF", FORMAT, "nothing of the 4 bytes of the version (at byte 4)");
}

#[test]
fn row_2_files_that_are_something_else() {
    for (file, part) in [
        (&b"<!DOCTYPE html><html><body>Please log in"[..], "looks like HTML"),
        (b"<html>", "looks like HTML"),
        (b"\n  <html>", "looks like HTML"),
        (b"\xef\xbb\xbf<!doctype html>", "looks like HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "Git-LFS pointer"),
        (b"{\"error\":\"Repository not found\"}", "looks like JSON"),
        (b"PK\x03\x04\x14\x00", "ZIP archive or a PyTorch checkpoint"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"tjgg\x03\x00\x00\x00", "from before GGUF"),
        (b"\x38\x9e\x00\x00\x00\x00\x00\x00{\"__metadata__\"", "safetensors"),
        (b"abcd", "first bytes are not \"GGUF\" (found \"abcd\")"),
    ] {
        refused(&file.escape_ascii().to_string(), file, FORMAT, part);
    }
}

#[test]
fn row_3_versions() {
    for version in [0, 1, 4, u32::MAX] {
        let part = format!("GGUF version {version} is not supported (2 and 3 are) (at byte 4)");
        refused("version", &good().with(|f| f.version = version).build(), FORMAT, &part);
    }
    for version in [1, 2, 3_u32] {
        let file = good().with(|f| f.version = version.swap_bytes()).build();
        refused("big-endian", &file, FORMAT, &format!("a big-endian GGUF file (version {version})"));
    }
}

#[test]
fn row_4_counts() {
    for n in [limits::MAX_KEYS + 1, 1_000_000_000, 1 << 32, 1 << 63, u64::MAX] {
        let part = format!(": {n} is over the limit of 100000");
        refused("n_kv", &good().with(|f| f.n_kv = Some(n)).build(), LIMIT, &part);
        refused("n_tensors", &good().with(|f| f.n_tensors = Some(n)).build(), LIMIT, &part);
    }
    // A count that may be but is not: what follows is taken for a key, or nothing follows.
    let file = GgufBuilder::new().with(|f| f.n_kv = Some(limits::MAX_KEYS)).build_header();
    refused("n_kv", &file, FORMAT, "nothing of the 8 bytes of the length of metadata key 1 of 100000");
    let file = GgufBuilder::new().with(|f| f.n_tensors = Some(limits::MAX_TENSORS)).build_header();
    refused("n_tensors", &file, FORMAT, "nothing of the 8 bytes of the length of the name of tensor 1 of 100000");
}

#[test]
fn row_5_string_lengths() {
    let with_length = |n: u64| good().with(|f| f.kv_mut("second").value[..8].copy_from_slice(&n.to_le_bytes())).build();
    for n in [u64::MAX, 1 << 63, (1 << 32) + 5, limits::MAX_STRING_BYTES + 1] {
        let part = format!("a string of metadata key second has a length of {n} bytes, expected at most 16777216");
        refused("string", &with_length(n), FORMAT, &part);
    }
    let file = with_length(0);
    let at = file.windows(6).position(|w| w == b"second").unwrap() + 6 + 4 + 8;
    let n_left = (file.len() - at) as u64;
    let part = format!("{n_left} bytes of the {} bytes of the string of metadata key second", n_left + 1);
    refused("remaining + 1", &with_length(n_left + 1), FORMAT, &part);

    let element = |n: u64| good().with(|f| f.kv_mut("third").value[12..20].copy_from_slice(&n.to_le_bytes())).build();
    refused("element", &element((1 << 32) + 5), FORMAT, "a string of metadata key third has a length of 4294967301");
    for n in [u64::MAX, (1 << 32) + 5, limits::MAX_KEY_BYTES + 1] {
        let part = format!("has a length of {n} bytes, expected at most 65535");
        refused("key", &good().with(|f| f.kvs[0].key_length = Some(n)).build(), FORMAT, &part);
    }
    for n in [u64::MAX, (1 << 32) + 5, limits::MAX_NAME_BYTES + 1] {
        let part = format!("the name of tensor 1 of 3 has a length of {n} bytes, expected at most 63");
        refused("tensor name", &good().with(|f| f.tensors[0].name_length = Some(n)).build(), FORMAT, &part);
    }
}

#[test]
fn row_6_arrays() {
    let array = |element: u32, n: u64| {
        let value = [&element.to_le_bytes()[..], &n.to_le_bytes()].concat();
        good().raw_kv(raw_kv(b"array", value_type::ARRAY, &value)).build()
    };
    for n in [1 << 61, 1 << 63, u64::MAX, limits::MAX_ARRAY_LENGTH + 1] {
        for element in [value_type::U8, value_type::STRING, value_type::U64] {
            let part = format!("length of the array of metadata key array: {n} is over the limit of 16777216");
            refused("length", &array(element, n), LIMIT, &part);
        }
    }
    refused("short", &array(value_type::U64, 1 << 24), FORMAT, "the file ends too early");
    let deep = [value_type::ARRAY.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(1000);
    let file = good().raw_kv(raw_kv(b"deep", value_type::ARRAY, &deep)).build();
    refused("depth", &file, LIMIT, "depth of the array of metadata key deep: 2 is over the limit of 1");
    refused("element type", &array(13, 1), FORMAT, "metadata key array has the type 13");
    refused("element type", &array(u32::MAX, 1), FORMAT, "metadata key array has the type -1");
}

#[test]
fn row_7_keys_and_names() {
    let (t, value) = encode(&Value::U8(1));
    let with_key = |key: &[u8]| good().raw_kv(raw_kv(key, t, &value)).build();
    refused("duplicate key", &with_key(b"first"), FORMAT, "metadata key first stands twice");
    refused("empty key", &with_key(b""), FORMAT, "metadata key 5 is empty");
    refused("key", &with_key(b"a\xff"), FORMAT, "metadata key 5 is not UTF-8");
    refused("duplicate tensor", &good().raw_tensor(tensor("a", &[1], 0)).build(), FORMAT, "tensor a stands twice");
    refused(
        "empty name",
        &good().raw_tensor(tensor("", &[1], 0)).build(),
        FORMAT,
        "the name of tensor 4 of 4 is empty",
    );
    let file = good().with(|f| f.tensors[2].name = vec![0xc0]).build();
    refused("name", &file, FORMAT, "the name of tensor 3 of 3 is not UTF-8");
    let file = good().with(|f| f.kv_mut("second").value[9] = 0x80).build();
    refused("value", &file, FORMAT, "the string of metadata key second is not UTF-8");
    for file in [
        good().with(|f| f.kv_mut("fourth").value[0] = 2),
        good().raw_kv(raw_kv(b"fourths", value_type::ARRAY, b"\x07\0\0\0\x01\0\0\0\0\0\0\0\xff")),
        // Not the first of those that come together: the place is that of this one.
        good().raw_kv(raw_kv(b"fourths", value_type::ARRAY, b"\x07\0\0\0\x03\0\0\0\0\0\0\0\x01\0\xff")),
    ] {
        refused("boolean", &file.build(), FORMAT, "a boolean is neither 0 nor 1");
    }
    // A key that would flood a message is cut and escaped.
    let long = format!("line\n{}", "x".repeat(60_000));
    let error = error_of("long", &good().kv(&long, Value::U8(1)).kv(&long, Value::U8(1)).build()).to_string();
    assert!(error.contains("line\\nxxx") && error.len() < 200, "{error}");
}

#[test]
fn row_8_alignments() {
    for n in [0, 3, 13, 48, u32::MAX] {
        let part = format!("metadata key general.alignment: {n} is no power of two");
        refused("alignment", &good().kv("general.alignment", Value::U32(n)).build(), FORMAT, &part);
    }
    for n in [1 << 31, 1 << 21] {
        let part = format!("general.alignment: {n} is over the limit of 1048576");
        refused("alignment", &good().kv("general.alignment", Value::U32(n)).build(), LIMIT, &part);
    }
    for value in [Value::I32(32), Value::U64(32), Value::F32(32.0), string("32"), Value::Bool(true)] {
        let file = good().kv("general.alignment", value).build();
        refused("alignment", &file, FORMAT, "metadata key general.alignment is not of the type u32");
    }
}

#[test]
fn row_9_dimensions() {
    let with_ne = |ne: &[u64]| GgufBuilder::new().raw_tensor(tensor("t", ne, 0)).build();
    for (ne, part) in [
        (&[(1 << 32) + 1, 1][..], "a dimension of tensor t: 4294967297 is over the limit of 4294967295"),
        (&[1 << 33, 1 << 31], "a dimension of tensor t: 8589934592"),
        (&[1, 1, 1, u64::MAX], "a dimension of tensor t: 18446744073709551615"),
        (&[1 << 16, 1 << 16], "number of elements of tensor t: 4294967296"),
        (&[1 << 31, 0, 1 << 31], "number of elements of tensor t: 4611686018427387904"),
        (&[u64::MAX, 0], "a dimension of tensor t"),
        (&[1 << 31, 1 << 31, 1 << 31, 1 << 31], "number of elements of tensor t: 18446744073709551615"),
        (&[1 << 30, 1], "bytes of tensor t: 4294967296"),
    ] {
        refused(&format!("{ne:?}"), &with_ne(ne), LIMIT, part);
    }
    for ne in [&[][..], &[1; 5], &[0; 1000]] {
        refused("dims", &with_ne(ne), FORMAT, &format!("t has {} dimensions, expected 1 to 4", ne.len()));
    }
}

#[test]
fn row_10_rows_are_whole_blocks() {
    for (ggml_type, name, ne, block) in [
        (12, "Q4_K", 255, 256),
        (2, "Q4_0", 33, 32),
        (8, "Q8_0", 31, 32),
        (40, "NVFP4", 65, 64),
        (16, "IQ2_XXS", 1, 256),
    ] {
        let file = GgufBuilder::new().raw_tensor(tensor("t", &[ne, 256], ggml_type)).build();
        let part = format!("tensor t: rows of {ne} elements are not whole blocks of {name}, which have {block}");
        refused(name, &file, FORMAT, &part);
    }
}

#[test]
fn row_11_offsets() {
    let with_offset = |name: &str, offset: u64| good().with(|f| f.tensor_mut(name).offset = Some(offset)).build();
    refused(
        "overlap",
        &with_offset("b", 32),
        FORMAT,
        "tensor b: the offset 32 is inside or before the tensor before it",
    );
    refused("hole", &with_offset("b", 96), FORMAT, "tensor b: the offset 96 leaves a hole, expected 64");
    refused("far", &with_offset("c", 1 << 63), FORMAT, "tensor c: the offset 9223372036854775808 leaves a hole");
    refused(
        "wraps",
        &with_offset("c", u64::MAX - 31),
        FORMAT,
        "tensor c: the offset 18446744073709551584 leaves a hole",
    );
    refused("unaligned", &with_offset("b", 65), FORMAT, "tensor b: the offset 65 is no multiple of the alignment 32");
    refused("first", &with_offset("a", 32), FORMAT, "tensor a: the offset 32 leaves a hole, expected 0");
    let all_at_0 = good().with(|f| f.tensors.iter_mut().for_each(|t| t.offset = Some(0))).build();
    refused(
        "all at 0",
        &all_at_0,
        FORMAT,
        "tensor b: the offset 0 is inside or before the tensor before it, expected 64",
    );
    let swapped = good().with(|f| (f.tensors[1].offset, f.tensors[2].offset) = (Some(96), Some(64))).build();
    refused("out of order", &swapped, FORMAT, "tensor b: the offset 96 leaves a hole");
    let mut file = good().build();
    file.truncate(parse(&file).unwrap().header.end_offset as usize - 1);
    refused("one byte short", &file, FORMAT, "67 of 68 bytes of tensor c; the whole file would be ");
}

#[test]
fn row_12_types_are_named() {
    let cases: [(i32, &str); 14] = [
        (-1, "number -1 (unknown)"),
        (99, "number 99 (unknown)"),
        (i32::MIN, "number -2147483648 (unknown)"),
        (4, "Q4_2 (number 4, removed from ggml)"),
        (5, "Q4_3 (number 5"),
        (31, "Q4_0_4_4 (number 31"),
        (33, "Q4_0_8_8 (number 33"),
        (36, "IQ4_NL_4_4 (number 36"),
        (38, "IQ4_NL_8_8 (number 38"),
        (9, "format Q8_1 is not supported"),
        (16, "format IQ2_XXS is not supported"),
        (24, "format I8 is not supported"),
        (28, "format F64 is not supported"),
        (40, "format NVFP4 is not supported"),
    ];
    for (number, part) in cases {
        let file = GgufBuilder::new().raw_tensor(tensor("blk.7.ffn_up.weight", &[256, 2], number as u32)).build();
        refused(part, &file, QUANT, "tensor blk.7.ffn_up.weight: ");
        refused(part, &file, QUANT, part);
    }
}

#[test]
fn row_13_every_truncation() {
    let file = good().build();
    let end = parse(&file).unwrap().header.end_offset as usize;
    for n in 0..end {
        refused(&format!("first {n} bytes"), &file[..n], FORMAT, "the file ends too early: ");
    }
    let file = tiny_llama(&TinyConfig::default(), 1).build();
    let end = parse(&file).unwrap().header.end_offset as usize;
    for percent in 0..100 {
        let error = parse(&file[..end * percent / 100]).unwrap_err();
        assert_eq!(error.code(), FORMAT);
        assert_eq!(error.details().offset, Some((end * percent / 100) as u64));
    }
}

#[test]
fn a_header_that_does_not_end_is_refused() {
    let text = "x".repeat(limits::MAX_STRING_BYTES as usize);
    let file = (0..4).fold(GgufBuilder::new(), |f, i| f.kv(&format!("key {i}"), string(&text))).build();
    let Err(error) = parse(&file) else { panic!("a header of 64 MiB was accepted") };
    assert_eq!(error.code(), LIMIT);
    assert!(error.to_string().starts_with("length of the header: "), "{error}");
}

/// The checker is checked: a good file does not pass for a bad one.
#[cfg(not(target_arch = "wasm32"))]
#[test]
#[should_panic(expected = "good: was accepted")]
fn a_good_file_is_not_refused() {
    refused("good", &good().build(), FORMAT, "");
}
