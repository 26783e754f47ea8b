//! How often guesses come true, by the length of the match that they come from and by whether the text had copied before: learned
//! from every token of every answer, whether it was drafted or not, so that nothing has to be tried to know whether it would have worked.

use super::{
    super::FEW_ROWS,
    lookup::{Grounds, Guess, LONGEST_MATCH},
};

/// What a guess counts for when the next one of the same length has been seen.
const KEPT: f64 = 0.95;
/// Guesses that an expectation counts for.
const EXPECTED_GUESSES: f64 = 3.0;
/// Before anything was seen: the odds of a match of one token, and of what is left to 1 how much a token more takes away.
const FIRST: f64 = 0.3;
const GAIN: f64 = 0.15;

/// Right ones and all of them, the older the less.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    right: f64,
    all: f64,
}

/// By length of match.
type ByLength<T> = [T; LONGEST_MATCH + 1];

/// The odds.
#[derive(Debug, Default)]
pub(super) struct Odds {
    /// After a match that was short, and after a long one.
    seen: [ByLength<Seen>; 2],
}

impl Odds {
    pub(super) fn note(&mut self, guess: Guess) {
        let Guess { grounds: Grounds { match_len, after_long }, is_right } = guess;
        if let Some(seen) = self.seen[usize::from(after_long)].get_mut(match_len) {
            seen.all = seen.all * KEPT + 1.0;
            seen.right = seen.right * KEPT + f64::from(u8::from(is_right));
        }
    }

    /// Tokens that a step is expected to give which verifies n guesses, n = 0, 1, …. The probability that a guess from a match of
    /// so many tokens is right is what was seen, beside what is expected: a little more than for a match of one token less.
    pub(super) fn expected_tokens(&self, grounds: Grounds) -> [f64; FEW_ROWS] {
        let mut expected = [1.0; FEW_ROWS];
        let seen = self.seen[usize::from(grounds.after_long)].as_slice();
        let (mut right, mut all_right, mut tokens, mut n) = (0.0, 1.0, 1.0, 0);
        // The longest matches are as good as any that are longer.
        for len in 0..LONGEST_MATCH + FEW_ROWS {
            if let Some(seen) = seen.get(len) {
                let expected = if len == 0 { FIRST } else { right + (1.0 - right) * GAIN };
                right = (seen.right + EXPECTED_GUESSES * expected) / (seen.all + EXPECTED_GUESSES);
            }
            if len >= grounds.match_len
                && let Some(place) = expected.get_mut(n)
            {
                *place = tokens;
                all_right *= right;
                tokens += all_right;
                n += 1;
            }
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(odds: &mut Odds, match_len: usize, n: usize, is_right: bool) {
        let grounds = Grounds { match_len, after_long: false };
        (0..n).for_each(|_| odds.note(Guess { grounds, is_right }));
    }

    /// Probability that a guess is right, by length of match.
    fn by_length(odds: &Odds) -> [f64; LONGEST_MATCH + 1] {
        std::array::from_fn(|match_len| odds.expected_tokens(Grounds { match_len, after_long: false })[1] - 1.0)
    }

    #[test]
    fn longer_matches_are_expected_to_be_better_until_seen_otherwise() {
        let mut odds = Odds::default();
        let unseen = by_length(&odds);
        assert!(unseen.is_sorted() && (unseen[0] - FIRST).abs() < 1e-12 && unseen[LONGEST_MATCH] < 1.0);
        noted(&mut odds, 3, 30, false);
        let seen = by_length(&odds);
        assert!(seen[3] < 0.1 && seen[4] < 0.4, "what is seen says something about what is not: {seen:?}");
        assert_eq!(seen[..3], unseen[..3]);
        noted(&mut odds, 4, 30, true);
        assert!(by_length(&odds)[4] > 0.85);
    }

    #[test]
    fn what_was_seen_long_ago_counts_little() {
        let mut odds = Odds::default();
        noted(&mut odds, 2, 1000, true);
        assert!(by_length(&odds)[2] > 0.9);
        noted(&mut odds, 2, 40, false);
        assert!(by_length(&odds)[2] < 0.2);
    }

    #[test]
    fn expected_tokens_are_those_of_a_run_of_right_guesses() {
        let odds = Odds::default();
        let p = by_length(&odds);
        let expected = odds.expected_tokens(Grounds { match_len: LONGEST_MATCH - 1, after_long: false });
        let (a, b) = (p[LONGEST_MATCH - 1], p[LONGEST_MATCH]);
        for (found, expected) in expected.iter().zip([1.0, 1.0 + a, 1.0 + a + a * b, 1.0 + a + a * b + a * b * b]) {
            assert!((found - expected).abs() < 1e-12);
        }
    }
}
