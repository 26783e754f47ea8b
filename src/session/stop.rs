//! Stop strings in text that comes in pieces: gives out what can no longer be part of a match, holds the rest back.

use crate::error::{Error, Result};

/// Most stop strings of a request.
const MAX_STOPS: usize = 64;
/// Longest stop string, bytes.
const MAX_STOP_BYTES: usize = 1024;

/// Looks for stop strings. The match that ends first counts, of those the one that begins first: so the result does not
/// depend on how the text is divided.
#[derive(Debug)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    /// Text that was not given out: empty, or the longest end of the text that begins a stop string.
    held: String,
}

impl StopMatcher {
    /// Refuses an empty stop string, one that is too long, and too many of them.
    pub(super) fn new(stops: &[String]) -> Result<Self> {
        let refuse = |what: String| Err(Error::InvalidArgument { what });
        if stops.len() > MAX_STOPS {
            return refuse(format!("stop: {} strings, at most {MAX_STOPS} are taken", stops.len()));
        }
        for stop in stops {
            if stop.is_empty() || stop.len() > MAX_STOP_BYTES {
                return refuse(format!("stop: a string of {} bytes, not 1 to {MAX_STOP_BYTES}", stop.len()));
            }
        }
        Ok(Self { stops: stops.to_vec(), held: String::new() })
    }

    /// Takes the next text; returns what can be given out, and whether a stop string was found. What follows a stop string,
    /// and the stop string itself, is lost.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start))
        });
        if let Some((_, start)) = found.min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let kept = self.held.split_off(self.held.len() - self.pending_bytes());
        (std::mem::replace(&mut self.held, kept), false)
    }

    /// Ends the text: what was held back.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text that begins a stop string, bytes. It begins at the first byte of a
    /// character, because stop strings do.
    fn pending_bytes(&self) -> usize {
        let held = self.held.as_bytes();
        let of = |stop: &String| {
            let longest = (stop.len() - 1).min(held.len());
            (1..=longest).rev().find(|&n| held.ends_with(&stop.as_bytes()[..n])).unwrap_or(0)
        };
        self.stops.iter().map(of).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool, String) {
        let stops: Vec<String> = stops.iter().map(|s| String::from(*s)).collect();
        let mut matcher = StopMatcher::new(&stops).unwrap();
        let mut out = String::new();
        for piece in pieces {
            let (text, found) = matcher.push(piece);
            out += &text;
            if found {
                return (out, true, matcher.finish());
            }
        }
        (out, false, matcher.finish())
    }

    /// Every way to divide a text gives the same.
    fn check(stops: &[&str], text: &str, expected: &str, stopped: bool) {
        let borders: Vec<usize> = text.char_indices().map(|(i, _)| i).skip(1).collect();
        assert!(borders.len() < 12);
        for choice in 0..1u32 << borders.len() {
            let mut cuts = vec![0];
            cuts.extend(borders.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, b)| *b));
            cuts.push(text.len());
            let pieces: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            let (out, found, held) = run(stops, &pieces);
            assert_eq!((out + &held, found), (expected.into(), stopped), "{stops:?} {pieces:?}");
            assert!(!found || held.is_empty());
        }
    }

    #[test]
    fn a_match_is_found_at_every_split() {
        check(&["stop"], "a stop b", "a ", true);
        check(&["stop"], "a ststop", "a st", true);
        check(&["stop"], "a sto", "a sto", false);
        check(&["aab"], "aaab", "a", true);
        check(&["né"], "ça né!", "ça ", true);
        check(&["é"], "\u{e8}\u{e9}", "\u{e8}", true);
        check(&["\n\n"], "a\n b\n\n", "a\n b", true);
        check(&[], "abc", "abc", false);
    }

    #[test]
    fn of_several_the_one_that_ends_first_counts() {
        check(&["abc", "b"], "xabc", "xa", true);
        check(&["bc", "abc"], "xabc", "x", true);
        check(&["abcd", "bc"], "xabcd", "xa", true);
        check(&["x", "xy"], "axy", "a", true);
        check(&["</s>", "<|end|>"], "a<|</s>b", "a<|", true);
    }

    #[test]
    fn only_what_may_become_a_match_is_held_back() {
        let mut matcher = StopMatcher::new(&["stop".into(), "toad".into()]).unwrap();
        assert_eq!(matcher.push("a st"), ("a ".into(), false));
        assert_eq!(matcher.push("o"), (String::new(), false), "both may still come");
        assert_eq!(matcher.push("a"), ("s".into(), false));
        assert_eq!(matcher.push("x"), ("toax".into(), false));
        assert_eq!(matcher.finish(), "");
    }

    #[test]
    fn bad_stop_strings_are_refused() {
        for stops in
            [vec![String::new()], vec!["a".into(), String::new()], vec!["x".repeat(1025)], vec!["a".into(); 65]]
        {
            assert_eq!(StopMatcher::new(&stops).unwrap_err().code(), "RangeError");
        }
        assert!(StopMatcher::new(&vec!["x".repeat(1024); 64]).is_ok());
    }
}
