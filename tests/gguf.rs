//! What the GGUF parser accepts: headers byte by byte, every value type, every chunking, alignments, trailing bytes.
//! What it refuses is in `gguf_refused.rs`, what it costs in `gguf_memory.rs`.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    gguf_builder::{GgufBuilder, RawTensor, string, strings},
    parse::{Parsed, parse, parse_in_chunks},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::Error,
    gguf::{Array, Event, GgmlType, Parser, TensorInfo, Value},
    quant::Format,
};
use proptest::prelude::*;

/// A file with every value type, every format, an empty string, an empty array, an odd tensor size and an empty tensor.
fn one_of_each() -> GgufBuilder {
    GgufBuilder::new()
        .kv("u8", Value::U8(0xfe))
        .kv("i8", Value::I8(-2))
        .kv("u16", Value::U16(0xfedc))
        .kv("i16", Value::I16(-3))
        .kv("u32", Value::U32(0xfedc_ba98))
        .kv("i32", Value::I32(-4))
        .kv("f32", Value::F32(1.5))
        .kv("bool", Value::Bool(true))
        .kv("string", string("zwölf Boxkämpfer"))
        .kv("empty string", string(""))
        .kv("u64", Value::U64(u64::MAX))
        .kv("i64", Value::I64(i64::MIN))
        .kv("f64", Value::F64(-0.25))
        .kv("u8s", Value::Array(Array::U8(vec![1, 2, 3])))
        .kv("i8s", Value::Array(Array::I8(vec![-1])))
        .kv("u16s", Value::Array(Array::U16(vec![0x0102; 5])))
        .kv("i16s", Value::Array(Array::I16(vec![-1, 1])))
        .kv("u32s", Value::Array(Array::U32(vec![0x0102_0304; 3])))
        .kv("i32s", Value::Array(Array::I32(vec![-1, 2, -3])))
        .kv("f32s", Value::Array(Array::F32(vec![0.5, f32::INFINITY])))
        .kv("bools", Value::Array(Array::Bool(vec![true, false])))
        .kv("strings", strings(["a", "", "ccc"]))
        .kv("not UTF-8", strings([&[0xff, 0xfe][..]]))
        .kv("u64s", Value::Array(Array::U64(vec![1 << 40])))
        .kv("i64s", Value::Array(Array::I64(vec![-(1 << 40); 2])))
        .kv("f64s", Value::Array(Array::F64(vec![0.1])))
        .kv("empty array", Value::Array(Array::I32(vec![])))
        .kv("empty strings", strings([""; 0]))
        .tensor("vector", &[3], Format::F32, (1..=12).collect())
        .tensor("f16", &[1, 2], Format::F16, vec![7; 4])
        .tensor("nothing", &[0, 5], Format::F32, vec![])
        .tensor("bf16", &[2, 1, 1, 3], Format::BF16, vec![8; 12])
        .tensor("q4_0", &[2, 32], Format::Q4_0, (0..36).collect())
        .tensor("q4_1", &[1, 64], Format::Q4_1, (0..40).collect())
        .tensor("q8_0", &[32], Format::Q8_0, (0..34).collect())
}

#[test]
fn reads_a_header_written_by_hand() {
    #[rustfmt::skip]
    let file = [
        b"GGUF", &3u32.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0], b"k", &[8, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], b"hi",
        &[2, 0, 0, 0, 0, 0, 0, 0], b"ar", &[9, 0, 0, 0], &[3, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0xff, 0xff],
        &[1, 0, 0, 0, 0, 0, 0, 0], b"t", &[2, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0], &[3, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0], &[0; 8],
        &[0; 10], // 118 bytes of header, padded to 128
        &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    ].concat();
    let Parsed { header, data, summary } = parse(&file).unwrap();
    assert_eq!((header.version, header.alignment, header.data_offset, header.end_offset), (3, 32, 128, 140));
    let pairs: Vec<_> = header.metadata.iter().collect();
    assert_eq!(pairs, [("k", &string("hi")), ("ar", &Value::Array(Array::I16(vec![1, -1])))]);
    let tensor = TensorInfo { name: "t".into(), shape: vec![3, 2], format: Format::F16, offset: 128, n_bytes: 12 };
    assert_eq!(header.tensors, [tensor]);
    assert_eq!(data, [(1..=12).collect::<Vec<u8>>()]);
    assert_eq!((summary.file_bytes, summary.trailing_bytes), (140, 0));
}

