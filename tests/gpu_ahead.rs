//! Runs of steps that the GPU takes by itself: the same answers as token by token, fewer waits, and what it chooses is what the
//! sampler chooses.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{cell::Cell, collections::BTreeMap, rc::Rc, sync::Arc};

use common::{
    decoders::decoders,
    generate::{Answer, load},
    gpu::{self, context, watched},
    rng::Rng,
    t5::t5_goldens,
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Options},
    gguf::{Header, Metadata, TensorInfo},
    gpu::{Context, Gpu, Request as GpuRequest, context::block_on},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Ahead, Builder, Executor, PlanSlot, Progress, Row, RowBound, RowInput, Step, Want},
    quant::Format,
    sample::{Candidate, Sampler, SamplingParams, Scores, Scratch},
    session::{Request, Session, Speculation},
    weights::Weights,
};

const CONTEXT: usize = 200;

fn file() -> Vec<u8> {
    let config = TinyConfig { n_ctx: CONTEXT, format: Format::F32, embd_format: Format::F32, ..TinyConfig::default() };
    tiny_llama(&config, 7).build()
}

/// A model on the GPU; where it looks ahead, by a clock on which a step takes `step_ms`.
fn on_gpu(file: &[u8], context: &Rc<Context>, looks_ahead: bool) -> Session {
    let options = Options { kv_format: KvFormat::F32, ..Options::new(Device::Gpu(context.clone())) };
    let mut session = load(file, options, 10_000).unwrap().session;
    if looks_ahead {
        session.look_ahead_by(|| 0.0);
    }
    session
}

/// Runs to the end; how often something was waited for.
fn finish(session: &mut Session, context: &Context, request: &Request) -> (Answer, usize) {
    gpu::finish(session, context, request).unwrap()
}

fn prompt(n: u32) -> Vec<u32> {
    (0..n).map(|i| 3 + (i * 31 + i * i * 7) % 300).collect()
}

fn greedy(n_prompt: u32, max_tokens: usize) -> Request {
    Request {
        prompt: prompt(n_prompt),
        max_tokens: Some(max_tokens),
        sampling: SamplingParams::greedy(),
        ignore_eos: true,
        ..Request::default()
    }
}

fn sampled(seed: u64) -> SamplingParams {
    SamplingParams { seed, temperature: 1.3, ..SamplingParams::default() }
}

/// One request after the other in two sessions, so that each finds what those before left.
#[test]
fn answers_are_the_same_with_and_without() {
    let context = context(&GpuRequest::default());
    let (mut with, mut without) = (on_gpu(&file(), &context, true), on_gpu(&file(), &context, false));
    let stop = middle(&mut on_gpu(&file(), &context, false), &context);
    let requests = [
        greedy(5, 90),
        Request { logprobs: Some(5), ..greedy(60, 70) },
        Request { sampling: sampled(1), ..greedy(66, 100) },
        Request { sampling: SamplingParams { top_k: 3, min_p: 0.0, ..sampled(2) }, logprobs: Some(0), ..greedy(9, 33) },
        Request { sampling: SamplingParams { top_p: 1.0, min_p: 0.2, ..sampled(3) }, ..greedy(64, 64) },
        // The end of the context, of a stop string, of the text itself; several choices; what needs the CPU between tokens.
        Request { max_tokens: None, ..greedy(70, 0) },
        Request { stop: vec![stop], ..greedy(5, 90) },
        Request { ignore_eos: false, sampling: sampled(4), ..greedy(12, 80) },
        Request { n: 3, sampling: sampled(5), ..greedy(12, 20) },
        Request { sampling: SamplingParams { frequency_penalty: 0.5, ..sampled(6) }, ..greedy(12, 30) },
        Request { sampling: SamplingParams { top_k: 0, ..sampled(7) }, ..greedy(12, 20) },
        greedy(5, 2),
        greedy(5, 1),
    ];
    for request in &requests {
        let ((ours, n_ours), (theirs, n_theirs)) =
            (finish(&mut with, &context, request), finish(&mut without, &context, request));
        assert_eq!(ours, theirs, "{request:?}");
        assert!(n_ours <= n_theirs, "{n_ours} waits instead of {n_theirs}");
        assert_eq!(with.cached_tokens(), without.cached_tokens());
    }
    // By now it takes 32 steps at a time.
    let (_, n_waits) = finish(&mut with, &context, &greedy(5, 128));
    assert!(n_waits <= 6, "{n_waits} waits for 128 tokens");
}

