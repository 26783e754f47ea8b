//! Prompt lookup: guesses the next tokens of a text from an earlier place that reads like its end.
//!
//! ```text
//! place     0   1    2    3  4   5    6    7    8
//! token     the cat  sat  on the mat  ,    the  cat  ?
//!                    └─────── guessed: "sat on the"
//! ```
//! A place is an index of a token. A match is the place whose token is guessed next (2 above) and the number of tokens in front of
//! it that are the same as those at the end (2). It is followed for as long as the guesses are right; when one is wrong, the
//! longest other match takes its place. Where there is none, the text may have put one token in the place of another (a name
//! that was changed): then the old match is gone on with behind that token, for a while.
//!
//! Only ids, no model. Costs a few steps per token, and 4 bytes per token beside the ids.

/// Tokens that must be the same before a place is a match.
const LEAST_MATCH: usize = 2;
/// Longest match that is told from longer ones.
pub(super) const LONGEST_MATCH: usize = 16;
/// Earlier places with the same two tokens that are looked at, the newest first.
const MOST_CANDIDATES: usize = 32;
/// Wrong guesses in a row after which a match is given up.
const MOST_MISSES: usize = 3;
/// The table of places: for contexts as they are used, most pairs have an entry of their own.
const TABLE_BITS: u32 = 12;
/// A match of so many tokens was copying: what comes after it is often gone on with.
const LONG_MATCH: usize = 6;
/// No place.
const NONE: u32 = u32::MAX;

/// A text, indexed by its pairs of tokens.
#[derive(Debug)]
pub(super) struct Lookup {
    tokens: Vec<u32>,
    /// By hash of two tokens: the newest place behind such a pair.
    newest: Vec<u32>,
    /// By place: the next older one behind a pair of the same hash.
    older: Vec<u32>,
    followed: Option<Match>,
    /// Whether the match before, at its end, was long.
    after_long: bool,
}

/// A place that reads like the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Match {
    /// The place of the token that is guessed.
    next: usize,
    /// How many tokens in front of it are the same, at most [`LONGEST_MATCH`].
    len: usize,
    /// Guesses that were wrong since the last right one.
    misses: usize,
}

/// Where a guess comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grounds {
    /// Length of the match.
    pub(super) match_len: usize,
    /// Whether the match before, at its end, was long.
    pub(super) after_long: bool,
}

/// What a text made of the guess of its next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) grounds: Grounds,
    pub(super) is_right: bool,
}

impl Lookup {
    /// A text from its beginning, in parts.
    pub(super) fn new(parts: &[&[u32]]) -> Self {
        let newest = vec![NONE; 1 << TABLE_BITS];
        let mut lookup = Self { tokens: vec![], newest, older: vec![], followed: None, after_long: false };
        for part in parts {
            part.iter().for_each(|token| lookup.append(*token));
        }
        lookup.followed = lookup.longest_match();
        lookup
    }

    /// Tokens of the text.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The text goes on with this token; what became of the guess, where there was one.
    pub(super) fn push(&mut self, token: u32) -> Option<Guess> {
        let followed = self.followed.take();
        self.append(token);
        let Some(m) = followed else {
            self.followed = self.longest_match();
            return None;
        };
        let grounds = Grounds { match_len: m.len, after_long: self.after_long };
        let is_right = self.tokens.get(m.next) == Some(&token);
        if is_right {
            self.followed = Some(Match { next: m.next + 1, len: (m.len + 1).min(LONGEST_MATCH), misses: 0 });
        } else {
            self.after_long = m.len >= LONG_MATCH || (self.after_long && m.len == 0);
            self.followed = self.longest_match().or_else(|| {
                let goes_on = m.misses + 1 < MOST_MISSES;
                goes_on.then_some(Match { next: m.next + 1, len: 0, misses: m.misses + 1 })
            });
        }
        Some(Guess { grounds, is_right })
    }

    /// Where the next token would be guessed from.
    pub(super) fn grounds(&self) -> Option<Grounds> {
        self.followed.map(|m| Grounds { match_len: m.len, after_long: self.after_long })
    }

    /// The next `n` tokens as they are guessed; none where there is no match.
    pub(super) fn draft(&self, n: usize) -> Vec<u32> {
        let mut draft: Vec<u32> = vec![];
        let Some(Match { next, .. }) = self.followed else { return draft };
        while draft.len() < n {
            // A text that repeats itself reads on in its own draft.
            let place = next + draft.len();
            let token = self.tokens.get(place).or_else(|| draft.get(place - self.tokens.len())).copied();
            match token {
                Some(token) => draft.push(token),
                None => break,
            }
        }
        draft
    }

    /// Adds a token, and the place in front of it to the table: behind the pair that ends there.
    fn append(&mut self, token: u32) {
        let place = self.tokens.len();
        let hash = self.hash_at(place);
        let newest = hash.and_then(|hash| self.newest.get_mut(hash));
        self.older.push(newest.map_or(NONE, |newest| std::mem::replace(newest, place as u32)));
        self.tokens.push(token);
    }

    /// Of the two tokens in front of a place.
    fn hash_at(&self, place: usize) -> Option<usize> {
        let [a, b] = *self.tokens.get(..place)?.last_chunk::<2>()?;
        let mixed = (a.wrapping_mul(0x9e37_79b1) ^ b.rotate_left(16)).wrapping_mul(0x85eb_ca6b);
        Some((mixed >> (u32::BITS - TABLE_BITS)) as usize)
    }

