//! Every malformed file of our list through the whole engine: its code, a message that names the thing, and what it costs. The
//! files are in `common/bad_files.rs`; `cargo run --release --example bad_files` prints the table of code, milliseconds and bytes.
//!
//! Where each row of the list is tested:
//!
//! ```text
//! 1   empty, 3 bytes, "GGUF" only        gguf_refused row_1
//! 2   HTML, LFS pointer, JSON, zip, …    gguf_refused row_2; end to end: sources, demo_sources
//! 3   versions, byte order               gguf_refused row_3
//! 4   counts of 2^63                     gguf_refused row_4, gguf_memory claims_cost_nothing
//! 5   lengths of strings                 gguf_refused row_5, gguf_memory claims_cost_nothing
//! 6   arrays                             gguf_refused row_6, gguf_memory claims_cost_nothing
//! 7   keys and names                     gguf_refused row_7
//! 8   alignments                         gguf_refused row_8
//! 9   dimensions                         gguf_refused row_9
//! 10  rows of whole blocks               gguf_refused row_10
//! 11  offsets                            gguf_refused row_11
//! 12  types                              gguf_refused row_12
//! 13  cut at 1 %, …, at every edge       row_13 here, gguf_refused row_13, gguf_parts a_broken_part_is_named
//! 14  a flipped bit                      row_14 here without a checksum; with one end to end: sources
//! 15  scales NaN, infinite, denormal     row_15 here, every format
//! 16  hyper-parameters                   bad_models row_16
//! 17  tensors missing, of wrong shape    bad_models row_17
//! 18  vocabulary                         bad_models row_18, tokenizer contradictions_in_a_file
//! 19  merges                             tokenizer contradictions_in_a_file, a_million_merges
//! 20  texts                              row_20 here, tokenizer a_million_merges, tokenizer_oracle
//! 21  "<|im_start|>" in a message        www/pkg/test/roles.test.ts; end to end: package
//! 22  templates that do not end          www/pkg/test/template.test.ts; end to end: package
//! ```
//! Of rows 1 to 19 (14 aside) there is at least one file here besides.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::time::Instant;

use common::{
    bad_files::{self, BadFile, Number, good, model_of, poison, scales},
    counting::{Counting, peak_bytes},
    generate::{load, options, run},
    gguf_builder::GgufBuilder,
    parse::parse,
};
use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Engine},
    error::Result,
    quant::Format,
    sample::SamplingParams,
    session::Request,
    tokenizer::EncodeOptions,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MIB: usize = 1 << 20;

fn cpu() -> Device {
    Device::Cpu(std::sync::Arc::new(Pool::new(1)))
}

fn load_in(file: &[u8], chunk_bytes: usize) -> Result<Engine> {
    load(file, options(cpu()), chunk_bytes)
}

fn assert_refused(file: &BadFile) {
    let name = format!("row {}, {}", file.row, file.name);
    for chunk_bytes in [usize::MAX, 4096] {
        let (loaded, n_bytes) = peak_bytes(|| load_in(&file.bytes, chunk_bytes));
        let error = loaded.err().unwrap_or_else(|| panic!("{name}: was accepted"));
        assert_eq!(error.code(), file.code, "{name}: {error}");
        assert!(error.to_string().contains(&file.says), "{name}: {error} does not say {:?}", file.says);
        // What a header costs is bounded by its own length, whatever it claims; room for weights comes after it.
        let most = if file.at_header { MIB + 8 * file.bytes.len().saturating_sub(100_000) } else { 8 * MIB };
        assert_cost(file, n_bytes, most);
    }
}

fn assert_cost(file: &BadFile, n_bytes: usize, most: usize) {
    let n = file.bytes.len();
    assert!(n_bytes < most, "row {}, {}: {n_bytes} bytes were held at most, for a file of {n}", file.row, file.name);
}

#[test]
fn every_bad_file_is_refused_with_its_code_and_costs_less_than_a_mebibyte_at_its_header() {
    let files = bad_files::all();
    files.iter().for_each(assert_refused);
    for row in 1..=19 {
        assert!(row == 14 || files.iter().any(|file| file.row == row), "row {row} has a file");
    }
}

/// The good file between two bad ones loads: nothing is left behind.
#[test]
fn the_next_file_loads() {
    for file in bad_files::all() {
        assert!(load_in(&file.bytes, 4096).is_err());
    }
    generate(&mut load_in(&good().build(), 4096).unwrap()).unwrap();
}

#[test]
fn row_13_every_percent_and_every_section_edge() {
    let whole = good().build();
    let header = parse(&whole).unwrap().header;
    let edges = header.tensors.iter().flat_map(|t| [t.offset, t.offset + t.n_bytes]);
    let edges =
        edges.chain([4, 8, 16, 24, header.data_offset]).flat_map(|edge| [edge.saturating_sub(1), edge, edge + 1]);
    let percents = (0..100).map(|percent| whole.len() as u64 * percent / 100);
    for n in edges.chain(percents).filter(|n| *n < header.end_offset) {
        let error =
            load_in(&whole[..n as usize], 4096).err().unwrap_or_else(|| panic!("the first {n} bytes were accepted"));
        assert_eq!(error.code(), "E_FILE_FORMAT", "{n}: {error}");
        assert!(error.to_string().contains("the file ends too early"), "{n}: {error}");
    }
}