/// A piece of the text that the greedy answer has in its middle.
fn middle(session: &mut Session, context: &Context) -> String {
    let (answer, _) = finish(session, context, &greedy(5, 90));
    let text: Vec<char> = answer.choices[0].text.chars().collect();
    text[text.len() / 2..][..4].iter().collect()
}

#[test]
fn every_family_takes_steps_ahead() {
    let context = context(&GpuRequest::default());
    // One of each: a table of positions, windows, a state of convolutions, parallel blocks, norms of heads; all of them in `soak`.
    let some = ["gpt2", "gemma3", "lfm2", "phi2", "qwen3"];
    let is_all = std::env::var("KINGLET_LONG").is_ok_and(|long| long == "1");
    for decoder in decoders().into_iter().filter(|d| is_all || some.contains(&d.name)) {
        let (mut with, mut without) = (on_gpu(decoder.file, &context, true), on_gpu(decoder.file, &context, false));
        let n_vocab = 200;
        let request = Request {
            prompt: prompt(7).iter().map(|token| token % n_vocab).collect(),
            sampling: sampled(9),
            ..greedy(0, 12)
        };
        let ((ours, n_ours), (theirs, n_theirs)) =
            (finish(&mut with, &context, &request), finish(&mut without, &context, &request));
        assert_eq!(ours.results(), theirs.results(), "{}", decoder.name);
        assert!(n_ours < n_theirs, "{}: {n_ours} waits of {n_theirs}", decoder.name);
    }
}

/// A decoder that looks at a memory, past the end of a page.
#[test]
fn encoder_decoders_too() {
    let context = context(&GpuRequest::default());
    let golden = &t5_goldens()[0];
    let (mut with, mut without) = (on_gpu(golden.file, &context, true), on_gpu(golden.file, &context, false));
    for n in [20, 100] {
        let request = Request { prompt: vec![5, 9, 17, 4, 1], ..greedy(0, n) };
        let ((ours, n_ours), (theirs, n_theirs)) =
            (finish(&mut with, &context, &request), finish(&mut without, &context, &request));
        assert_eq!(ours.results(), theirs.results());
        assert!(n_ours < n_theirs, "{n_ours} waits of {n_theirs}");
    }
}

/// Given up at any time, with runs under way, the next answer is that of a new session.
#[test]
fn it_can_be_cancelled_at_any_time() {
    let context = context(&GpuRequest::default());
    let mut session = on_gpu(&file(), &context, true);
    let request = Request { sampling: sampled(1), ..greedy(30, 60) };
    let expected = finish(&mut on_gpu(&file(), &context, false), &context, &request).0.results();
    for n_advances in 1..14 {
        let other = Request { prompt: prompt(40).split_off(8), ..greedy(0, 100) };
        session.start(other).unwrap();
        for _ in 0..n_advances {
            session.advance(usize::MAX).unwrap();
            if let Some(signal) = session.waiting().filter(|_| n_advances % 2 == 0) {
                block_on(Some(&context), signal);
            }
        }
        session.cancel().unwrap();
        assert_eq!(finish(&mut session, &context, &request).0.results(), expected, "after {n_advances}");
    }
}

/// A device that becomes slow is looked at more often.
#[test]
fn runs_are_as_long_as_the_clock_allows() {
    let context = context(&GpuRequest::default());
    let mut session = on_gpu(&file(), &context, false);
    let now = Rc::new(Cell::new(0.0));
    let clock = now.clone();
    session.look_ahead_by(move || {
        clock.set(clock.get() + 30.0);
        clock.get()
    });
    let request = Request { speculation: Speculation::Off, ..greedy(5, 40) };
    let (_, n_waits) = finish(&mut session, &context, &request);
    assert!(n_waits >= 40, "a step of 30 ms is waited for: {n_waits} waits");
}

/// Nothing is made anew while tokens come, but encoders of commands.
#[test]
fn nothing_is_made_per_token() {
    let context = context(&GpuRequest::default());
    let mut session = on_gpu(&file(), &context, true);
    // The second time the beginning of what is kept is copied: there is room for that once.
    finish(&mut session, &context, &greedy(5, 150));
    finish(&mut session, &context, &greedy(5, 150));
    let made = context.made();
    finish(&mut session, &context, &greedy(5, 150));
    assert_eq!(context.made(), made);
}

/// The first step of a run.
const FIRST: Step<'_> = Step {
    rows: &[Row { input: RowInput::Token(0), position: 0, sequence: 0, segment: 0 }],
    outputs: &[0],
    sequences: &[&[PageId(0)]],
    memories: &[],
    embeddings: &[],
    want: Want::Best(5),
};

/// A model whose logits are always the same: draws that depend on nothing.
struct Urn {
    gpu: Gpu,
    slot: PlanSlot,
    logits: Vec<f32>,
}

