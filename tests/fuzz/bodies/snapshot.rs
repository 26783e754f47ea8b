//! A good snapshot of a conversation with things wrong in it, with its checksum or one that was made to fit, or any bytes. It is refused by
//! a typed error that blames it, for no more memory than it warrants, and the engine then answers bit for bit as before; or it is taken, and
//! whoever goes on from it gets tokens with finite probabilities, or a typed error that says what is not finite.

use std::{
    cell::RefCell,
    sync::{Arc, LazyLock},
};

use kinglet::{
    cpu::pool::Pool,
    engine::{Device, Engine, Loader, Options},
    error::{Error, Result},
    gguf::Value,
    quant::Format,
    sample::SamplingParams,
    session::{Event, Request},
};

use super::{
    gguf::{MEMORY_LIMIT_BYTES, is_warranted, seed},
    gguf_struct::{is_a_probability, says_what_is_not_finite},
    input::Input,
    models,
    vocabulary::Vocabulary,
};
use crate::common::counting::peak_bytes;

/// Three pages of the cache.
const CONTEXT: u32 = 192;
/// The second page is begun.
const N_TOKENS: u32 = 70;
const HEADER_BYTES: usize = 40;
const NOTE: &[u8] = b"a note";

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Arc::new(Pool::new(1)));

/// An engine, a snapshot that it has made, and what it answers behind it.
struct Made {
    engine: Engine,
    bytes: Vec<u8>,
    answer: Vec<(u32, u64)>,
}

thread_local! {
    /// On the reference and on the CPU; none where it has taken something that was forged.
    static MADE: RefCell<[Option<Made>; 2]> = const { RefCell::new([None, None]) };
}

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.u8();
    MADE.with_borrow_mut(|made| {
        let device = if kind & 1 == 0 { Device::Reference } else { Device::Cpu(POOL.clone()) };
        let place = &mut made[usize::from(kind & 1)];
        let Made { engine, bytes: good, answer } = place.get_or_insert_with(|| Made::new(device));
        let bytes = match kind & 6 {
            6 => data.get(1..).unwrap_or_default().to_vec(),
            fits => changed(good, fits != 0, &mut input),
        };
        let (restored, n_peak) = peak_bytes(|| engine.restore(&bytes));
        is_warranted(n_peak, MEMORY_LIMIT_BYTES as usize, &bytes);
        let tokens = match restored {
            Ok(_) if bytes == *good => tokens(),
            Ok(_) => tokens_of(&bytes),
            Err(error) => {
                blames_the_bytes(&error);
                is_undisturbed(&answer_to(engine, tokens()).unwrap_or_default(), answer);
                return;
            }
        };
        match answer_to(engine, tokens) {
            Ok(found) if bytes == *good => is_undisturbed(&found, answer),
            Ok(_) => {}
            Err(error) => says_what_is_not_finite(&error),
        }
        if bytes != *good {
            *place = None;
        }
    });
}

/// Neither the engine nor its caller is to blame.
pub fn blames_the_bytes(error: &Error) {
    let is_known = matches!(error, Error::Integrity { .. } | Error::ContextOverflow { .. });
    assert!(is_known, "a snapshot was refused by {}: {error}", error.code());
}

/// The same tokens with the same bits of their probabilities.
pub fn is_undisturbed(found: &[(u32, u64)], expected: &[(u32, u64)]) {
    assert_eq!(found, expected, "another answer than before");
}

impl Made {
    fn new(device: Device) -> Self {
        let file = models::tiny(Format::F32, &Vocabulary::small("gpt2"));
        let file = file.set("llama.context_length", Value::U32(CONTEXT)).build();
        let mut loader = Loader::new(Options::new(device));
        loader.feed(&file).expect("a good model");
        let mut engine = loader.finish().expect("a good model");
        let answer = answer_to(&mut engine, tokens()).expect("a good model answers");
        assert_eq!(answer.len(), 2);
        let bytes = engine.snapshot(NOTE, &tokens()).expect("a snapshot").expect("at once");
        assert_eq!(tokens_of(&bytes), tokens());
        Self { engine, bytes, answer }
    }
}

fn tokens() -> Vec<u32> {
    (0..N_TOKENS).map(|i| i * i % 5).collect()
}

/// What a snapshot says of its tokens, as far as it is there.
fn tokens_of(bytes: &[u8]) -> Vec<u32> {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes")) as usize;
    let tokens = &bytes[HEADER_BYTES + number(24)..][..4 * number(16)];
    tokens.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token)).collect()
}

/// Two tokens behind a prompt, each with the bits of ln P.
fn answer_to(engine: &mut Engine, mut prompt: Vec<u32>) -> Result<Vec<(u32, u64)>> {
    prompt.push(1);
    let n_vocab = engine.tokenizer.n_vocab();
    let sampling = SamplingParams { temperature: 1.0, ..SamplingParams::default() };
    let (max_tokens, logprobs) = (Some(2), Some(3));
    engine.session.start(Request { prompt, max_tokens, logprobs, ignore_eos: true, sampling, ..Request::default() })?;
    let mut answer = vec![];
    while engine.session.is_busy() {
        for event in engine.session.advance(usize::MAX)? {
            if let Event::Token { id, logprobs: Some(logprobs), .. } = event {
                is_a_probability(id, logprobs.logprob, n_vocab);
                answer.push((id, logprobs.logprob.to_bits()));
            }
        }
    }
    Ok(answer)
}

/// A good snapshot with some things wrong in it. `fits`: the checksum is made anew.
fn changed(good: &[u8], fits: bool, input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = good.to_vec();
    while !input.is_empty() {
        let at = input.below(bytes.len() + 1);
        let tokens = HEADER_BYTES + NOTE.len();
        match input.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.splice(at..at, [input.u8(), input.u8()])),
            2 => overwrite(&mut bytes, at, &[input.u8()]),
            3 => {
                let field = input.pick(&[0, 4, 8, 16, 24, 32]);
                overwrite(&mut bytes, field, &input.number().to_le_bytes());
            }
            4 => overwrite(&mut bytes, tokens + 4 * (at % N_TOKENS as usize), &(input.number() as u32).to_le_bytes()),
            5 => {
                // Keys and values, which are 16-bit floats.
                let data = tokens + 4 * N_TOKENS as usize;
                let bits = input.pick(&[0x7c00_u16, 0x7e00, 0xfc00, 0x7bff, 0xfbff, 0x0001]);
                overwrite(&mut bytes, (data + at).min(good.len()) & !1, &bits.to_le_bytes());
            }
            _ => bytes.extend_from_slice(input.bytes(8)),
        }
    }
    if fits && bytes.len() >= HEADER_BYTES {
        let checksum = seed(&bytes[HEADER_BYTES..]);
        bytes[32..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(with) {
        *place = *byte;
    }
}