#[test]
fn reads_every_value_and_format() {
    let file = one_of_each();
    let Parsed { header, data, .. } = parse(&file.build()).unwrap();
    assert_eq!(header.metadata.len(), file.kvs.len());
    for ((key, value), kv) in header.metadata.iter().zip(&file.kvs) {
        assert_eq!(key.as_bytes(), kv.key);
        assert_eq!(common::gguf_builder::encode(value), (kv.value_type, kv.value.clone()), "{key}");
    }
    for ((info, data), tensor) in header.tensors.iter().zip(&data).zip(&file.tensors) {
        assert_eq!(info.name.as_bytes(), tensor.name);
        assert_eq!(data, &tensor.data, "{}", info.name);
        assert!(info.offset.is_multiple_of(32));
        let ne: Vec<u64> = info.shape.iter().rev().map(|&n| n as u64).collect();
        assert_eq!(ne, tensor.ne);
    }
    let formats: Vec<Format> = header.tensors.iter().map(|t| t.format).collect();
    use Format::{BF16, F16, F32, Q4_0, Q4_1, Q8_0};
    assert_eq!(formats, [F32, F16, F32, BF16, Q4_0, Q4_1, Q8_0]);
}

#[test]
fn typed_access_names_the_key_of_the_wrong_type() {
    let metadata = parse(&one_of_each().build()).unwrap().header.metadata;
    assert_eq!(metadata.u64("u16").unwrap(), Some(0xfedc));
    assert_eq!(metadata.u64("none").unwrap(), None);
    assert_eq!(metadata.f64("f32").unwrap(), Some(1.5));
    assert_eq!(metadata.bool("bool").unwrap(), Some(true));
    assert_eq!(metadata.strings("not UTF-8").unwrap().and_then(|a| a.get(0)), Some(&[0xff, 0xfe][..]));
    for (key, error) in [
        ("i8", metadata.u64("i8").unwrap_err()),
        ("f32", metadata.u64("f32").unwrap_err()),
        ("u8", metadata.f64("u8").unwrap_err()),
        ("u8", metadata.bool("u8").unwrap_err()),
        ("strings", metadata.str("strings").unwrap_err()),
        ("string", metadata.strings("string").unwrap_err()),
        ("i32s", metadata.f32s("i32s").unwrap_err()),
        ("f32s", metadata.i32s("f32s").unwrap_err()),
    ] {
        assert_eq!(error.code(), "E_FILE_FORMAT");
        assert!(error.to_string().contains(&format!("metadata key {key} ")), "{error}");
    }
}

