//! What the GGUF parser costs: no file makes it allocate more than its own length warrants, whatever counts it claims, and no
//! mutation of a good file makes it panic. An allocator counts what each thread holds.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    counting::{Counting, peak_bytes},
    gguf_builder::{GgufBuilder, RawKv, string, strings, value_type},
    parse::{parse, parse_in_chunks},
    rng::Rng,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::Result,
    gguf::{Parser, Summary, Value, limits},
    quant::Format,
};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parses without keeping anything.
fn scan(file: &[u8], chunk: usize) -> Result<Summary> {
    let mut parser = Parser::new();
    for chunk in file.chunks(chunk) {
        parser.feed(chunk, &mut |_| Ok(()))?;
    }
    parser.finish()
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

#[test]
fn the_counter_counts() {
    let (v, n) = peak_bytes(|| vec![1u8; MIB]);
    assert!(n >= v.len() && n < v.len() + KIB, "{n}");
}

#[test]
fn claims_cost_nothing() {
    let array = |element: u32, n: u64| {
        let value = [&element.to_le_bytes()[..], &n.to_le_bytes(), &[0; 64]].concat();
        RawKv { key: b"array".into(), key_length: None, value_type: value_type::ARRAY, value }
    };
    let string_of = |n: u64| RawKv {
        key: b"string".into(),
        key_length: None,
        value_type: value_type::STRING,
        value: n.to_le_bytes().into(),
    };
    let mut files = vec![GgufBuilder::new().with(|f| f.kvs.push(string_of(limits::MAX_STRING_BYTES)))];
    for n in [limits::MAX_KEYS, limits::MAX_KEYS + 1, 1_000_000_000, 1 << 63, u64::MAX] {
        files.push(GgufBuilder::new().with(|f| f.n_kv = Some(n)));
        files.push(GgufBuilder::new().with(|f| f.n_tensors = Some(n)));
        files.push(GgufBuilder::new().with(|f| f.kvs.push(string_of(n))));
    }
    for n in [limits::MAX_ARRAY_LENGTH, limits::MAX_ARRAY_LENGTH + 1, 1 << 61, u64::MAX] {
        files.extend(
            [value_type::U8, value_type::U64, value_type::STRING].map(|e| GgufBuilder::new().raw_kv(array(e, n))),
        );
    }
    for file in files {
        let bytes = [file.build_header(), vec![0; KIB]].concat();
        for chunk in [1, usize::MAX] {
            let (result, n) = peak_bytes(|| scan(&bytes, chunk));
            assert!(result.is_err());
            assert!(n < 16 * KIB, "{n} bytes for {:?}", result);
        }
    }
}

/// A header is kept as its values: a large vocabulary costs about its own length, also when it comes in small chunks.
#[test]
fn a_large_vocabulary_costs_its_length() {
    let pieces: Vec<String> = (0..100_000).map(|i| format!("piece {i}")).collect();
    let file = GgufBuilder::new().kv("tokenizer.ggml.tokens", strings(&pieces)).build();
    for chunk in [1, 4096, usize::MAX] {
        let (result, n) = peak_bytes(|| scan(&file, chunk));
        result.unwrap();
        // A vector that grows by doubling holds twice its length, and half of that again while it moves.
        assert!(n < 3 * file.len(), "{n} bytes for a file of {} in chunks of {chunk}", file.len());
    }
}

/// Tensor data passes through: memory does not grow with it.
#[test]
fn data_costs_nothing() {
    let file = GgufBuilder::new().tensor("t", &[4, MIB], Format::F32, vec![0; 16 * MIB]).build();
    let (result, n) = peak_bytes(|| scan(&file, 64 * KIB));
    assert_eq!(result.unwrap().file_bytes, file.len() as u64);
    assert!(n < 16 * KIB, "{n} bytes");
}

/// A good file with everything in it that mutations may hit.
fn model() -> Vec<u8> {
    let config = TinyConfig { n_layer: 1, n_embd: 32, n_ff: 32, n_head: 2, n_head_kv: 1, ..TinyConfig::default() };
    tiny_llama(&config, 3).kv("note", string("x")).kv("general.alignment", Value::U32(32)).build()
}

/// Numbers that are near something.
const AWKWARD: [u64; 14] =
    [0, 1, 2, 9, 31, 255, 1 << 16, (1 << 24) + 1, 1 << 31, u32::MAX as u64, (1 << 32) + 5, 1 << 61, 1 << 63, u64::MAX];

/// Changes a byte, a word, or the length of a file, mostly in its header.
fn mutate(file: &mut Vec<u8>, header_bytes: usize, rng: &mut Rng) {
    let within = if rng.below(8) == 0 { file.len() } else { header_bytes.min(file.len()) };
    let at = rng.below(within.max(1));
    match rng.below(6) {
        0 => file.truncate(at),
        1 => {
            let n = rng.below(64).min(file.len() - at);
            file.drain(at..at + n);
        }
        2 => {
            let n = rng.below(64);
            file.splice(at..at, (0..n).map(|_| rng.next_u64() as u8).collect::<Vec<_>>());
        }
        3 => file[at] ^= 1 << rng.below(8),
        kind => {
            let bytes = AWKWARD[rng.below(AWKWARD.len())].to_le_bytes();
            let end = (at + if kind == 4 { 4 } else { 8 }).min(file.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_mutation_panics_or_costs_more_than_the_file(seed: u64, n_mutations in 1usize..6, chunk in 1usize..5000) {
        let good = model();
        let header_bytes = parse(&good).unwrap().header.data_offset as usize;
        let mut rng = Rng(seed);
        let mut file = good;
        for _ in 0..n_mutations {
            if !file.is_empty() {
                mutate(&mut file, header_bytes, &mut rng);
            }
        }
        let (result, n) = peak_bytes(|| scan(&file, chunk));
        prop_assert!(n < 16 * KIB + 16 * file.len(), "{} bytes for a file of {}", n, file.len());
        prop_assert_eq!(parse(&file).map(|p| p.summary), result.clone());
        prop_assert_eq!(parse_in_chunks(&file, &[chunk]).map(|p| p.summary), result);
    }

    #[test]
    fn random_bytes_are_refused(seed: u64, n in 0usize..300, magic: bool) {
        let mut rng = Rng(seed);
        let mut file: Vec<u8> = (0..n).map(|_| rng.next_u64() as u8).collect();
        if magic && n >= 8 {
            file[..8].copy_from_slice(b"GGUF\x03\0\0\0");
        }
        prop_assert!(scan(&file, 7).is_err());
    }
}
