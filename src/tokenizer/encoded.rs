//! Texts as encoders read them: with the tokens at their ends, pairs as one row of tokens, masks, and where each token stands in
//! its text. Called by the session.
//!
//! ```text
//! text            [CLS] text [SEP]
//! pair            [CLS] first [SEP] second [SEP]          (RoBERTa: <s> first </s></s> second </s>)
//! text with masks [CLS] text [MASK] text [SEP]
//! ```
//! Nothing else in a text is read as a special token.

use super::merge::Chain;
use super::{Fragment, Model, Tokenizer};
use std::ops::Range;

/// A text or a pair as a row of tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// All tokens.
    pub ids: Vec<u32>,
    /// Where the second text of a pair begins; the number of tokens where there is none.
    pub second: usize,
    /// The tokens that are the (first) text.
    pub text: Range<usize>,
    /// For each of those the bytes of the text that it stands for; fewer where this is not known: WordPiece knows it always, byte-level
    /// BPE up to the first character that it had to bring into form NFC, the others never.
    pub places: Vec<Range<usize>>,
}

impl Tokenizer {
    /// One text.
    pub fn encode_text(&self, text: &str) -> Encoded {
        let mut encoded = self.begin();
        encoded.places = self.push_text(text, &mut encoded.ids);
        self.end(&mut encoded);
        encoded.second = encoded.ids.len();
        encoded
    }

    /// Two texts.
    pub fn encode_pair(&self, first: &str, second: &str) -> Encoded {
        let mut encoded = self.begin();
        encoded.places = self.push_text(first, &mut encoded.ids);
        self.end(&mut encoded);
        encoded.ids.extend(self.ends.separator);
        encoded.second = encoded.ids.len();
        self.push_text(second, &mut encoded.ids);
        encoded.ids.extend(self.ends.suffix);
        encoded
    }

    /// One text in which `mask` may stand as its string.
    pub fn encode_masked(&self, text: &str, mask: u32) -> Encoded {
        let mut encoded = self.begin();
        self.push_fragments(text, &self.specials.split_at(&self.vocab, text, mask), &mut encoded.ids);
        self.end(&mut encoded);
        encoded.second = encoded.ids.len();
        encoded
    }

    fn begin(&self) -> Encoded {
        let ids: Vec<u32> = self.ends.prefix.into_iter().collect();
        Encoded { text: ids.len()..ids.len(), ids, ..Encoded::default() }
    }

    fn end(&self, encoded: &mut Encoded) {
        encoded.text.end = encoded.ids.len();
        encoded.ids.extend(self.ends.suffix);
    }

    /// Appends the ids of a text, and gives their places as far as they are known.
    fn push_text(&self, text: &str, ids: &mut Vec<u32>) -> Vec<Range<usize>> {
        self.push_fragments(text, &self.specials.split(&self.vocab, text, false, false), ids)
    }

    fn push_fragments(&self, text: &str, fragments: &[Fragment<'_>], ids: &mut Vec<u32>) -> Vec<Range<usize>> {
        let (mut places, mut chain) = (vec![], Chain::default());
        let (n_before, mut first, mut at_start, mut end) = (ids.len(), true, true, 0);
        for fragment in fragments {
            // Whether all places so far are known.
            let known = places.len() == ids.len() - n_before;
            match fragment {
                Fragment::Token(id) => {
                    ids.push(*id);
                    let piece = self.vocab.piece(*id).and_then(|piece| str::from_utf8(piece).ok()).unwrap_or_default();
                    let begin = end + text.get(end..).and_then(|rest| rest.find(piece)).unwrap_or_default();
                    end = begin + piece.len();
                    places.extend(Some(begin..end).filter(|_| known));
                }
                Fragment::Text(part) => {
                    let begin = part.as_ptr() as usize - text.as_ptr() as usize;
                    end = begin + part.len();
                    let mut give = |place: Range<usize>| {
                        places.extend(Some(begin + place.start..begin + place.end).filter(|_| known));
                    };
                    if let Model::WordPiece(word_piece) = &self.model {
                        word_piece.encode_places(&self.vocab, part, &mut |id, place| {
                            ids.push(id);
                            give(place);
                        });
                    } else {
                        let start = ids.len();
                        self.push_ids(part, first, at_start, &mut chain, ids);
                        if matches!(self.model, Model::Bpe(_)) {
                            let new = ids.get(start..).unwrap_or_default();
                            self.byte_places(part, new).into_iter().for_each(give);
                        }
                    }
                }
            }
            (first, at_start) = (matches!(fragment, Fragment::Token(_)), false);
        }
        places
    }

    /// Places of tokens that are the bytes of the text, widened to whole characters; as far as they are.
    fn byte_places(&self, text: &str, ids: &[u32]) -> Vec<Range<usize>> {
        let (mut at, mut bytes, mut places) = (0, vec![], vec![]);
        for id in ids {
            bytes.clear();
            self.push_token_bytes(*id, &mut bytes);
            let end = at + bytes.len();
            if text.as_bytes().get(at..end) != Some(&bytes) {
                break;
            }
            places.push(text.floor_char_boundary(at)..text.ceil_char_boundary(end));
            at = end;
        }
        places
    }
}
