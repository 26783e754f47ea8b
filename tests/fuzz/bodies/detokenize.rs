//! Any ids, also of no token, given one by one: each piece is whole characters, and together they are the text that all give at once,
//! wherever the stream is left and gone on with.

use kinglet::tokenizer::{StreamDecoder, Tokenizer};

use super::{input::Input, tokenizer::TOKENIZERS};

/// More ids are not looked up one by one as well.
const MAX_ONE_BY_ONE: usize = 64;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let tokenizer = &TOKENIZERS[input.below(TOKENIZERS.len())].tokenizer;
    let skip_special = input.bool();
    let n_vocab = tokenizer.n_vocab();
    let split = input.below(64);
    let mut ids = vec![];
    while !input.is_empty() {
        ids.push(match input.below(16) {
            0 => input.u32(),
            1 => n_vocab as u32 + u32::from(input.u8()),
            _ => input.below(n_vocab) as u32,
        });
    }
    check(tokenizer, &ids, split, skip_special);
}

/// Holds a tokenizer to the promise.
pub fn check(tokenizer: &Tokenizer, ids: &[u32], split: usize, skip_special: bool) {
    let whole = tokenizer.decode(ids, skip_special);
    let mut stream = StreamDecoder::new(skip_special);
    let mut text = String::new();
    let (head, tail) = ids.split_at(split.min(ids.len()));
    head.iter().for_each(|id| text.push_str(&stream.push(tokenizer, *id)));
    // Another decoder may go on where no character is broken; what begins a text is special.
    if !text.is_empty() && !stream.has_pending() {
        stream = StreamDecoder::continuing(skip_special);
    }
    tail.iter().for_each(|id| text.push_str(&stream.push(tokenizer, *id)));
    text.push_str(&stream.finish());
    assert!(!stream.has_pending());
    assert_eq!(text, whole, "{ids:?} in two parts, the first of {}", head.len());
    if ids.len() > MAX_ONE_BY_ONE {
        return;
    }
    let bytes: Vec<u8> = ids
        .iter()
        .filter(|id| !skip_special || !is_left_out(tokenizer, **id))
        .flat_map(|id| tokenizer.token_bytes(*id).unwrap_or_default().into_owned())
        .collect();
    let lossy = String::from_utf8_lossy(&bytes);
    assert!(whole == lossy || lossy.strip_prefix(' ') == Some(&whole), "{whole:?} of the bytes {lossy:?}");
}

/// Control tokens, and the unknown one, which nothing else tells from a token without text. Twice, as a space that begins a text may
/// go away.
fn is_left_out(tokenizer: &Tokenizer, id: u32) -> bool {
    let twice = |skip_special| tokenizer.decode(&[id, id], skip_special);
    tokenizer.is_control(id) || twice(true).is_empty() && !twice(false).is_empty()
}
