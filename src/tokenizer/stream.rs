//! Ids to text, one token at a time, never splitting a character. Called by `Tokenizer::decode` and the session.
//!
//! A character's bytes may come in several tokens: bytes that begin a character wait until it is whole. Bytes that cannot
//! become a character turn into U+FFFD just as `String::from_utf8_lossy` would on the whole, so the text is the same
//! however the tokens come.

use super::Tokenizer;

/// Turns a stream of tokens into text.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    /// The beginning of a character, at most three bytes between calls.
    pending: Vec<u8>,
    skip_special: bool,
    /// The next bytes are the first of a text: the space that encoding put there is taken away.
    at_start: bool,
}

impl StreamDecoder {
    /// A decoder for tokens that begin a text.
    pub fn new(skip_special: bool) -> Self {
        Self { pending: Vec::new(), skip_special, at_start: true }
    }

    /// A decoder for tokens that go on after others, such as what a model generates after a prompt: a leading space stays.
    pub fn continuing(skip_special: bool) -> Self {
        Self { at_start: false, ..Self::new(skip_special) }
    }

    /// The text that `id` completes; empty while a character is not whole. An id beyond the vocabulary gives no text.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> String {
        if self.skip_special && tokenizer.is_special(id) {
            return String::new();
        }
        let start = self.pending.len();
        tokenizer.push_token_bytes(id, &mut self.pending);
        if self.at_start && self.pending.len() > start {
            self.at_start = false;
            if tokenizer.adds_space_prefix() && self.pending.first() == Some(&b' ') {
                self.pending.remove(0);
            }
        }
        self.take_complete()
    }

    /// What is still pending at the end of the text: an incomplete character as U+FFFD.
    pub fn finish(&mut self) -> String {
        let rest = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        rest
    }

    /// Whether bytes are waiting for the rest of their character.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    fn take_complete(&mut self) -> String {
        let keep_from = match self.pending.utf8_chunks().last() {
            Some(last) if begins_character(last.invalid()) => self.pending.len() - last.invalid().len(),
            _ => self.pending.len(),
        };
        let rest = self.pending.split_off(keep_from);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }
}

/// Whether more bytes could make a character of these.
fn begins_character(invalid: &[u8]) -> bool {
    !invalid.is_empty() && str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none())
}
