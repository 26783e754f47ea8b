//! Decides how many guessed tokens a step is to verify, so that answers come as fast as they can and never noticeably slower than
//! without: by the odds of the guesses ([`Odds`]) against the cost of the rows ([`Costs`]), under a purse that bounds what may be
//! lost where both are wrong. Where the purse is empty, drafts are only thought of, and what they would have won fills it again. A
//! pure state machine: time is what it is told.

use super::{
    super::FEW_ROWS,
    Began, HAS_DEVICES,
    costs::Costs,
    lookup::{Grounds, Guess},
    odds::Odds,
};

/// Rows that steps are tried with: few sizes, so that each is soon measured, and those that kernels are made for.
const SIZES: [usize; 3] = [2, 4, FEW_ROWS];
/// Tokens per time that a draft must promise, beside none.
const LEAST_GAIN: f64 = 1.05;
/// What may be lost before anything was won, steps of one row.
const FIRST_PURSE: f64 = 2.0;
/// What every step adds: the share of the time that may be lost for good.
const ALLOWANCE: f64 = 0.003;
/// What was won long ago pays for no more than this.
const FULL_PURSE: f64 = 4.0;
/// The same on a device, where a step of several rows is waited for while runs are not, so that it may be many steps of a run, most of
/// them nothing but the way there and back.
const FIRST_PURSE_ELSEWHERE: f64 = 8.0;
const FULL_PURSE_ELSEWHERE: f64 = 16.0;
/// What a draft that was only thought of would have won counts for.
const THOUGHT_OF: f64 = 0.5;

/// What is learned over all generations of a session.
#[derive(Debug)]
pub(super) struct Controller {
    odds: Odds,
    costs: Costs,
    /// What may be lost now, steps of one row.
    purse: f64,
    /// A draft that the purse did not allow.
    thought: Option<Thought>,
}

/// A draft that is only thought of: so many tokens, and how many were right so far.
#[derive(Debug, Clone, Copy)]
struct Thought {
    n: usize,
    right: usize,
}

impl Default for Controller {
    fn default() -> Self {
        Self { odds: Odds::default(), costs: Costs::default(), purse: FIRST_PURSE, thought: None }
    }
}

impl Controller {
    /// Of a device.
    pub(super) fn elsewhere() -> Self {
        Self { costs: Costs::elsewhere(), purse: FIRST_PURSE_ELSEWHERE, ..Self::default() }
    }