/// Without a checksum: what is still a model loads and answers; what is none is refused. Never anything else.
#[test]
fn row_14_any_flipped_bit_of_the_weights_loads_or_is_named() {
    let whole = good().build();
    let data_offset = parse(&whole).unwrap().header.data_offset as usize;
    let mut n_refused = 0;
    for at in (data_offset..whole.len()).step_by(97) {
        let mut file = whole.clone();
        file[at] ^= 0x40;
        match load_in(&file, usize::MAX) {
            Ok(mut engine) => {
                if let Err(error) = generate(&mut engine) {
                    assert_eq!(error.code(), "E_INTERNAL", "{error}");
                }
            }
            Err(error) => {
                assert_eq!(error.code(), "E_FILE_FORMAT", "{error}");
                n_refused += 1;
            }
        }
    }
    assert!(n_refused < 100);
}

#[test]
fn row_15_scales_that_are_no_numbers_are_named_by_tensor_in_every_format_and_place() {
    for format in Format::ALL {
        for place in 0..scales(format).map_or(1, <[_]>::len) {
            for number in [Number::Nan, Number::Infinity] {
                let name = format!("{} {number:?} in place {place}", format.name());
                for device in [cpu(), Device::Reference] {
                    let error = load(&poisoned(format, place, number).build(), options(device), 9999).err();
                    let error = error.unwrap_or_else(|| panic!("{name} was accepted"));
                    assert_eq!(error.code(), "E_FILE_FORMAT", "{name}: {error}");
                    assert!(error.to_string().contains("blk.0.ffn_up.weight"), "{name}: {error}");
                }
            }
        }
    }
}

/// Denormal scales are numbers; the largest ones may pass what an f32 holds, which the guard of the logits notices.
#[test]
fn row_15_denormal_scales_run_and_the_largest_run_or_are_noticed() {
    for format in Format::ALL {
        for place in 0..scales(format).map_or(1, <[_]>::len) {
            for number in [Number::Usual, Number::Denormal] {
                let mut engine = load_in(&poisoned(format, place, number).build(), 9999).unwrap();
                let n_tokens = generate(&mut engine).unwrap_or_else(|e| panic!("{} {number:?}: {e}", format.name()));
                assert_eq!(n_tokens, 4);
            }
            let largest = load_in(&poisoned(format, place, Number::Largest).build(), 9999);
            match largest.and_then(|mut engine| generate(&mut engine)) {
                Ok(n_tokens) => assert_eq!(n_tokens, 4),
                // An exponent may be a number while weights under it are none.
                Err(error) if error.code() == "E_FILE_FORMAT" => assert_eq!(format.name(), "MXFP4", "{error}"),
                Err(error) => assert_eq!(error.code(), "E_INTERNAL", "{error}"),
            }
        }
    }
}

#[test]
fn row_20_texts_of_every_kind_come_back_and_take_linear_time() {
    let engine = load_in(&good().build(), 4096).unwrap();
    let encode = |text: &str| engine.tokenizer.encode(text, &EncodeOptions::default());
    // A lone surrogate of JavaScript arrives as U+FFFD: strings that cross into Rust are UTF-8.
    let family = "👩\u{200d}👩\u{200d}👧\u{200d}👦".repeat(1000);
    for text in ["\u{fffd}", "\0", "a\0b", &"a".repeat(MIB), &"\u{301}".repeat(100_000), &family] {
        let ids = encode(text);
        assert_eq!(engine.tokenizer.decode(&ids, true), text, "{} bytes", text.len());
    }
    let seconds = |n: usize| {
        let text = "a".repeat(n);
        (0..3)
            .map(|_| {
                let start = Instant::now();
                encode(&text);
                start.elapsed().as_secs_f64()
            })
            .fold(f64::MAX, f64::min)
    };
    let (short, long) = (seconds(MIB), seconds(4 * MIB));
    assert!(long < 4.0 * short * 3.0, "4 times the text took {long} s instead of {short} s");
}

fn poisoned(format: Format, place: usize, number: Number) -> GgufBuilder {
    model_of(format).with(|f| poison(&mut f.tensor_mut("blk.0.ffn_up.weight").data, format, place, number))
}

/// How many tokens came.
fn generate(engine: &mut Engine) -> Result<usize> {
    let sampling = SamplingParams { temperature: 0.0, ..SamplingParams::default() };
    let request =
        Request { prompt: vec![40, 41, 42], max_tokens: Some(4), ignore_eos: true, sampling, ..Request::default() };
    Ok(run(&mut engine.session, &request, usize::MAX)?.choices[0].tokens.len())
}

/// The checker is checked: a good file does not pass for a bad one.
#[test]
#[should_panic(expected = "was accepted")]
fn a_good_file_is_not_refused() {
    let (name, bytes) = ("good".to_owned(), good().build());
    assert_refused(&BadFile { row: 0, name, bytes, code: "", says: String::new(), at_header: true });
}

/// And one that costs more than it may is noticed: a refusal that came when there was room for the weights already.
#[test]
#[should_panic(expected = "bytes were held at most")]
fn a_costly_refusal_is_noticed() {
    let file = bad_files::all().into_iter().find(|file| file.row == 15 && file.name.ends_with("Nan, F32")).unwrap();
    let ((), n_bytes) = peak_bytes(|| drop(load_in(&file.bytes, 4096)));
    assert!(n_bytes > 300_000, "{n_bytes}");
    assert_cost(&file, n_bytes, 100_000);
}
