//! Whole models on the GPU executor: against HF transformers and the reference executor, in one pass, in chunks and token by
//! token, with every form of the kernels.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    golden::{Golden, STORIES, STORY, difference, goldens, tell_story},
    gpu::context,
    rng::Rng,
    runner::{MAX_ROWS, Runner},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::Result,
    gpu::{Context, Gpu, Request},
    kv::KvFormat,
    quant::Format,
    reference::Reference,
};

/// The GPU against transformers, both f32: the largest difference over the largest logit.
const GPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16 (relative 2⁻¹¹ each, over two layers).
const F16_CACHE_TOLERANCE: f32 = 5e-3;
/// The GPU against the reference with the same weights and the same cache in f16, where a rounding may go the other way.
const SAME_WEIGHTS_TOLERANCE: f32 = 2e-3;
/// The GPU against itself in steps of other lengths: other kernels, the same numbers up to their order of summation.
const SPLIT_TOLERANCE: f32 = 1e-4;

const N_TOKENS: usize = 100;

fn gpu(context: &Rc<Context>, file: &[u8], format: KvFormat) -> Runner<Gpu> {
    Runner::load(file, format, 128, |geometry| Ok(Gpu::new(context.clone(), geometry))).expect("it loads")
}

#[test]
fn the_gpu_gives_the_logits_of_transformers_in_any_split() -> Result<()> {
    let context = context(&Request::default());
    for golden in goldens() {
        let Golden { name, file, tokens, logits } = &golden;
        let whole = gpu(&context, file, KvFormat::F32).append(tokens, MAX_ROWS)?;
        let exact = difference(&whole, logits);
        println!("{name}: {exact:.1e} of the largest logit");
        assert!(exact <= GPU_TOLERANCE, "{name}: {exact} of the largest logit");
        let d = difference(&gpu(&context, file, KvFormat::F16).append(tokens, MAX_ROWS)?, logits);
        assert!(d > exact && d <= F16_CACHE_TOLERANCE, "{name}: {d} of the largest logit");
        any_split_gives_the_same_up_to_rounding(&context, &golden, &whole)?;
    }
    Ok(())
}

fn any_split_gives_the_same_up_to_rounding(context: &Rc<Context>, golden: &Golden, whole: &[Vec<f32>]) -> Result<()> {
    let Golden { name, file, tokens, .. } = golden;
    for rows in [1, 2, 5, 8, 23] {
        let d = difference(&gpu(context, file, KvFormat::F32).append(tokens, rows)?, whole);
        assert!(d <= SPLIT_TOLERANCE, "{name}: {rows} rows at a time: {d}");
    }
    let mut again = gpu(context, file, KvFormat::F32);
    again.append(tokens, MAX_ROWS)?;
    again.truncate(tokens.len() - 11);
    let d = difference(&again.append(&tokens[tokens.len() - 11..], 4)?, &whole[whole.len() - 11..]);
    assert!(d <= SPLIT_TOLERANCE, "{name}: truncate and go on: {d}");
    Ok(())
}

#[test]
fn formats_agree_with_the_reference() -> Result<()> {
    let context = context(&Request::default());
    [Format::F16, Format::Q4_0, Format::Q4_1, Format::Q8_0]
        .into_iter()
        .try_for_each(|format| agrees_with_the_reference(&context, &TinyConfig::of(format)))
}

/// Files as llama-quantize makes them: the kinds Q4_K_M, IQ4_XS and Q3_K_S, and what Q5_K_M becomes where rows are no multiple
/// of 256 long.
#[test]
fn files_of_several_formats_agree_with_the_reference() -> Result<()> {
    let context = context(&Request::default());
    let mixed = |format, embd_format, mixed| TinyConfig { embd_format, mixed, ..TinyConfig::of(format) };
    for config in [
        mixed(Format::Q4_K, Format::Q6_K, &[("attn_v", Format::Q6_K), ("ffn_down", Format::Q6_K)]),
        mixed(Format::IQ4_XS, Format::Q6_K, &[("attn_v", Format::Q5_K), ("ffn_up", Format::IQ4_NL)]),
        mixed(Format::Q3_K, Format::Q2_K, &[("attn_output", Format::TQ2_0), ("ffn_up", Format::TQ1_0)]),
        mixed(Format::Q5_0, Format::Q8_0, &[("attn_v", Format::Q5_1), ("ffn_down", Format::MXFP4)]),
    ] {
        agrees_with_the_reference(&context, &config)?;
    }
    Ok(())
}

#[test]
fn without_subgroups_it_agrees_with_the_reference() -> Result<()> {
    let request = Request { without_subgroups: true, ..Request::default() };
    agrees_with_the_reference(&context(&request), &TinyConfig::of(Format::Q4_1))
}

/// At default limits, with the table and the head in shards.
#[test]
fn in_shards_it_agrees_with_the_reference() -> Result<()> {
    let request = Request { default_limits: true, binding_limit_bytes: Some(1 << 17), ..Request::default() };
    agrees_with_the_reference(&context(&request), &TinyConfig::of(Format::F32))
}

fn agrees_with_the_reference(context: &Rc<Context>, config: &TinyConfig) -> Result<()> {
    let config = TinyConfig { n_vocab: 1024, biases: true, rope_freqs: true, ..config.clone() };
    let file = tiny_llama(&config, 3).build();
    let mut rng = Rng(7);
    let tokens: Vec<u32> = (0..N_TOKENS).map(|_| rng.below(config.n_vocab) as u32).collect();
    let new = |geometry| Ok(Reference::new(geometry));
    let expected = Runner::load(&file[..], KvFormat::F16, 128, new)?.append(&tokens, MAX_ROWS)?;
    let d = difference(&gpu(context, &file, KvFormat::F16).append(&tokens, 29)?, &expected);
    println!("{:?}: {d:.1e} of the largest logit", config.format);
    assert!(d <= SAME_WEIGHTS_TOLERANCE, "{config:?}: {d} of the largest logit");
    Ok(())
}

#[test]
fn the_documented_story_word_for_word_on_the_gpu() -> Result<()> {
    let context = context(&Request::default());
    for format in [KvFormat::F32, KvFormat::F16] {
        let runner = Runner::load(STORIES, format, 512, |geometry| Ok(Gpu::new(context.clone(), geometry)))?;
        assert_eq!(tell_story(runner)?, STORY.trim_end());
    }
    Ok(())
}