    /// Of the places that read like the end the one that does so longest, of equals the newest.
    fn longest_match(&self) -> Option<Match> {
        let hash = self.hash_at(self.tokens.len())?;
        let mut place = *self.newest.get(hash)?;
        let mut best: Option<Match> = None;
        for _ in 0..MOST_CANDIDATES {
            if place == NONE {
                break;
            }
            let len = self.common_end(place as usize);
            if len >= LEAST_MATCH && best.is_none_or(|best| len > best.len) {
                best = Some(Match { next: place as usize, len, misses: 0 });
            }
            place = self.older.get(place as usize).copied().unwrap_or(NONE);
        }
        best
    }

    /// How many tokens in front of a place are the same as at the end.
    fn common_end(&self, place: usize) -> usize {
        let end = self.tokens.len();
        let longest = LONGEST_MATCH.min(place);
        (0..longest).find(|n| self.tokens.get(place - 1 - n) != self.tokens.get(end - 1 - n)).unwrap_or(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(text: &[u32]) -> Lookup {
        Lookup::new(&[text])
    }

    fn match_len(lookup: &Lookup) -> Option<usize> {
        lookup.grounds().map(|grounds| grounds.match_len)
    }

    #[test]
    fn the_longest_match_is_followed_and_of_equals_the_newest() {
        assert_eq!(lookup(&[1, 2, 3, 4, 5, 1, 2]).draft(3), [3, 4, 5]);
        assert_eq!(lookup(&[7, 1, 2, 8, 9, 1, 2, 3, 7, 1, 2]).draft(2), [8, 9], "7 1 2 is longer than 1 2");
        assert_eq!(lookup(&[5, 1, 2, 8, 6, 1, 2, 3, 7, 1, 2]).draft(1), [3], "the newest");
        for nothing in [&[][..], &[1], &[1, 1], &[1, 2, 3, 4], &[1, 9, 2, 9]] {
            assert!(lookup(nothing).draft(4).is_empty(), "{nothing:?}");
            assert_eq!(match_len(&lookup(nothing)), None);
        }
    }

    #[test]
    fn a_text_that_repeats_itself_reads_on_in_its_own_draft() {
        assert_eq!(lookup(&[1, 1, 1]).draft(5), [1; 5]);
        assert_eq!(lookup(&[1, 2, 3, 1, 2, 3]).draft(7), [1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn what_became_of_guesses_is_said_and_a_match_grows_while_they_are_right() {
        let mut lookup = lookup(&[1, 2, 3, 4, 5, 6, 1, 2]);
        let grounds = |match_len, after_long| Grounds { match_len, after_long };
        let guess = |match_len, is_right| Some(Guess { grounds: grounds(match_len, false), is_right });
        assert_eq!(lookup.push(3), guess(2, true));
        assert_eq!(lookup.push(4), guess(3, true));
        // Another token in the place of 5: the match is gone on with behind it.
        assert_eq!(lookup.push(9), guess(4, false));
        assert_eq!((match_len(&lookup), lookup.draft(2)), (Some(0), vec![6, 1]));
        assert_eq!(lookup.push(6), guess(0, true));
        assert_eq!(match_len(&lookup), Some(1));
        // Two that are seen nowhere else, and it is given up.
        assert_eq!(lookup.push(20), guess(1, false));
        assert_eq!(lookup.push(21), guess(0, false));
        assert_eq!(lookup.push(22), guess(0, false));
        assert_eq!(lookup.push(23), None);
        assert_eq!(lookup.len(), 16);
    }

    #[test]
    fn what_comes_after_a_long_match_is_told_from_what_does_not() {
        let text: Vec<u32> = (0..30).chain(0..2).collect();
        let mut lookup = lookup(&text);
        let after_long = |lookup: &Lookup| lookup.grounds().map(|grounds| grounds.after_long);
        (2..2 + LONG_MATCH as u32).for_each(|token| assert!(lookup.push(token).unwrap().is_right));
        assert_eq!(after_long(&lookup), Some(false));
        lookup.push(99);
        assert_eq!(after_long(&lookup), Some(true));
        lookup.push(98);
        assert_eq!((after_long(&lookup), match_len(&lookup)), (Some(true), Some(0)), "another odd one changes nothing");
        lookup.push(20);
        lookup.push(21);
        assert_eq!((after_long(&lookup), match_len(&lookup)), (Some(true), Some(2)));
        lookup.push(97);
        assert_eq!(after_long(&lookup), Some(false), "this one was short");
    }

    #[test]
    fn a_longer_match_elsewhere_takes_over_only_when_a_guess_was_wrong() {
        let mut lookup = lookup(&[1, 2, 3, 4, 9, 1, 2, 3, 5, 6, 7, 1, 2]);
        assert_eq!(lookup.draft(2), [3, 5]);
        lookup.push(3);
        lookup.push(4);
        assert_eq!((match_len(&lookup), lookup.draft(2)), (Some(4), vec![9, 1]), "1 2 3 4");
    }

    #[test]
    fn length_of_a_match_is_counted_up_to_a_limit() {
        let text: Vec<u32> = (0..100).chain(0..50).collect();
        assert_eq!(match_len(&lookup(&text)), Some(LONGEST_MATCH));
        let mut lookup = lookup(&text);
        (50..70).for_each(|token| assert!(lookup.push(token).unwrap().is_right));
        assert_eq!((match_len(&lookup), lookup.draft(2)), (Some(LONGEST_MATCH), vec![70, 71]));
    }

    /// By looking at every place: the table misses none that is among the newest.
    #[test]
    fn the_table_finds_what_is_there() {
        let mut state = 1_u32;
        let mut random = move |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        for _ in 0..200 {
            let text: Vec<u32> = (0..random(60)).map(|_| random(8)).collect();
            let lookup = lookup(&text);
            let longest = (0..text.len()).map(|place| lookup.common_end(place)).max().unwrap_or(0);
            assert_eq!(match_len(&lookup), Some(longest).filter(|len| *len >= LEAST_MATCH), "{text:?}");
        }
    }
}
