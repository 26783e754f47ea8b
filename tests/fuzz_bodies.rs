//! The fuzz targets in a few seconds: the bodies of `tests/fuzz/bodies` on the corpus that is in git and on some thousand inputs made
//! of it. `./build.sh fuzz` runs them for longer, with a fuzzer that looks at the code.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;
mod common;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use bodies::{TARGETS, Target};
use common::{counting::Counting, rng::Rng};

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N_RANDOM: usize = if cfg!(target_arch = "wasm32") { 300 } else { 3000 };

/// The inputs that are kept for a target: seeds, and what once went wrong. In WebAssembly there are no files.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    if cfg!(target_arch = "wasm32") {
        return vec![];
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target.name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Says which input it is, should the body panic.
struct Running<'a>(&'static str, &'a [u8]);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            println!("target {}: `echo {hex} | xxd -r -p` gives the input", self.0);
        }
    }
}

fn run(target: &Target, input: &[u8]) {
    let _running = Running(target.name, input);
    (target.run)(input);
}

/// A change that a fuzzer makes: of a bit, a byte, the length, a part of another input.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], max_bytes: usize, rng: &mut Rng) {
    let at = rng.below(input.len() + 1);
    match rng.below(6) {
        0 => input.truncate(at),
        1 => {
            let n = 1 + rng.below(8);
            input.splice(at..at, (0..n).map(|_| rng.next_u64() as u8).collect::<Vec<_>>());
        }
        2 => {
            let end = (at + 1 + rng.below(8)).min(input.len());
            input.drain(at.min(end)..end);
        }
        3 if !others.is_empty() => {
            let other = &others[rng.below(others.len())];
            let from = rng.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ if at < input.len() => {
            input[at] = if rng.below(2) == 0 { rng.next_u64() as u8 } else { input[at] ^ 1 << rng.below(8) }
        }
        _ => input.push(rng.next_u64() as u8),
    }
    input.truncate(max_bytes);
}

fn run_target(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    corpus.iter().for_each(|input| run(target, input));
    let mut rng = Rng(7);
    for _ in 0..N_RANDOM {
        let mut input = match rng.below(3) {
            0 if !corpus.is_empty() => corpus[rng.below(corpus.len())].clone(),
            _ => {
                let n = rng.below(target.max_bytes);
                (0..n).map(|_| rng.next_u64() as u8).collect()
            }
        };
        for _ in 0..rng.below(4) {
            mutate(&mut input, &corpus, target.max_bytes, &mut rng);
        }
        run(target, &input);
    }
}

#[test]
fn gguf() {
    run_target("gguf");
}

#[test]
fn gguf_struct() {
    run_target("gguf_struct");
}

#[test]
fn checkpoint() {
    run_target("checkpoint");
}

#[test]
fn dequantize() {
    run_target("dequantize");
}

#[test]
fn tokenizer() {
    run_target("tokenizer");
}

#[test]
fn detokenize() {
    run_target("detokenize");
}

#[test]
fn sampler() {
    run_target("sampler");
}

#[test]
fn snapshot() {
    run_target("snapshot");
}

/// Encoding takes linear time: a quadratic one would take minutes here.
#[test]
fn long_texts_of_one_kind_are_encoded_at_once() {
    let texts = [
        "a",
        " ",
        "\n",
        "1",
        "<",
        "ab",
        " a",
        "'s",
        "e\u{301}",
        "\u{301}",
        "日",
        "\u{1f469}\u{200d}",
        "<|end|>",
        "\u{2581}",
    ];
    for full in bodies::tokenizer::TOKENIZERS.iter() {
        for text in texts {
            bodies::tokenizer::round_trip(full, &text.repeat(1 << 14));
        }
    }
}

/// Every check sees what it is there for.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn the_checks_can_fail() {
    use bodies::{checkpoint, dequantize, gguf, gguf_struct, sampler, snapshot, tokenizer};
    use kinglet::{error::Error, quant::Format, tokenizer::Tokenizer};

    let fails = |what: &str, check: &dyn Fn()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        assert!(result.is_err(), "{what} passes");
    };
    let internal = || Error::internal("a defect");
    fails("a defect for a bad file", &|| gguf::blames_the_file(&internal()));
    fails("too much memory", &|| gguf::is_warranted(1 << 20, 1 << 10, &[0; 100]));
    fails("a defect of a model", &|| gguf_struct::says_what_is_not_finite(&internal()));
    fails("a token of no vocabulary", &|| gguf_struct::is_a_probability(5, -1.0, 5));
    fails("a probability over 1", &|| gguf_struct::is_a_probability(0, 0.1, 5));
    fails("a NaN for a probability", &|| gguf_struct::is_a_probability(0, f64::NAN, 5));

    fails("a block with an infinite scale", &|| {
        checkpoint::is_finite_unless_copied(Format::Q8_0, &[&[0, 0x7c][..], &[1; 32]].concat());
    });
    fails("a NaN that is not noticed", &|| dequantize::promised(&[0.0, f32::NAN], 1, None));
    fails("a NaN in another block", &|| dequantize::promised(&[0.0, f32::NAN], 1, Some(0)));
    fails("a NaN that is none", &|| dequantize::promised(&[0.0, 1.0], 1, Some(1)));
    fails("a bad row that is taken", &|| dequantize::refused_by_row(&Ok(()), Some(0)));
    fails("a wrong row", &|| dequantize::refused_by_row(&Err(Error::file("tensor w: row 1 holds")), Some(0)));
    fails("another zero", &|| dequantize::same_bits(&[0.0], &[-0.0], Format::F32));
    fails("a wrong product", &|| dequantize::near(1.0, 1.1, 1.0, String::new));

    fails("a token that is not there", &|| sampler::check(&Ok(3), &[0.0; 3], None));
    fails("a token of no logits", &|| sampler::check(&Ok(0), &[f32::NAN], None));
    fails("a needless error", &|| sampler::check(&Err(internal()), &[0.0], None));
    fails("a defect for a bad snapshot", &|| snapshot::blames_the_bytes(&internal()));
    fails("another answer", &|| snapshot::is_undisturbed(&[(1, 2)], &[(1, 3)]));
    fails("a wrong sum", &|| sampler::sum_to_one(&[-1.0, -1.0]));

    let vocabulary = bodies::vocabulary::Vocabulary::small("gpt2");
    let tokenizer = Tokenizer::from_metadata(&vocabulary.metadata()).unwrap();
    let lossy = tokenizer::Full { name: "small".into(), tokenizer, rule: tokenizer::Rule::Exact };
    fails("a lost letter", &|| tokenizer::round_trip(&lossy, "abc"));
}
