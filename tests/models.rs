//! Whole models against somebody else's implementation: tiny random llamas with the logits of HF transformers
//! (tests/golden/make_tiny_llama.py), and a trained one of 260 thousand weights with the text that its author documents,
//! through the parser, the tokenizer, the architecture, the plan and an executor.

mod common;

use common::{
    formats::PLAIN,
    golden::{Golden, STORIES, STORY, difference, goldens, tell_story},
    runner::{MAX_ROWS, Runner},
    teacher_forced::{Other, TeacherForced},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    error::Result,
    kv::KvFormat,
    plan::Executor,
    reference::Reference,
    tokenizer::{EncodeOptions, Tokenizer},
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// The reference executor against transformers, both f32: the largest difference over the largest logit.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// The CPU executor against transformers: the same weights, other orders of summation and other e^x, sin and cos.
const CPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16 (relative 2⁻¹¹ each, over two layers).
const F16_CACHE_TOLERANCE: f32 = 5e-3;

fn reference(golden: &Golden, format: KvFormat) -> Runner<Reference> {
    Runner::load(golden.file, format, golden.tokens.len(), |geometry| Ok(Reference::new(geometry))).expect("it loads")
}

fn cpu(file: &[u8], format: KvFormat, threads: usize) -> Runner<Cpu> {
    Runner::load(file, format, 512, |geometry| Cpu::new(geometry, Pool::new(threads))).expect("it loads")
}

fn assert_same_bits(a: &[Vec<f32>], b: &[Vec<f32>], what: &str) {
    assert_eq!(a.len(), b.len());
    for (position, (a, b)) in a.iter().zip(b).enumerate() {
        let differs = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{what}: position {position}");
    }
}

/// One pass, any split and token by token give the same bits.
fn assert_any_split_is_the_same<E: Executor>(golden: &Golden, load: impl Fn() -> Runner<E>) -> Result<()> {
    let whole = load().append(&golden.tokens, MAX_ROWS)?;
    for rows in [1, 2, 5, 8, 23] {
        let split = load().append(&golden.tokens, rows)?;
        assert_same_bits(&split, &whole, &format!("{}: {rows} rows at a time", golden.name));
    }
    let mut again = load();
    again.append(&golden.tokens, MAX_ROWS)?;
    again.truncate(golden.tokens.len() - 11);
    let tail = again.append(&golden.tokens[golden.tokens.len() - 11..], 4)?;
    assert_same_bits(&tail, &whole[whole.len() - 11..], &format!("{}: truncate and go on", golden.name));
    Ok(())
}

#[test]
fn the_reference_gives_the_logits_of_transformers() -> Result<()> {
    for golden in goldens() {
        let logits = reference(&golden, KvFormat::F32).append(&golden.tokens, MAX_ROWS)?;
        let d = difference(&logits, &golden.logits);
        println!("{}: {d:.1e} of the largest logit", golden.name);
        assert!(d <= REFERENCE_TOLERANCE, "{}: {d} of the largest logit", golden.name);
    }
    Ok(())
}

#[test]
fn a_cache_in_f16_stays_near() -> Result<()> {
    for golden in goldens() {
        let logits = reference(&golden, KvFormat::F16).append(&golden.tokens, MAX_ROWS)?;
        let d = difference(&logits, &golden.logits);
        assert!(d > 0.0 && d <= F16_CACHE_TOLERANCE, "{}: {d} of the largest logit", golden.name);
    }
    Ok(())
}

#[test]
fn the_cpu_gives_the_logits_of_transformers() -> Result<()> {
    for golden in goldens() {
        let exact = difference(&cpu(golden.file, KvFormat::F32, 1).append(&golden.tokens, MAX_ROWS)?, &golden.logits);
        println!("{}: {exact:.1e} of the largest logit", golden.name);
        assert!(exact <= CPU_TOLERANCE, "{}: {exact} of the largest logit", golden.name);
        let d = difference(&cpu(golden.file, KvFormat::F16, 1).append(&golden.tokens, MAX_ROWS)?, &golden.logits);
        assert!(d > exact && d <= F16_CACHE_TOLERANCE, "{}: {d} of the largest logit", golden.name);
    }
    Ok(())
}

#[test]
fn any_split_gives_the_same_bits_on_the_cpu() -> Result<()> {
    for golden in goldens() {
        for format in [KvFormat::F32, KvFormat::F16] {
            assert_any_split_is_the_same(&golden, || cpu(golden.file, format, 1))?;
        }
    }
    Ok(())
}

#[test]
fn any_split_gives_the_same_bits_on_the_reference() -> Result<()> {
    for golden in goldens() {
        for format in [KvFormat::F32, KvFormat::F16] {
            assert_any_split_is_the_same(&golden, || reference(&golden, format))?;
        }
    }
    Ok(())
}

#[test]
fn the_documented_story_word_for_word_on_the_reference() -> Result<()> {
    for format in [KvFormat::F32, KvFormat::F16] {
        let runner = Runner::load(STORIES, format, 512, |geometry| Ok(Reference::new(geometry)))?;
        assert_eq!(tell_story(runner)?, STORY.trim_end());
    }
    Ok(())
}

#[test]
fn the_documented_story_word_for_word_on_the_cpu() -> Result<()> {
    for format in [KvFormat::F32, KvFormat::F16] {
        assert_eq!(tell_story(cpu(STORIES, format, 1))?, STORY.trim_end());
    }
    Ok(())
}

/// The hash of every bit of the logits of an executor: goldens, a trained model, and every format in a random one.
fn hash_of_logits<E: Executor>(load: impl Fn(&[u8]) -> Runner<E>) -> Result<u64> {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    let mut add = |logits: Vec<Vec<f32>>| {
        for x in logits.into_iter().flatten() {
            hash = (hash ^ u64::from(x.to_bits())).wrapping_mul(0x100_0000_01B3);
        }
    };
    for golden in goldens() {
        add(load(golden.file).append(&golden.tokens, MAX_ROWS)?);
    }
    add(load(STORIES).append(&(1..=70).collect::<Vec<_>>(), MAX_ROWS)?);
    for format in PLAIN {
        let config = TinyConfig { format, embd_format: format, ..TinyConfig::default() };
        add(load(&tiny_llama(&config, 5).build()).append(&(1..=70).collect::<Vec<_>>(), MAX_ROWS)?);
    }
    Ok(hash)
}

/// The same bits natively and in a browser, on any machine. A change that is meant to change results (another order of
/// summation, another approximation) changes the numbers here and says so.
#[test]
fn logits_have_the_same_bits_on_every_machine() -> Result<()> {
    let reference = |file: &[u8]| {
        Runner::load(file, KvFormat::F16, 128, |geometry| Ok(Reference::new(geometry))).expect("it loads")
    };
    assert_eq!(hash_of_logits(reference)?, 6_359_053_943_220_934_469, "reference");
    assert_eq!(hash_of_logits(|file| cpu(file, KvFormat::F16, 1))?, 3_066_797_478_505_793_508, "cpu");
    Ok(())
}

/// The vocabularies of the golden files are complete: any text goes in and comes out.
#[test]
fn golden_vocabularies_encode_any_text() -> Result<()> {
    for file in goldens().iter().map(|g| g.file).chain([STORIES]) {
        let runner = Runner::load(file, KvFormat::F32, 1, |geometry| Ok(Reference::new(geometry)))?;
        let tokenizer = Tokenizer::from_metadata(&runner.header.metadata)?;
        let text = "The wren and the eagle, 1847: naïve 🐦\n";
        let ids = tokenizer.encode(text, &EncodeOptions::default());
        assert!(ids.iter().all(|id| (*id as usize) < runner.model.hyper.n_vocab));
        assert_eq!(tokenizer.decode(&ids, true), text);
    }
    Ok(())
}

/// What the comparison must notice: a weight of one matrix that is off by one percent, another rotation, another token.
#[test]
fn a_wrong_model_is_noticed() -> Result<()> {
    for golden in goldens() {
        let mut file = golden.file.to_vec();
        // The last matrix element of the file that is not small.
        let at = file.len() - 4 * file.rchunks_exact(4).position(|b| value(b).abs() > 0.05).expect("a weight") - 4;
        let changed = value(&file[at..at + 4]) * 1.1;
        file[at..at + 4].copy_from_slice(&changed.to_le_bytes());
        let mut wrong = Runner::load(&file[..], KvFormat::F32, 128, |geometry| Ok(Reference::new(geometry)))?;
        let d = difference(&wrong.append(&golden.tokens, MAX_ROWS)?, &golden.logits);
        assert!(d > REFERENCE_TOLERANCE, "{}: one weight is off and the difference is {d}", golden.name);

        let mut tokens = golden.tokens.clone();
        tokens[0] ^= 1;
        let d = difference(&reference(&golden, KvFormat::F32).append(&tokens, MAX_ROWS)?, &golden.logits);
        assert!(d > REFERENCE_TOLERANCE, "{}: another first token and the difference is {d}", golden.name);
    }
    let mut file = STORIES.to_vec();
    let middle = file.len() / 2;
    file[middle..].chunks_exact_mut(2).take(4).for_each(|h| h.copy_from_slice(&0x4000_u16.to_le_bytes()));
    let runner = Runner::load(&file[..], KvFormat::F32, 512, |geometry| Ok(Reference::new(geometry)))?;
    assert_ne!(tell_story(runner)?, STORY.trim_end(), "four weights are wrong and the story is the same");
    Ok(())
}

fn value(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

/// The judge of tests/tools/teacher_forced.rs says of llama.cpp what the script that made the goldens says, accepts the
/// reference itself, and refuses what is over its bounds.
#[test]
fn the_teacher_forced_judge_is_strict() {
    let golden = TeacherForced::golden();
    assert!(golden.prompts.len() >= 20 && golden.prompts.iter().all(|p| p.tokens.len() == 48));
    let theirs = golden.judge(golden.prompts.iter().map(|p| &p.llama_cpp));
    let summary = |key: &str| golden.summary[key].as_f64().expect("a number");
    assert_eq!(theirs.positions as f64, summary("positions"));
    assert_eq!(theirs.clear_positions as f64, summary("clear_positions"));
    assert_eq!(theirs.other_best as f64, summary("llama_cpp_other_best"));
    assert_eq!(theirs.wrong.len() as f64, summary("llama_cpp_other_best_where_clear"));
    assert!((theirs.mean_difference - summary("llama_cpp_mean_difference")).abs() < 1e-5);

    let itself: Vec<Other> = golden
        .prompts
        .iter()
        .map(|p| Other { logprob: p.logprob.clone(), best: p.best.iter().map(|b| b[0]).collect() })
        .collect();
    assert!(golden.judge(&itself).passes());

    let mut biased = itself.clone();
    biased.iter_mut().flat_map(|o| &mut o.logprob).for_each(|x| *x -= 0.051);
    assert!(!golden.judge(&biased).passes(), "a mean difference of 0.051 passed");

    let clear = golden.prompts[0].logits.iter().position(|l| l[0] - l[1] >= 0.3).expect("a clear position");
    let mut wrong = itself;
    wrong[0].best[clear] = golden.prompts[0].best[clear][1];
    assert!(!golden.judge(&wrong).passes(), "another best token at a clear position passed");
}
