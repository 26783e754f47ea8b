//! Loads a file through the engine and runs requests to their end, as the worker does.

use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Engine, Loader, Options},
    error::Result,
    kv::KvFormat,
    sample::SamplingParams,
    session::{Echo, Event, FinishReason, Request, Session, Usage},
};

use std::sync::Arc;

/// Every way to run a model that must give the same bits from call to call.
pub fn devices() -> Vec<Device> {
    let cpu = |threads| Device::Cpu(Arc::new(Pool::new(threads)));
    vec![Device::Reference, cpu(1), cpu(2)]
}

/// Options for a device with f32 keys and values.
pub fn options(device: Device) -> Options {
    Options { kv_format: KvFormat::F32, ..Options::new(device) }
}

/// Loads a whole file in chunks of `chunk_bytes`; the device is checked after the header.
pub fn load(file: &[u8], options: Options, chunk_bytes: usize) -> Result<Engine> {
    let device = options.device.clone();
    let mut loader = Loader::new(options);
    let mut decided = 0;
    for chunk in file.chunks(chunk_bytes) {
        if loader.feed(chunk)? {
            decided += 1;
            check(&mut loader, &device)?;
        }
        assert_eq!(loader.info().is_some(), decided == 1);
    }
    loader.finish()
}

#[cfg(not(target_arch = "wasm32"))]
fn check(loader: &mut Loader, device: &Device) -> Result<()> {
    let context = match device {
        Device::Gpu(context) => Some(&**context),
        Device::Cpu(_) | Device::Reference => None,
    };
    kinglet::gpu::context::block_on(context, loader.check())
}

/// Nothing here can wait for a GPU; the others need no check.
#[cfg(target_arch = "wasm32")]
fn check(_loader: &mut Loader, _device: &Device) -> Result<()> {
    Ok(())
}

/// What a request gave, put together as the page does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub choices: Vec<ChoiceAnswer>,
    pub echo: Option<Echo>,
    pub usage: Usage,
    /// (processed, total, cached) of each prefill event.
    pub prefill: Vec<(usize, usize, usize)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChoiceAnswer {
    pub tokens: Vec<u32>,
    pub text: String,
    /// Bit patterns, so that −0 and rounding count.
    pub logprobs: Vec<u64>,
    pub top: Vec<Vec<(u32, u64)>>,
    pub reason: Option<FinishReason>,
}

impl Answer {
    /// Of a request with `n` choices.
    pub fn new(n: usize) -> Self {
        Self { choices: vec![ChoiceAnswer::default(); n], ..Self::default() }
    }

    /// Adds what happened, and checks the order in which it may happen. `true` at the end.
    pub fn add(&mut self, events: Vec<Event>) -> bool {
        let mut ended = false;
        for event in events {
            assert!(!ended, "nothing comes after the end");
            match event {
                Event::Prefill { processed, total, cached } => {
                    assert!(self.choices.iter().all(|c| c.tokens.is_empty()));
                    self.prefill.push((processed, total, cached));
                }
                Event::Echo(echo) => assert!(self.echo.replace(echo).is_none()),
                Event::Token { choice, id, text, logprobs } => {
                    let c = &mut self.choices[choice];
                    assert_eq!(c.reason, None);
                    c.tokens.push(id);
                    c.text += &text;
                    if let Some(l) = logprobs {
                        c.logprobs.push(l.logprob.to_bits());
                        c.top.push(l.top.iter().map(|t| (t.id, t.logprob.to_bits())).collect());
                    }
                }
                Event::Done { choice, reason, text } => {
                    let c = &mut self.choices[choice];
                    assert_eq!(c.reason.replace(reason), None, "a choice ends once");
                    c.text += &text;
                }
                Event::Output(_) | Event::Scored(_) => panic!("{event:?} from a generation"),
                Event::End(usage) => {
                    assert!(self.choices.iter().all(|c| c.reason.is_some()));
                    self.usage = usage;
                    ended = true;
                }
            }
        }
        ended
    }

    /// Without what reuse may change: counts of cached tokens and prefill events.
    pub fn results(mut self) -> Self {
        self.prefill.clear();
        self.usage.cached_tokens = 0;
        self
    }
}

/// A request that draws its tokens, with two alternatives for each, always the same ones; it goes on past the end of text.
pub fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    let sampling = SamplingParams { seed: 5, temperature: 1.2, ..SamplingParams::default() };
    Request {
        prompt,
        max_tokens: Some(max_tokens),
        sampling,
        logprobs: Some(2),
        ignore_eos: true,
        ..Request::default()
    }
}

/// Runs a request to its end, `max_ops` operations at a time.
pub fn run(session: &mut Session, request: &Request, max_ops: usize) -> Result<Answer> {
    session.start(request.clone())?;
    go_on(session, Answer::new(request.n), max_ops)
}

/// Runs the rest of a request.
pub fn go_on(session: &mut Session, mut answer: Answer, max_ops: usize) -> Result<Answer> {
    loop {
        assert!(session.is_busy());
        if answer.add(session.advance(max_ops)?) {
            assert!(!session.is_busy());
            assert_eq!(session.advance(1)?, []);
            return Ok(answer);
        }
    }
}