impl Urn {
    fn new(context: &Rc<Context>, logits: Vec<f32>) -> Self {
        let n = logits.len();
        let bytes: Vec<u8> = (0..n).flat_map(|_| &logits).flat_map(|x| x.to_le_bytes()).collect();
        let n_bytes = bytes.len() as u64;
        let header = Header {
            version: 3,
            metadata: Metadata::default(),
            tensors: vec![TensorInfo { name: "x".into(), shape: vec![n, n], format: Format::F32, offset: 0, n_bytes }],
            alignment: 32,
            data_offset: 0,
            end_offset: 0,
            fingerprint: 0,
        };
        let weights = Weights::from_header(&header);
        let mut b = Builder::new("an urn", &weights, RowBound::One, 1);
        let table = b.weight("x", &[n, n]).unwrap();
        let x = b.embed(table, 1.0);
        let output = b.select_rows("logits", x);
        let plan = b.finish(output);
        let mut gpu =
            Gpu::new(context.clone(), KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 });
        for (id, spec) in weights.iter() {
            gpu.create_weight(id, spec).unwrap();
            gpu.write_weight(id, &bytes).unwrap();
        }
        let slot = gpu.prepare(Arc::new(plan)).unwrap();
        gpu.kv_reserve(1).unwrap();
        Self { gpu, slot, logits }
    }

    /// Draws so many tokens on the device, and compares each with the sampler's.
    fn draw(&mut self, params: &SamplingParams, n: usize) -> Vec<u32> {
        let n_vocab = self.logits.len();
        let mut sampler = Sampler::new(params.clone(), 0, n_vocab, &[]).unwrap();
        let mut scratch = Scratch::default();
        let mut tokens = vec![];
        while tokens.len() < n {
            let most = self.gpu.most_ahead(self.slot).min(n - tokens.len());
            let draws: Vec<f32> = sampler.draws(most).collect();
            let step = Step { want: Want::Best(sampler.wants().unwrap()), ..FIRST };
            let ahead = Ahead { chooser: sampler.chooser().unwrap(), draws: &draws };
            self.gpu.begin_ahead(self.slot, &step, &ahead).unwrap();
            while self.gpu.advance(1).unwrap() != Progress::Complete {}
            assert_eq!(self.gpu.n_ahead(), most);
            for i in 0..most {
                let token = sampler.sample(Scores::Best(self.gpu.best(i).unwrap().unwrap()), &mut scratch).unwrap();
                assert_eq!(self.gpu.chosen(i).unwrap(), token, "draw {} of {params:?}", tokens.len());
                sampler.accept(token).unwrap();
                tokens.push(token);
            }
        }
        tokens
    }

    /// What each token's probability is, by the definition.
    fn probabilities(&self, params: &SamplingParams) -> BTreeMap<u32, f64> {
        let mut best: Vec<Candidate> = (0..).zip(&self.logits).map(|(id, &logit)| Candidate { id, logit }).collect();
        best.sort_by(|a, b| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id)));
        best.truncate(params.top_k as usize);
        let top = f64::from(best[0].logit);
        let mass = |c: &Candidate| (f64::from(c.logit) - top).exp();
        let total: f64 = best.iter().map(mass).sum();
        let mut before = 0.0;
        let n = best.iter().take_while(|c| {
            let takes = before < f64::from(params.top_p) * total;
            before += mass(c);
            takes
        });
        let n = n.count().max(1);
        best.truncate(n);
        best.retain(|c| mass(c) >= f64::from(params.min_p));
        let weight = |c: &Candidate| ((f64::from(c.logit) - top) / f64::from(params.temperature)).exp();
        let sum: f64 = best.iter().map(weight).sum();
        best.iter().map(|c| (c.id, weight(c) / sum)).collect()
    }
}

/// Σ (n − expected)² / expected.
fn chi_square(tokens: &[u32], probabilities: &BTreeMap<u32, f64>) -> f64 {
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for token in tokens {
        *counts.entry(*token).or_default() += 1.0;
    }
    assert!(counts.keys().all(|id| probabilities.contains_key(id)), "a token that was cut off");
    let expected =
        probabilities.iter().map(|(id, p)| (counts.get(id).copied().unwrap_or(0.0), p * tokens.len() as f64));
    expected.map(|(n, expected)| (n - expected).powi(2) / expected).sum()
}