#[test]
fn any_chunk_size_gives_the_same() {
    for file in [one_of_each().build(), tiny_llama(&TinyConfig::default(), 1).build()] {
        let whole = parse(&file).unwrap();
        for size in [1, 2, 3, 7, 8, 31, 4096] {
            assert_eq!(parse_in_chunks(&file, &[size]).unwrap(), whole, "chunks of {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_chunks_give_the_same(sizes in prop::collection::vec(1usize..200, 1..20)) {
        let file = one_of_each().build();
        prop_assert_eq!(parse_in_chunks(&file, &sizes).unwrap(), parse(&file).unwrap());
    }
}

#[test]
fn empty_chunks_change_nothing() {
    let file = one_of_each().build();
    let mut n_headers = 0;
    let mut parser = Parser::new();
    for chunk in file.chunks(10).flat_map(|c| [c, &[]]) {
        parser
            .feed(chunk, &mut |event| {
                n_headers += u32::from(matches!(event, Event::Header(_)));
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(parser.finish().unwrap().file_bytes, file.len() as u64);
    assert_eq!(n_headers, 1);
}

#[test]
fn data_is_slices_of_the_chunk() {
    let file = tiny_llama(&TinyConfig::default(), 1).build();
    let range = file.as_ptr_range();
    let feed = &mut |event: Event<'_>| {
        if let Event::Data { bytes, .. } = event {
            assert!(range.contains(&bytes.as_ptr()), "the bytes were copied");
        }
        Ok(())
    };
    Parser::new().feed(&file, feed).unwrap();
}

#[test]
fn the_header_comes_with_its_last_byte() {
    let file = one_of_each();
    let n = file.build_header().len();
    let bytes = file.build();
    let mut seen = false;
    let mut parser = Parser::new();
    let mut feed = |chunk: &[u8]| {
        seen = false;
        let mut on_event = |event: Event<'_>| {
            seen |= matches!(event, Event::Header(_));
            Ok(())
        };
        parser.feed(chunk, &mut on_event).unwrap();
        seen
    };
    assert!(!feed(&bytes[..n - 1]));
    assert!(feed(&bytes[n - 1..n]));
    assert!(!feed(&bytes[n..]));
}

#[test]
fn reads_version_2() {
    let file = one_of_each().with(|f| f.version = 2);
    assert_eq!(parse(&file.build()).unwrap().header.version, 2);
}

#[test]
fn reads_every_alignment() {
    for alignment in [1, 2, 8, 64, 4096, 1 << 20] {
        let mut file = one_of_each();
        file = file.aligned(alignment);
        let Parsed { header, data, .. } = parse(&file.build()).unwrap();
        assert_eq!(header.alignment, u64::from(alignment));
        assert!(header.data_offset.is_multiple_of(header.alignment));
        assert!(data.iter().zip(&file.tensors).all(|(data, t)| data == &t.data), "alignment {alignment}");
    }
}

#[test]
fn padding_may_end_early_and_trailing_bytes_are_reported() {
    let file = one_of_each();
    let bytes = file.build();
    let end = parse(&bytes).unwrap().header.end_offset as usize;
    assert_eq!(parse(&bytes[..end]).unwrap().summary.trailing_bytes, 0);
    assert_eq!(parse(&bytes).unwrap().summary.trailing_bytes, 0);
    let summary = parse(&file.with(|f| f.trailing = vec![9; 100]).build()).unwrap().summary;
    assert_eq!((summary.trailing_bytes, summary.file_bytes), (100, bytes.len() as u64 + 100));
}

#[test]
fn empty_tensors_need_no_bytes() {
    let header = GgufBuilder::new()
        .tensor("last", &[1], Format::F32, vec![1, 2, 3, 4])
        .tensor("nothing", &[0], Format::Q4_0, vec![])
        .tensor("nothing either", &[1 << 30, 0], Format::F32, vec![])
        .build_header();
    let n = header.len().next_multiple_of(32);
    let mut file = header;
    file.resize(n, 0);
    file.extend([1, 2, 3, 4]);
    assert_eq!(parse(&file).unwrap().data, [vec![1, 2, 3, 4], vec![], vec![]]);
}

#[test]
fn a_hundred_thousand_keys_and_tensors_are_read() {
    let n = kinglet::gguf::limits::MAX_KEYS as usize;
    let mut file = GgufBuilder::new();
    for i in 0..n {
        file =
            file.kv(&format!("key {i}"), Value::U32(i as u32)).tensor(&format!("{i}"), &[1], Format::F16, vec![0, 0]);
    }
    let header = parse(&file.build()).unwrap().header;
    assert_eq!((header.metadata.len(), header.tensors.len()), (n, n));
    assert_eq!(header.metadata.u64("key 99999").unwrap(), Some(99_999));
}

#[test]
fn an_error_of_the_receiver_ends_the_parsing() {
    let file = one_of_each().build();
    let mut parser = Parser::new();
    let refuse = &mut |event: Event<'_>| match event {
        Event::Header(_) => Ok(()),
        Event::Data { .. } => Err(Error::internal("no more")),
    };
    assert_eq!(parser.feed(&file, refuse), Err(Error::internal("no more")));
    assert_eq!(parser.feed(b"more", &mut |_| panic!("an event after an error")), Err(Error::internal("no more")));
    assert_eq!(parser.finish(), Err(Error::internal("no more")));
}

#[test]
fn the_table_of_types_agrees_with_the_formats() {
    for format in Format::ALL {
        let (name, block_len, block_bytes) = (format.name(), format.block_len() as u64, format.block_bytes() as u64);
        assert_eq!(GgmlType::from_number(format.ggml_type()), GgmlType::Known { name, block_len, block_bytes });
    }
    assert_eq!(GgmlType::from_number(43), GgmlType::Unknown);
    assert_eq!(GgmlType::from_number(u32::MAX), GgmlType::Unknown);
}

/// The builder is checked too: it must be possible to make a file that this test would not accept.
#[test]
fn a_wrong_file_is_noticed() {
    let bytes = one_of_each().build();
    let other = one_of_each().with(|f| f.tensor_mut("q8_0").data[33] ^= 1).build();
    assert_ne!(parse(&bytes).unwrap(), parse(&other).unwrap());
    let hole = RawTensor { offset: Some(64), ..one_of_each().tensors[1].clone() };
    assert!(parse(&one_of_each().with(|f| f.tensors[1] = hole).build()).is_err());
}
