//! Encoder-decoders on the GPU against HF transformers on tiny random models (tests/golden/make_tiny_t5.py): the encoder's rows, the
//! decoder's logits, and whole answers, greedy and by beam search.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    generate::{Answer, load},
    golden::difference,
    gpu::{self, context},
    runner::{MAX_ROWS, Runner},
    t5::{T5Golden, t5_goldens},
};
use kinglet::{
    engine::{Device, Engine, Options},
    error::Result,
    gpu::{Context, Gpu, Request as GpuRequest},
    kv::KvFormat,
    sample::SamplingParams,
    session::{Request, Session},
};

/// The GPU against transformers, both f32: the largest difference over the largest value.
const GPU_TOLERANCE: f32 = 1e-4;
/// The same with keys and values rounded to f16.
const F16_CACHE_TOLERANCE: f32 = 2e-3;
/// The decoder against itself in steps of other lengths.
const SPLIT_TOLERANCE: f32 = 1e-4;

fn gpu(context: &Rc<Context>, golden: &T5Golden, format: KvFormat) -> Runner<Gpu> {
    Runner::load(golden.file, format, 128, |geometry| Ok(Gpu::new(context.clone(), geometry))).expect("it loads")
}

fn gives_what_transformers_gives(context: &Rc<Context>, golden: &T5Golden) -> Result<()> {
    let name = golden.name;
    for (format, tolerance) in [(KvFormat::F32, GPU_TOLERANCE), (KvFormat::F16, F16_CACHE_TOLERANCE)] {
        let mut runner = gpu(context, golden, format);
        for case in &golden.cases {
            let encoded = difference(&runner.remember(&case.output.source)?, &case.encoded);
            let whole = runner.append(&case.target, MAX_ROWS)?;
            let logits = difference(&whole, &case.logits);
            println!("{name}, {format:?}: encoder {encoded:.1e}, logits {logits:.1e} of the largest");
            assert!(encoded <= tolerance && logits <= tolerance, "{name}, {format:?}");
            for rows in [1, 2, 8, 23] {
                runner.truncate(0);
                let d = difference(&runner.append(&case.target, rows)?, &whole);
                assert!(d <= SPLIT_TOLERANCE || format == KvFormat::F16, "{name}: {rows} rows at a time: {d}");
            }
        }
    }
    Ok(())
}

#[test]
fn the_gpu_gives_what_transformers_gives() -> Result<()> {
    let context = context(&GpuRequest::default());
    t5_goldens().iter().try_for_each(|golden| gives_what_transformers_gives(&context, golden))
}

#[test]
fn without_subgroups_and_at_default_limits_too() -> Result<()> {
    let request = GpuRequest { without_subgroups: true, default_limits: true, ..GpuRequest::default() };
    let context = context(&request);
    t5_goldens().iter().take(2).try_for_each(|golden| gives_what_transformers_gives(&context, golden))
}

/// Runs to the end, waiting as the worker does.
fn finish(session: &mut Session, context: &Context, request: &Request) -> Result<Answer> {
    gpu::finish(session, context, request).map(|(answer, _)| answer)
}

#[test]
fn answers_are_those_of_transformers_greedy_and_by_beam_search() -> Result<()> {
    let context = context(&GpuRequest::default());
    for golden in t5_goldens() {
        let options = Options { kv_format: KvFormat::F32, ..Options::new(Device::Gpu(context.clone())) };
        let Engine { mut session, .. } = load(golden.file, options, 1 << 14)?;
        for output in golden.cases.iter().map(|c| &c.output).chain(&golden.outputs).skip(1).take(1) {
            let ask = |beams, n| Request {
                prompt: output.source.clone(),
                max_tokens: Some(golden.max_new_tokens),
                sampling: SamplingParams::greedy(),
                beams,
                n,
                ..Request::default()
            };
            let tokens = |answer: Answer| answer.choices.into_iter().map(|c| c.tokens).collect::<Vec<_>>();
            let greedy = finish(&mut session, &context, &ask(None, 1))?;
            assert_eq!(tokens(greedy), std::slice::from_ref(&output.greedy), "{}", golden.name);
            for beams in output.beams.iter().take(3) {
                let answer = finish(&mut session, &context, &ask(Some(beams.params()), beams.sequences.len()))?;
                assert_eq!(answer.usage.cached_tokens, output.source.len());
                assert_eq!(tokens(answer), beams.sequences, "{} {:?}", golden.name, beams.params());
            }
        }
    }
    Ok(())
}
