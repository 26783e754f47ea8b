//! Sampling from the best logits: the same tokens and log-probabilities as from all of them, however many ties there are and
//! whatever penalties lower; and what is not enough, or cannot be, is refused.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::elsewhere::best_of;
use kinglet::{
    error::Result,
    sample::{
        Best, Candidate, Constraint, LogProbs, MAX_BEST, REPEAT_WINDOW_TOKENS, Sampler, SamplingParams, Scores,
        Scratch, TokenMask,
    },
};
use proptest::prelude::*;

/// A sampler in the middle of a text.
fn sampler(params: &SamplingParams, n_vocab: usize, prompt: &[u32], accepted: &[u32]) -> Sampler {
    let mut sampler = Sampler::new(params.clone(), 3, n_vocab, prompt).unwrap();
    accepted.iter().for_each(|&token| sampler.accept(token).unwrap());
    sampler
}

fn wants(params: SamplingParams) -> Option<usize> {
    sampler(&params, 1000, &[1, 2, 3, 3], &[7, 8, 8]).wants()
}

#[test]
fn as_many_are_wanted_as_the_way_to_choose_needs() {
    let d = SamplingParams::default;
    let greedy = SamplingParams::greedy;
    assert_eq!(wants(greedy()), Some(1));
    assert_eq!(wants(d()), Some(40));
    assert_eq!(wants(SamplingParams { top_k: 128, ..d() }), Some(128));
    assert_eq!(wants(SamplingParams { top_k: 129, ..d() }), None);
    assert_eq!(wants(SamplingParams { top_k: 0, ..d() }), None);
    assert_eq!(wants(SamplingParams { top_k: u32::MAX, ..d() }), None);
    // What lowers: 1, 2, 3, 7, 8 in the window, 7 and 8 generated, 9 biased.
    let window = SamplingParams { repeat_penalty: 1.1, ..greedy() };
    assert_eq!(wants(window.clone()), Some(1 + 5));
    assert_eq!(wants(SamplingParams { frequency_penalty: 0.1, ..greedy() }), Some(1 + 2));
    assert_eq!(wants(SamplingParams { presence_penalty: 0.1, ..d() }), Some(40 + 2));
    assert_eq!(wants(SamplingParams { logit_bias: vec![(8, -1.0), (9, 0.0)], ..greedy() }), Some(1 + 2));
    let everything = SamplingParams { presence_penalty: 0.1, logit_bias: vec![(8, -1.0), (9, -1.0)], ..window };
    assert_eq!(wants(everything), Some(1 + 6));
    // What raises.
    assert_eq!(wants(SamplingParams { repeat_penalty: 0.9, ..greedy() }), None);
    assert_eq!(wants(SamplingParams { frequency_penalty: -0.1, ..d() }), None);
    assert_eq!(wants(SamplingParams { presence_penalty: -0.1, frequency_penalty: 1.0, ..d() }), None);
    assert_eq!(wants(SamplingParams { logit_bias: vec![(8, -1.0), (9, 0.1)], ..greedy() }), None);
    // Never more than there are.
    let few = SamplingParams { logit_bias: vec![(0, -1.0), (1, -1.0), (2, -1.0)], ..greedy() };
    assert_eq!(sampler(&few, 3, &[], &[]).wants(), Some(3));
    assert_eq!(sampler(&d(), 40, &[], &[]).wants(), None, "as many as there are is no cut");
}

/// However the text goes on, no sample on the way wants more than was asked for ahead.
#[test]
fn what_is_wanted_ahead_is_enough_for_every_sample_on_the_way() {
    let d = SamplingParams::default;
    let bias = vec![(8, -1.0), (9, -1.0)];
    for params in [
        SamplingParams::greedy(),
        SamplingParams { repeat_penalty: 1.1, ..SamplingParams::greedy() },
        SamplingParams { presence_penalty: 0.5, logit_bias: bias.clone(), ..d() },
        SamplingParams { repeat_penalty: 1.1, frequency_penalty: 0.5, logit_bias: bias, ..d() },
        SamplingParams { top_k: 126, presence_penalty: 0.5, ..d() },
    ] {
        for start in [0, 3, 60, 90] {
            for stride in [0, 1, 3] {
                let accepted: Vec<u32> = (0..start).map(|i| 100 + i).collect();
                let mut s = sampler(&params, 1000, &[1, 2, 3, 3], &accepted);
                for n_ahead in 0..8 {
                    let ahead = s.wants_all(n_ahead as usize);
                    for i in 0..n_ahead {
                        s.accept(200 + i * stride).unwrap();
                        let now = s.wants();
                        assert!(ahead.is_none() || now.is_some_and(|now| Some(now) <= ahead), "{now:?} of {ahead:?}");
                    }
                    s.rollback(n_ahead as usize).unwrap();
                    assert!(s.wants().is_none_or(|now| ahead.is_none_or(|ahead| ahead <= now + n_ahead as usize)));
                }
            }
        }
    }
}