    /// Whether it is of a device.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.costs.is_elsewhere()
    }

    /// What was measured does not hold any more.
    pub(super) fn forget_costs(&mut self) {
        if self.is_elsewhere() {
            self.costs = Costs::elsewhere();
        }
    }

    /// What became of a guess, drafted or not.
    pub(super) fn note_guess(&mut self, guess: Guess) {
        self.odds.note(guess);
        if let Some(Thought { n, right }) = self.thought {
            let right = right + usize::from(guess.is_right);
            self.thought = Some(Thought { n, right });
            if right == n || !guess.is_right {
                self.thought = None;
                let cost = self.costs.measured(n + 1);
                let wait = self.costs.wait();
                self.win(cost.map_or(0.0, |cost| THOUGHT_OF * ((right + 1) as f64 - cost - wait)));
            }
        }
    }

    fn win(&mut self, won: f64) {
        let full = if self.is_elsewhere() { FULL_PURSE_ELSEWHERE } else { FULL_PURSE };
        self.purse = (self.purse + won).clamp(-full, full);
    }

    /// A run of a device took so long.
    pub(super) fn note_run(&mut self, n_steps: usize, ms: f64, began: Began) {
        match began {
            Began::Behind => self.costs.note_behind(n_steps, ms),
            Began::Fresh | Began::AfterGuesses => self.costs.note_fresh(n_steps, ms),
        }
        let lost = if began == Began::AfterGuesses { self.costs.wait() } else { 0.0 };
        self.win(ALLOWANCE * n_steps as f64 - lost);
    }

    /// A step of so many rows of one answer gave so many tokens and took so long.
    pub(super) fn note_step(&mut self, rows: usize, n_tokens: usize, ms: f64) {
        let won = n_tokens as f64 - self.costs.note(rows, ms);
        self.win(won + ALLOWANCE * n_tokens as f64);
    }

    /// How many of at most `most` tokens to draft that are guessed from this; 0 before a step was measured. `enters`: a device would
    /// have to be waited for, which it has not been yet.
    pub(super) fn draft_len(&mut self, grounds: Grounds, most: usize, enters: bool) -> usize {
        if self.costs.one_ms().is_none() {
            return 0;
        }
        let (mut best, mut thought) = ((LEAST_GAIN, 0), (LEAST_GAIN, 0));
        let expected = self.odds.expected_tokens(grounds);
        let wait = if HAS_DEVICES && enters { self.costs.wait() } else { 0.0 };
        for &rows in SIZES.iter().filter(|rows| **rows <= most + 1) {
            let tokens = expected[rows - 1];
            let ratio = self.costs.ratio(rows) + wait;
            if ratio - 1.0 <= self.purse && tokens / ratio > best.0 {
                best = (tokens / ratio, rows - 1);
            }
            if self.costs.measured(rows).is_some_and(|ratio| tokens / (ratio + wait) > thought.0) {
                thought = (tokens / ratio, rows - 1);
            }
        }
        if best.1 == 0 && thought.1 > 0 && self.thought.is_none() {
            self.thought = Some(Thought { n: thought.1, right: 0 });
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::speculation::lookup::Lookup;

    /// A machine on which a step takes time by its number of rows.
    type Machine = fn(usize) -> f64;

    /// A small model in a cache: rows cost nearly what steps do.
    const SMALL: Machine = |rows| [0.0, 5.0, 9.0, 12.0, 12.5, 17.0, 21.0, 24.0, 24.5][rows];
    /// Bound by memory: rows cost next to nothing.
    const LARGE: Machine = |rows| 100.0 + 3.0 * (rows - 1) as f64;
    /// Every row costs more than a step.
    const BAD: Machine = |rows| 5.0 + 6.0 * (rows - 1) as f64;
    const MACHINES: [Machine; 3] = [SMALL, LARGE, BAD];

    const LONG: Grounds = Grounds { match_len: 16, after_long: false };

    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    /// Time for the whole answer by single steps over time with drafts.
    fn speed_up(controller: &mut Controller, prompt: &[u32], answer: &[u32], machine: Machine) -> f64 {
        let mut lookup = Lookup::new(&[prompt]);
        let (mut at, mut ms) = (0, 0.0);
        let mut noise = Random(99);
        while at < answer.len() {
            let draft = lookup
                .grounds()
                .map_or(vec![], |from| lookup.draft(controller.draft_len(from, answer.len() - at - 1, false)));
            let right = draft.iter().zip(&answer[at..]).take_while(|(a, b)| a == b).count();
            let step_ms = machine(draft.len() + 1) * (0.9 + 0.02 * noise.below(11) as f64);
            ms += step_ms;
            for &token in &answer[at..=at + right] {
                if let Some(guess) = lookup.push(token) {
                    controller.note_guess(guess);
                }
            }
            at += right + 1;
            controller.note_step(draft.len() + 1, right + 1, step_ms);
        }
        machine(1) * answer.len() as f64 / ms
    }

    /// Tokens of a text without copies, as skewed as words are.
    fn prose(n: usize, seed: u64) -> Vec<u32> {
        let mut random = Random(seed);
        (0..n)
            .map(|_| {
                let span = 1 + random.below(3000);
                random.below(span) as u32
            })
            .collect()
    }

    #[test]
    fn texts_without_copies_are_not_slower() {
        for (i, machine) in MACHINES.into_iter().enumerate() {
            for seed in 0..20 {
                let mut controller = Controller::default();
                let speed = speed_up(&mut controller, &prose(300, seed), &prose(1000, seed + 100), machine);
                assert!(speed > 0.99, "machine {i}, seed {seed}: {speed}");
            }
        }
    }

    /// Matches that break off as soon as they have begun, for ever.
    #[test]
    fn texts_that_lead_astray_cost_no_more_than_one_percent() {
        for (i, machine) in MACHINES.into_iter().enumerate() {
            for run_len in 2..12 {
                let prompt = prose(2000, 5);
                let mut random = Random(run_len);
                let mut answer = vec![];
                while answer.len() < 3000 {
                    let from = random.below(1900) as usize;
                    answer.extend_from_slice(&prompt[from..from + run_len as usize]);
                    answer.push(5000 + random.below(1000) as u32);
                }
                let speed = speed_up(&mut Controller::default(), &prompt, &answer, machine);
                assert!(speed > 0.99, "machine {i}, runs of {run_len}: {speed}");
            }
        }
    }

    #[test]
    fn copies_are_faster_from_the_first_answer_on() {
        let prompt = prose(400, 7);
        for (machine, whole, edited) in [(SMALL, 1.3, 1.1), (LARGE, 4.0, 2.0)] {
            let speed = speed_up(&mut Controller::default(), &prompt, &prompt[100..300], machine);
            assert!(speed > whole, "copied: {speed}");
            // Every twelfth token is another one.
            let mut answer = prompt[100..300].to_vec();
            answer.iter_mut().step_by(12).for_each(|token| *token += 10_000);
            let speed = speed_up(&mut Controller::default(), &prompt, &answer, machine);
            assert!(speed > edited, "edited: {speed}");
        }
        let speed = speed_up(&mut Controller::default(), &prompt, &prompt.repeat(2), BAD);
        assert!(speed > 0.99, "where rows are dear, nothing is drafted: {speed}");
    }

    /// Copies of any length between words of one's own.
    #[test]
    fn texts_that_copy_now_and_then_are_not_slower() {
        let prompt = prose(1000, 11);
        for (i, machine) in MACHINES.into_iter().enumerate() {
            for (copied, own) in [(3, 3), (5, 20), (10, 2), (20, 20), (40, 10), (8, 100), (100, 100)] {
                let mut random = Random(copied + own);
                let mut answer = vec![];
                while answer.len() < 800 {
                    let (n, from) = (1 + random.below(2 * copied) as usize, random.below(700) as usize);
                    answer.extend_from_slice(&prompt[from..from + n]);
                    answer.extend((0..1 + random.below(2 * own)).map(|_| 5000 + random.below(1000) as u32));
                }
                let speed = speed_up(&mut Controller::default(), &prompt, &answer, machine);
                assert!(speed > 0.99, "machine {i}, {copied} copied, {own} own: {speed}");
            }
        }
    }

    #[test]
    fn it_comes_back_when_copying_begins() {
        let (prompt, other) = (prose(400, 8), prose(2000, 9));
        let mut controller = Controller::default();
        assert!(speed_up(&mut controller, &prompt, &other, SMALL) > 0.99);
        assert!(speed_up(&mut controller, &prompt, &prompt[50..250], SMALL) > 1.3);
        assert!(speed_up(&mut controller, &prompt, &other, SMALL) > 0.99);
    }

    #[test]
    fn an_empty_purse_fills_again_when_guesses_come_true() {
        let prompt = prose(400, 12);
        for machine in [SMALL, LARGE] {
            let mut controller = Controller::default();
            speed_up(&mut controller, &prompt, &prompt[..200], machine);
            controller.purse = -3.0;
            let speed = speed_up(&mut controller, &prompt, &prompt[200..400], machine);
            assert!(speed > 1.2, "{speed}");
            // Not when they do not.
            controller.purse = -3.0;
            speed_up(&mut controller, &prompt, &prose(1000, 13), machine);
            assert!(controller.purse < 1.0, "{}", controller.purse);
        }
    }

    #[test]
    fn nothing_is_drafted_before_a_step_was_measured_or_beyond_what_fits() {
        let mut controller = Controller::default();
        (0..100).for_each(|_| controller.note_guess(Guess { grounds: LONG, is_right: true }));
        assert_eq!(controller.draft_len(LONG, 7, false), 0);
        (0..20).for_each(|_| controller.note_step(1, 1, 100.0));
        (0..20).for_each(|_| controller.note_step(8, 8, 110.0));
        assert_eq!(controller.draft_len(LONG, 100, false), FEW_ROWS - 1);
        assert_eq!([6, 3, 2, 1, 0].map(|most| controller.draft_len(LONG, most, false)), [3, 3, 1, 1, 0]);
    }

    /// A device: what a step of a run takes, the way there and back, and what a row more takes.
    #[derive(Debug, Clone, Copy)]
    struct Device {
        step_ms: f64,
        way_ms: f64,
        row_ms: f64,
    }

    /// Steps of a run.
    const RUN: usize = 16;
    /// Where steps are long, where the way is, and where rows cost as much as steps.
    const LONG_STEPS: Device = Device { step_ms: 4.0, way_ms: 1.5, row_ms: 0.1 };
    const SHORT_STEPS: Device = Device { step_ms: 1.0, way_ms: 1.5, row_ms: 0.05 };
    const LONG_WAY: Device = Device { step_ms: 1.0, way_ms: 100.0, row_ms: 0.05 };
    const DEAR_ROWS: Device = Device { step_ms: 2.0, way_ms: 1.0, row_ms: 2.0 };

    /// Time for the whole answer by runs over time with guesses between them, as the session does it.
    fn speed_up_elsewhere(controller: &mut Controller, prompt: &[u32], answer: &[u32], device: Device) -> f64 {
        let Device { step_ms, way_ms, row_ms } = device;
        let mut lookup = Lookup::new(&[prompt]);
        let (mut at, mut ms, mut is_behind, mut is_still) = (0, 0.0, false, false);
        let push = |lookup: &mut Lookup, controller: &mut Controller, tokens: &[u32]| {
            tokens.iter().filter_map(|token| lookup.push(*token)).for_each(|guess| controller.note_guess(guess));
        };
        let draft_len = |lookup: &Lookup, controller: &mut Controller, most: usize, enters: bool| {
            lookup.grounds().map_or(0, |from| controller.draft_len(from, most, enters))
        };
        while at < answer.len() {
            let left = answer.len() - at;
            let n = if is_behind { 0 } else { draft_len(&lookup, controller, left - 1, false) };
            if n > 0 {
                let draft = lookup.draft(n);
                let right = draft.iter().zip(&answer[at..]).take_while(|(a, b)| a == b).count();
                let took_ms = way_ms + step_ms + row_ms * draft.len() as f64;
                push(&mut lookup, controller, &answer[at..=at + right]);
                (at, ms, is_still) = (at + right + 1, ms + took_ms, true);
                controller.note_step(draft.len() + 1, right + 1, took_ms);
                continue;
            }
            let n_steps = RUN.min(left);
            let took_ms = step_ms * n_steps as f64 + if is_behind { 0.0 } else { way_ms };
            let began = match (is_behind, std::mem::take(&mut is_still)) {
                (true, _) => Began::Behind,
                (false, false) => Began::Fresh,
                (false, true) => Began::AfterGuesses,
            };
            let waits = draft_len(&lookup, controller, (left - n_steps).saturating_sub(1), true) > 0;
            (is_behind, is_still) = (!waits, waits);
            push(&mut lookup, controller, &answer[at..at + n_steps]);
            (at, ms) = (at + n_steps, ms + took_ms);
            controller.note_run(n_steps, took_ms, began);
        }
        (way_ms + step_ms * answer.len() as f64) / ms
    }

    #[test]
    fn a_device_is_waited_for_only_where_that_pays() {
        let prompt = prose(1000, 7);
        for device in [LONG_STEPS, SHORT_STEPS, LONG_WAY, DEAR_ROWS] {
            let mut controller = Controller::elsewhere();
            for seed in 0..10 {
                let speed = speed_up_elsewhere(&mut controller, &prompt, &prose(600, seed + 100), device);
                assert!(speed > 0.97, "{device:?}, seed {seed}: {speed}");
            }
            let mut random = Random(3);
            let mut astray = vec![];
            while astray.len() < 6000 {
                let from = random.below(900) as usize;
                astray.extend_from_slice(&prompt[from..from + 4]);
                astray.push(5000 + random.below(1000) as u32);
            }
            let speed = speed_up_elsewhere(&mut Controller::elsewhere(), &prompt, &astray, device);
            assert!(speed > 0.97, "{device:?}, led astray: {speed}");
        }
    }

    #[test]
    fn copies_are_faster_on_a_device_too() {
        let prompt = prose(1000, 7);
        for (device, least) in [(LONG_STEPS, 2.0), (SHORT_STEPS, 1.5), (LONG_WAY, 0.9), (DEAR_ROWS, 0.9)] {
            let mut controller = Controller::elsewhere();
            speed_up_elsewhere(&mut controller, &prompt, &prose(100, 4), device);
            let speed = speed_up_elsewhere(&mut controller, &prompt, &prompt[100..600], device);
            assert!(speed > least, "{device:?}: {speed}");
        }
    }

    #[test]
    fn what_was_measured_of_steps_says_nothing_of_runs() {
        let mut controller = Controller::elsewhere();
        controller.note_run(16, 26.0, Began::Fresh);
        controller.note_run(16, 16.0, Began::Behind);
        assert_eq!((controller.costs.one_ms(), controller.costs.wait()), (Some(1.0), 10.0));
        controller.note_step(8, 8, 3.0);
        assert!(controller.costs.measured(8).is_some());
        controller.forget_costs();
        assert_eq!((controller.costs.one_ms(), controller.costs.measured(8)), (None, None));
        assert!(controller.is_elsewhere() && !Controller::default().is_elsewhere());
    }
}