/// 10,000 draws each: token for token the sampler's, and by chi-square as the definition says.
#[test]
fn draws_are_the_samplers_and_have_its_distribution() {
    let context = watched(&GpuRequest::default());
    let mut rng = Rng(3);
    let logits: Vec<f32> = (0..50).map(|_| 1.5 * (rng.signed() + rng.signed())).collect();
    let mut urn = Urn::new(&context, logits);
    for params in [
        SamplingParams { seed: 1, temperature: 1.0, top_k: 20, top_p: 1.0, min_p: 0.0, ..SamplingParams::default() },
        SamplingParams { seed: 2, ..SamplingParams::default() },
        SamplingParams { seed: 3, temperature: 1.7, top_k: 49, top_p: 0.8, min_p: 0.1, ..SamplingParams::default() },
    ] {
        let tokens = urn.draw(&params, 10_000);
        let probabilities = urn.probabilities(&params);
        let (found, freedom) = (chi_square(&tokens, &probabilities), probabilities.len() as f64 - 1.0);
        // The mean is `freedom`, its deviation √(2 · freedom): five of those are never seen by chance.
        assert!(found < freedom + 5.0 * (2.0 * freedom).sqrt(), "χ² {found} of {freedom} degrees, {params:?}");
        // The check sees another distribution.
        let warmer = SamplingParams { temperature: params.temperature * 1.4, ..params.clone() };
        assert!(chi_square(&tokens, &urn.probabilities(&warmer)) > freedom + 5.0 * (2.0 * freedom).sqrt());
    }
    assert!(context.check_zones().unwrap() > 0);
}

/// Greedy, where several are the best: the one with the lowest id.
#[test]
fn of_equals_the_first_is_chosen() {
    let context = context(&GpuRequest::default());
    let mut logits = vec![-1.0; 50];
    for id in [9, 30, 41] {
        logits[id] = 2.5;
    }
    let mut urn = Urn::new(&context, logits);
    assert_eq!(urn.draw(&SamplingParams::greedy(), 40), [9; 40]);
    let top_1 = SamplingParams { top_k: 1, seed: 8, ..SamplingParams::default() };
    assert_eq!(urn.draw(&top_1, 40), [9; 40]);
}

/// More equal logits than there is room for: the run ends there, and the step is taken by itself.
#[test]
fn where_candidates_are_too_many_a_step_is_taken_by_itself() {
    let context = context(&GpuRequest::default());
    let mut gpu = Urn::new(&context, vec![1.0; 50]);
    let step = Step { want: Want::Best(1), ..FIRST };
    let sampler = Sampler::new(SamplingParams::greedy(), 0, 50, &[]).unwrap();
    let ahead = Ahead { chooser: sampler.chooser().unwrap(), draws: &[0.0; 4] };
    gpu.gpu.begin_ahead(gpu.slot, &step, &ahead).unwrap();
    while gpu.gpu.advance(1).unwrap() != Progress::Complete {}
    assert_eq!(gpu.gpu.n_ahead(), 0);
    assert!(gpu.gpu.best(0).is_err() && gpu.gpu.chosen(0).is_err());
    // A whole model of such logits.
    let zeros = TinyConfig { n_ctx: CONTEXT, format: Format::F32, embd_format: Format::F32, ..TinyConfig::default() };
    let mut file = tiny_llama(&zeros, 7);
    file.tensor_mut("token_embd.weight").data.fill(0);
    let file = file.build();
    let (mut with, mut without) = (on_gpu(&file, &context, true), on_gpu(&file, &context, false));
    let request = greedy(5, 12);
    let ((ours, _), (theirs, _)) = (finish(&mut with, &context, &request), finish(&mut without, &context, &request));
    assert_eq!(ours.results(), theirs.results());
}

/// What no run can be of is refused.
#[test]
fn faulty_runs_are_refused() {
    let context = context(&GpuRequest::default());
    let mut urn = Urn::new(&context, vec![0.5; 50]);
    let step = Step { rows: &[Row::token(0, 62, 0)], ..FIRST };
    let chooser = Sampler::new(SamplingParams::greedy(), 0, 50, &[]).unwrap().chooser().unwrap();
    let mut begin = |step: Step<'_>, n: usize| {
        let draws = vec![0.0; n];
        urn.gpu.begin_ahead(urn.slot, &step, &Ahead { chooser, draws: &draws }).is_ok()
    };
    assert!(begin(step, 2));
    assert!(!begin(step, 3), "past the page");
    assert!(!begin(Step { rows: &[Row::token(0, 0, 0)], ..step }, 33) && !begin(step, 0));
    assert!(!begin(Step { want: Want::All, ..step }, 2) && !begin(Step { want: Want::Best(200), ..step }, 2));
    assert!(!begin(Step { outputs: &[], ..step }, 2));
}