#[test]
fn a_long_text_with_penalties_wants_all_in_the_end() {
    let params = SamplingParams { frequency_penalty: 0.1, ..SamplingParams::default() };
    let mut s = sampler(&params, 100_000, &[], &[]);
    for token in 0..2000 {
        let expected = 40 + token as usize;
        assert_eq!(s.wants(), (expected <= MAX_BEST).then_some(expected));
        s.accept(token).unwrap();
    }
    let params = SamplingParams { repeat_penalty: 1.1, ..SamplingParams::default() };
    let long: Vec<u32> = (0..2000).collect();
    assert_eq!(sampler(&params, 100_000, &long, &long).wants(), Some(40 + REPEAT_WINDOW_TOKENS));
}

#[derive(Debug)]
struct Anything(TokenMask);

impl Constraint for Anything {
    fn mask(&mut self) -> Result<&TokenMask> {
        Ok(&self.0)
    }
    fn accept(&mut self, _token: u32) -> Result<()> {
        Ok(())
    }
    fn rollback(&mut self, _n_tokens: usize) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_constraint_wants_all() {
    let s = sampler(&SamplingParams::greedy(), 10, &[], &[]).with_constraint(Box::new(Anything(TokenMask::all(10))));
    assert_eq!(s.wants(), None);
}

fn sample_best(params: SamplingParams, n_vocab: usize, found: &[(u32, f32)], log_sum_exp: f64) -> Result<u32> {
    let candidates: Vec<Candidate> = found.iter().map(|&(id, logit)| Candidate { id, logit }).collect();
    let scores = Scores::Best(Best { candidates: &candidates, log_sum_exp });
    let probabilities = LogProbs::of(scores);
    let token = sampler(&params, n_vocab, &[], &[]).sample(scores, &mut Scratch::default());
    // What is wrong with the numbers is seen by both.
    assert!(probabilities.is_ok() || token.is_err());
    token
}

#[test]
fn what_cannot_be_the_best_logits_is_refused() {
    let greedy = SamplingParams::greedy;
    let two = SamplingParams { logit_bias: vec![(0, -1.0)], ..greedy() };
    assert_eq!(sample_best(greedy(), 10, &[(4, 1.0), (3, 1.0)], 2.0), Ok(3));
    assert_eq!(sample_best(two.clone(), 10, &[(4, 1.0), (3, 1.0)], 2.0), Ok(3));
    type Case<'a> = (&'a str, SamplingParams, &'a [(u32, f32)], f64);
    let cases: [Case<'_>; 11] = [
        ("no logits", greedy(), &[], 2.0),
        ("NaN as the logit of token 3", greedy(), &[(4, 1.0), (3, f32::NAN)], 2.0),
        ("inf as the logit of token 4", greedy(), &[(4, f32::INFINITY)], 2.0),
        ("-inf as the logit of token 4", greedy(), &[(4, f32::NEG_INFINITY)], 2.0),
        ("NaN as the logarithm", greedy(), &[(4, 1.0)], f64::NAN),
        ("inf as the logarithm", greedy(), &[(4, 1.0)], f64::INFINITY),
        ("0.5 as the logarithm", greedy(), &[(4, 1.0)], 0.5),
        ("1 best logits are not 2", two.clone(), &[(4, 1.0)], 2.0),
        ("2 best logits are not 2 different", two, &[(4, 1.0), (4, 1.0)], 2.0),
        ("different ones of 10", greedy(), &[(10, 1.0)], 2.0),
        ("where all are needed", SamplingParams { top_k: 0, ..SamplingParams::default() }, &[(4, 1.0)], 2.0),
    ];
    for (what, params, found, log_sum_exp) in cases {
        let error = sample_best(params, 10, found, log_sum_exp).unwrap_err();
        assert_eq!(error.code(), "E_INTERNAL");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

#[test]
fn a_sum_that_was_rounded_down_gives_no_probability_over_1() {
    let candidates = [Candidate { id: 2, logit: 9.0 }];
    let all = LogProbs::of(Scores::Best(Best { candidates: &candidates, log_sum_exp: 8.999_99 })).unwrap();
    assert_eq!((all.get(2).unwrap(), all.top(5)), (0.0, vec![(2, 0.0)]));
    assert!(all.get(3).is_err());
}

/// One fewer than is wanted is seen to be too few: the count is no larger than it has to be.
#[test]
fn one_logit_fewer_would_not_be_enough() {
    // Token 0 is the best, and lowered: the answer is token 1, which the best one logit does not show.
    let params = SamplingParams { logit_bias: vec![(0, -5.0)], ..SamplingParams::greedy() };
    let logits = [3.0, 2.0, 1.0];
    let mut s = sampler(&params, 3, &[], &[]);
    assert_eq!(s.wants(), Some(2));
    assert_eq!(s.sample(Scores::All(&logits), &mut Scratch::default()), Ok(1));
    let (enough, log_sum_exp) = best_of(&logits, 2);
    let best = Best { candidates: &enough, log_sum_exp };
    assert_eq!(s.sample(Scores::Best(best), &mut Scratch::default()), Ok(1));
    let (candidates, _) = best_of(&logits, 1);
    assert!(s.sample(Scores::Best(Best { candidates: &candidates, ..best }), &mut Scratch::default()).is_err());
}

/// Parameters in every combination that takes fewer than all, and now and then one that does not.
fn any_params() -> impl Strategy<Value = SamplingParams> {
    let cuts = (
        prop_oneof![Just(0f32), Just(1.0), 0.05f32..3.0],
        prop_oneof![4 => 1u32..50, 1 => Just(0), 1 => 50u32..400],
        prop_oneof![Just(1f32), 0f32..1.0],
        prop_oneof![Just(0f32), 0f32..1.0],
    );
    let changes = (
        prop_oneof![Just(1f32), 1f32..3.0, Just(100.0)],
        prop_oneof![Just(0f32), 0f32..2.0],
        prop_oneof![Just(0f32), 0f32..2.0],
        proptest::collection::btree_map(0u32..30, prop_oneof![9 => -100f32..0.0, 1 => Just(1.0)], 0..4),
    );
    (any::<u64>(), cuts, changes).prop_map(
        |(seed, (temperature, top_k, top_p, min_p), (repeat, frequency, presence, bias))| SamplingParams {
            seed,
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty: repeat,
            frequency_penalty: frequency,
            presence_penalty: presence,
            logit_bias: bias.into_iter().collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Few levels or many, so that there are ties everywhere: at the edge of top_k, of the best, among what is lowered. What is
    /// generated and biased are ranks at first, so that it is the best tokens that are lowered.
    #[test]
    fn the_best_logits_give_the_token_of_all(
        params in any_params(), n_levels in prop_oneof![1u16..40, Just(u16::MAX)], height in 0.01f32..2.0,
        levels in proptest::collection::vec(any::<u16>(), 60..700),
        prompt in proptest::collection::vec(0u32..2000, 0..90),
        accepted in proptest::collection::vec(0usize..40, 0..30),
    ) {
        let logit = |l: &u16| (f32::from(l % n_levels) - f32::from(n_levels / 2)) * height / f32::from(n_levels) * 40.0;
        let logits: Vec<f32> = levels.iter().map(logit).collect();
        let ranked = LogProbs::of(Scores::All(&logits)).unwrap().top(60);
        let accepted: Vec<u32> = accepted.iter().map(|&rank| ranked[rank].0).collect();
        let mut params = params;
        params.logit_bias.iter_mut().for_each(|bias| bias.0 = ranked[bias.0 as usize].0);
        let mut s = sampler(&params, logits.len(), &prompt, &accepted);
        if let Some(n) = s.wants() {
            prop_assert!(n <= MAX_BEST && n <= logits.len());
            let (candidates, log_sum_exp) = best_of(&logits, n);
            let best = Scores::Best(Best { candidates: &candidates, log_sum_exp });
            let all = Scores::All(&logits);
            let mut scratch = Scratch::default();
            for _ in 0..3 {
                let token = s.sample(all, &mut scratch);
                prop_assert_eq!(&s.sample(best, &mut scratch), &token);
                let (of_all, of_best) = (LogProbs::of(all).unwrap(), LogProbs::of(best).unwrap());
                let (top_all, top_best) = (of_all.top(n), of_best.top(n));
                for ((id_a, p_a), (id_b, p_b)) in top_all.iter().zip(&top_best) {
                    prop_assert!(id_a == id_b && (p_a - p_b).abs() <= 1e-9 * p_a.abs().max(1.0));
                }
                prop_assert_eq!(top_all.len(), top_best.len());
                let (a, b) = (of_all.get(token.clone().unwrap()).unwrap(), of_best.get(token.clone().unwrap()).unwrap());
                prop_assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0));
                s.accept(token.unwrap()).unwrap();
                if s.wants() != Some(n) {
                    break;
                }
            }
        }
    }
}
