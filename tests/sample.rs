//! Sampling: known answers, the fixed order of its steps, properties over random logits, and everything it must refuse.

#![cfg(not(target_arch = "wasm32"))]

use kinglet::{
    error::{Error, Result},
    sample::{
        Constraint, LogProbs, REPEAT_WINDOW_TOKENS, Sampler, SamplingParams, Scores, Scratch, TokenMask, guard, mix,
        unit,
    },
};
use proptest::prelude::*;

/// Nothing cut, nothing changed, temperature 1.
fn plain(seed: u64) -> SamplingParams {
    SamplingParams { seed, temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplingParams::default() }
}

fn sample_one(params: SamplingParams, logits: &[f32]) -> Result<u32> {
    Sampler::new(params, 0, logits.len(), &[])?.sample(Scores::All(logits), &mut Scratch::default())
}

/// Which tokens can be drawn: draws often enough to see all of a handful.
fn support(params: &SamplingParams, logits: &[f32]) -> Vec<u32> {
    let draw = |seed| sample_one(SamplingParams { seed, ..params.clone() }, logits).unwrap();
    (0..400).map(draw).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

#[derive(Debug)]
struct Only {
    mask: TokenMask,
    accepted: Vec<u32>,
}

impl Only {
    fn boxed(n_vocab: usize, tokens: &[u32]) -> Box<Self> {
        let mut mask = TokenMask::none(n_vocab);
        tokens.iter().for_each(|&t| mask.allow(t));
        Box::new(Self { mask, accepted: vec![] })
    }
}

impl Constraint for Only {
    fn mask(&mut self) -> Result<&TokenMask> {
        Ok(&self.mask)
    }
    fn accept(&mut self, token: u32) -> Result<()> {
        if !self.mask.allows(token) {
            return Err(Error::internal("not allowed"));
        }
        self.accepted.push(token);
        Ok(())
    }
    fn rollback(&mut self, n_tokens: usize) -> Result<()> {
        self.accepted.truncate(self.accepted.len() - n_tokens);
        Ok(())
    }
}

#[test]
fn mix_is_splitmix64() {
    // The reference implementation (Vigna, prng.di.unimi.it/splitmix64.c) seeded with 1234567.
    let mut state = 1_234_567u64;
    let expected = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    for value in expected {
        assert_eq!(mix(state), value);
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    assert_ne!(mix(state), expected[0]);
}

#[test]
fn draws_are_uniform_and_differ_by_seed_choice_and_position() {
    let n = 20_000;
    for at in [|i: u64| unit(i, 0, 0), |i: u64| unit(1, i as u32, 0), |i: u64| unit(1, 0, i)] {
        let mut bins = [0u32; 16];
        for i in 0..n {
            let u = at(i);
            assert!((0.0..1.0).contains(&u));
            bins[(u * 16.0) as usize] += 1;
        }
        // χ² with 15 degrees of freedom: 99.99 % of uniform samples stay below 44.3.
        let expected = n as f64 / 16.0;
        let chi2: f64 = bins.iter().map(|&b| (f64::from(b) - expected).powi(2) / expected).sum();
        assert!(chi2 < 44.3, "χ² = {chi2}");
    }
    assert_ne!(unit(1, 2, 3), unit(1, 3, 2));
}

#[test]
fn greedy_takes_the_lowest_id_of_ties() {
    assert_eq!(sample_one(SamplingParams::greedy(), &[1.0, 3.0, 3.0, 2.0]).unwrap(), 1);
    assert_eq!(sample_one(SamplingParams::greedy(), &[0.0, -0.0]).unwrap(), 0);
    assert_eq!(sample_one(SamplingParams::greedy(), &[-0.0, 0.0]).unwrap(), 0);
    assert_eq!(sample_one(SamplingParams::greedy(), &[f32::MIN]).unwrap(), 0);
}

#[test]
fn a_vocabulary_of_one_is_no_special_case() {
    for params in [SamplingParams::greedy(), SamplingParams::default(), plain(7)] {
        assert_eq!(sample_one(params, &[-12.0]).unwrap(), 0);
    }
}

#[test]
fn each_cut_keeps_what_its_definition_says() {
    let logits = logits_of(&[0.1, 0.4, 0.05, 0.3, 0.15]);
    assert_eq!(support(&plain(0), &logits), [0, 1, 2, 3, 4]);
    assert_eq!(support(&SamplingParams { top_k: 2, ..plain(0) }, &logits), [1, 3]);
    assert_eq!(support(&SamplingParams { top_k: 5, ..plain(0) }, &logits), [0, 1, 2, 3, 4]);
    assert_eq!(support(&SamplingParams { top_p: 0.0, ..plain(0) }, &logits), [1]);
    assert_eq!(support(&SamplingParams { top_p: 0.39, ..plain(0) }, &logits), [1]);
    assert_eq!(support(&SamplingParams { top_p: 0.69, ..plain(0) }, &logits), [1, 3]);
    assert_eq!(support(&SamplingParams { top_p: 0.71, ..plain(0) }, &logits), [1, 3, 4]);
    assert_eq!(support(&SamplingParams { min_p: 0.3, ..plain(0) }, &logits), [1, 3, 4]);
    assert_eq!(support(&SamplingParams { min_p: 1.0, ..plain(0) }, &logits), [1]);
}

#[test]
fn top_p_counts_only_what_top_k_left() {
    // Of the two best (0.4 and 0.3), 0.4 alone is 57 %; of all five it is 40 %.
    let logits = logits_of(&[0.1, 0.4, 0.05, 0.3, 0.15]);
    assert_eq!(support(&SamplingParams { top_k: 2, top_p: 0.5, ..plain(0) }, &logits), [1]);
    assert_eq!(support(&SamplingParams { top_k: 0, top_p: 0.5, ..plain(0) }, &logits), [1, 3]);
}

#[test]
fn temperature_comes_after_the_cuts() {
    // At temperature 100 all five are nearly equal; the cuts still see the probabilities at temperature 1.
    let logits = logits_of(&[0.1, 0.4, 0.05, 0.3, 0.15]);
    let hot = SamplingParams { temperature: 100.0, ..plain(0) };
    assert_eq!(support(&hot, &logits), [0, 1, 2, 3, 4]);
    assert_eq!(support(&SamplingParams { top_p: 0.69, ..hot.clone() }, &logits), [1, 3]);
    assert_eq!(support(&SamplingParams { min_p: 0.3, ..hot }, &logits), [1, 3, 4]);
    let cold = SamplingParams { temperature: f32::MIN_POSITIVE, ..plain(0) };
    assert_eq!(support(&cold, &logits), [1]);
}

#[test]
fn draws_follow_the_probabilities() {
    let probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
    let logits = logits_of(&probabilities);
    let mut sampler = Sampler::new(plain(3), 0, 5, &[]).unwrap();
    let mut scratch = Scratch::default();
    let mut counts = [0u32; 5];
    let n = 20_000;
    for _ in 0..n {
        let token = sampler.sample(Scores::All(&logits), &mut scratch).unwrap();
        counts[token as usize] += 1;
        sampler.accept(token).unwrap();
    }
    for (count, p) in counts.iter().zip(probabilities) {
        // Four standard deviations of a binomial.
        let sigma = (f64::from(p) * (1.0 - f64::from(p)) * f64::from(n)).sqrt();
        assert!((f64::from(*count) - f64::from(p) * f64::from(n)).abs() < 4.0 * sigma, "{counts:?}");
    }
}

#[test]
fn the_repeat_penalty_is_llama_cpps() {
    let params = SamplingParams { repeat_penalty: 2.0, ..SamplingParams::greedy() };
    let pick = |prompt: &[u32], logits: &[f32]| {
        let mut s = Sampler::new(params.clone(), 0, logits.len(), prompt).unwrap();
        s.sample(Scores::All(logits), &mut Scratch::default()).unwrap()
    };
    // Positive logits are halved, negative ones doubled, once however often the token stands there.
    assert_eq!(pick(&[], &[3.0, 2.0, 1.4]), 0);
    assert_eq!(pick(&[0], &[3.0, 2.0, 1.4]), 1);
    assert_eq!(pick(&[0, 0, 0], &[3.0, 1.49, 1.4]), 0);
    assert_eq!(pick(&[0], &[-1.0, -1.9]), 1);
    assert_eq!(pick(&[0], &[-1.0, -2.1]), 0);
    // What is older than the window does not count.
    let mut prompt = vec![0];
    prompt.extend(vec![2; REPEAT_WINDOW_TOKENS - 1]);
    assert_eq!(pick(&prompt, &[3.0, 2.0, 0.0]), 1);
    prompt.push(2);
    assert_eq!(pick(&prompt, &[3.0, 2.0, 0.0]), 0);
}

#[test]
fn frequency_and_presence_penalties_are_openais() {
    let logits = [3.0, 2.0];
    let after = |params: SamplingParams, accepted: usize| {
        let mut s = Sampler::new(params, 0, 2, &[0, 0, 0, 0]).unwrap();
        (0..accepted).for_each(|_| s.accept(0).unwrap());
        s.sample(Scores::All(&logits), &mut Scratch::default()).unwrap()
    };
    let frequency = SamplingParams { frequency_penalty: 0.4, ..SamplingParams::greedy() };
    assert_eq!(after(frequency.clone(), 0), 0, "the prompt does not count");
    assert_eq!(after(frequency.clone(), 2), 0);
    assert_eq!(after(frequency, 3), 1);
    let presence = SamplingParams { presence_penalty: 1.1, ..SamplingParams::greedy() };
    assert_eq!(after(presence.clone(), 0), 0);
    assert_eq!(after(presence, 1), 1);
    let weak = SamplingParams { presence_penalty: 0.9, ..SamplingParams::greedy() };
    assert_eq!(after(weak, 9), 0, "once, however often");
}

#[test]
fn bias_is_added_after_the_penalties() {
    let params = SamplingParams { logit_bias: vec![(2, 5.0), (0, -100.0)], ..SamplingParams::greedy() };
    assert_eq!(sample_one(params, &[9.0, 3.0, -1.0]).unwrap(), 2);
    // (8 / 2) + 3 = 7 beats 6; (8 + 3) / 2 = 5.5 would not.
    let params = SamplingParams { repeat_penalty: 2.0, logit_bias: vec![(0, 3.0)], ..SamplingParams::greedy() };
    let mut s = Sampler::new(params, 0, 2, &[0]).unwrap();
    assert_eq!(s.sample(Scores::All(&[8.0, 6.0]), &mut Scratch::default()).unwrap(), 0);
}

#[test]
fn the_mask_enters_before_candidates_are_cut() {
    let logits = [9.0, 8.0, 7.0, 1.0, 0.0];
    for params in [
        SamplingParams::greedy(),
        SamplingParams { top_k: 1, ..plain(1) },
        SamplingParams { top_p: 0.01, ..plain(1) },
        SamplingParams { min_p: 0.9, ..plain(1) },
    ] {
        let mut s = Sampler::new(params, 0, 5, &[]).unwrap().with_constraint(Only::boxed(5, &[3, 4]));
        assert_eq!(s.sample(Scores::All(&logits), &mut Scratch::default()).unwrap(), 3);
    }
    // A bias cannot bring back what the mask forbids.
    let params = SamplingParams { logit_bias: vec![(0, 100.0)], ..SamplingParams::greedy() };
    let mut s = Sampler::new(params, 0, 5, &[]).unwrap().with_constraint(Only::boxed(5, &[3]));
    assert_eq!(s.sample(Scores::All(&logits), &mut Scratch::default()).unwrap(), 3);
}

#[test]
fn a_mask_that_leaves_nothing_is_an_error() {
    for params in [SamplingParams::greedy(), plain(0), SamplingParams::default()] {
        let mut s = Sampler::new(params, 0, 5, &[]).unwrap().with_constraint(Only::boxed(5, &[]));
        let error = s.sample(Scores::All(&[0.0; 5]), &mut Scratch::default()).unwrap_err();
        assert_eq!(error.code(), "E_INTERNAL");
        assert!(error.to_string().contains("mask"), "{error}");
    }
}

#[test]
fn a_mask_knows_its_vocabulary() {
    let mut mask = TokenMask::all(65);
    assert!(mask.allows(64) && !mask.allows(65) && !mask.allows(u32::MAX));
    mask.forbid(64);
    mask.allow(1000);
    mask.forbid(1000);
    assert!(!mask.allows(64) && mask.allows(63));
}

#[test]
fn logits_that_are_not_finite_are_refused_wherever_they_stand() {
    for n in [1, 7, 8, 9, 40] {
        for at in 0..n {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut logits = vec![1.0; n];
                assert_eq!(guard(&logits).unwrap(), 1.0);
                logits[at] = bad;
                let error = sample_one(SamplingParams::default(), &logits).unwrap_err();
                assert_eq!(error.code(), "E_INTERNAL");
                assert!(error.to_string().contains(&format!("token {at}")), "{error}");
                assert!(LogProbs::of(Scores::All(&logits)).is_err());
            }
        }
    }
    assert!(guard(&[]).is_err());
    assert!(sample_one(plain(0), &[f32::MAX, f32::MIN]).is_ok(), "finite is finite");
}

#[test]
fn the_wrong_number_of_logits_is_refused() {
    let mut s = Sampler::new(plain(0), 0, 5, &[]).unwrap();
    assert_eq!(s.sample(Scores::All(&[0.0; 4]), &mut Scratch::default()).unwrap_err().code(), "E_INTERNAL");
}

#[test]
fn penalties_never_make_a_logit_infinite() {
    let params = SamplingParams { repeat_penalty: 1e-30, ..SamplingParams::greedy() };
    let mut s = Sampler::new(params, 0, 2, &[1]).unwrap();
    assert_eq!(s.sample(Scores::All(&[1.0, 3e38]), &mut Scratch::default()).unwrap(), 1);
    let params = SamplingParams { repeat_penalty: 100.0, ..plain(0) };
    let mut s = Sampler::new(params, 0, 2, &[0, 1]).unwrap();
    assert!(s.sample(Scores::All(&[-3e38, -3e38]), &mut Scratch::default()).is_ok());
}

#[test]
fn parameters_out_of_range_are_refused_by_name() {
    let d = SamplingParams::default;
    let cases = [
        ("temperature", SamplingParams { temperature: f32::NAN, ..d() }),
        ("temperature", SamplingParams { temperature: -1.0, ..d() }),
        ("temperature", SamplingParams { temperature: 1e30, ..d() }),
        ("temperature", SamplingParams { temperature: f32::INFINITY, ..d() }),
        ("top_p", SamplingParams { top_p: f32::NAN, ..d() }),
        ("top_p", SamplingParams { top_p: 1.1, ..d() }),
        ("top_p", SamplingParams { top_p: -0.1, ..d() }),
        ("min_p", SamplingParams { min_p: f32::NAN, ..d() }),
        ("min_p", SamplingParams { min_p: 2.0, ..d() }),
        ("repeat_penalty", SamplingParams { repeat_penalty: 0.0, ..d() }),
        ("repeat_penalty", SamplingParams { repeat_penalty: f32::NAN, ..d() }),
        ("repeat_penalty", SamplingParams { repeat_penalty: 1e9, ..d() }),
        ("frequency_penalty", SamplingParams { frequency_penalty: 2.1, ..d() }),
        ("frequency_penalty", SamplingParams { frequency_penalty: f32::NAN, ..d() }),
        ("presence_penalty", SamplingParams { presence_penalty: f32::NEG_INFINITY, ..d() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(0, f32::NAN)], ..d() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(0, 101.0)], ..d() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(10, 1.0)], ..d() }),
        ("logit_bias", SamplingParams { logit_bias: vec![(1, 1.0), (2, 1.0), (1, 2.0)], ..d() }),
    ];
    for (name, params) in cases {
        let error = Sampler::new(params.clone(), 0, 10, &[]).unwrap_err();
        assert_eq!(error.code(), "RangeError", "{params:?}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
    for params in [
        d(),
        SamplingParams::greedy(),
        SamplingParams { temperature: 100.0, top_k: u32::MAX, top_p: 0.0, min_p: 1.0, ..d() },
        SamplingParams { logit_bias: vec![(9, -100.0), (0, 100.0)], frequency_penalty: -2.0, ..d() },
    ] {
        params.validate(10).unwrap();
    }
}

#[test]
fn rollback_takes_tokens_back_as_if_they_had_never_been() {
    let params = SamplingParams { frequency_penalty: 0.5, repeat_penalty: 1.2, ..plain(11) };
    let logits: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut scratch = Scratch::default();
    let new = || Sampler::new(params.clone(), 1, 50, &[4, 5]).unwrap();
    let mut straight = new();
    let mut wandering = new();
    for _ in 0..20 {
        for detour in [3, 3, 9] {
            wandering.accept(detour).unwrap();
        }
        wandering.rollback(3).unwrap();
        let (a, b) =
            (straight.sample(Scores::All(&logits), &mut scratch), wandering.sample(Scores::All(&logits), &mut scratch));
        assert_eq!(a, b);
        straight.accept(a.unwrap()).unwrap();
        wandering.accept(b.unwrap()).unwrap();
    }
    assert_eq!(wandering.position(), 20);
    assert!(wandering.rollback(21).is_err());
    let mut held = new().with_constraint(Only::boxed(50, &[7]));
    assert!(held.accept(8).is_err() && held.accept(7).is_ok() && held.rollback(1).is_ok() && held.rollback(1).is_err());
}

#[test]
fn log_probabilities_are_those_of_the_raw_logits() {
    let probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
    let logits: Vec<f32> = logits_of(&probabilities).iter().map(|l| l + 17.0).collect();
    let lp = LogProbs::of(Scores::All(&logits)).unwrap();
    for (id, p) in probabilities.iter().enumerate() {
        assert!((lp.get(id as u32).unwrap() - f64::from(*p).ln()).abs() < 1e-5);
    }
    assert_eq!(lp.top(2).iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(lp.top(2)[0].1, lp.get(1).unwrap());
    assert!(lp.top(0).is_empty());
    assert_eq!(lp.top(99).len(), 5);
    assert!(lp.get(5).is_err());
    assert!(LogProbs::of(Scores::All(&[f32::MAX, f32::MIN])).unwrap().get(1).unwrap().is_finite());
    let half = LogProbs::of(Scores::All(&[f32::MAX, f32::MAX])).unwrap().get(1).unwrap();
    assert!((half - 0.5_f64.ln()).abs() < 1e-12, "{half}");
}

/// The definition, with full sorts and f64.
fn oracle_support(logits: &[f32], p: &SamplingParams) -> Vec<u32> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
    if p.top_k > 0 {
        order.truncate(p.top_k as usize);
    }
    let weight = |i: usize| (f64::from(logits[i]) - f64::from(logits[order[0]])).exp();
    let total: f64 = order.iter().map(|&i| weight(i)).sum();
    let mut mass = 0.0;
    let mut kept = vec![];
    for &i in &order {
        kept.push(i);
        mass += weight(i);
        if mass >= f64::from(p.top_p) * total {
            break;
        }
    }
    kept.retain(|&i| weight(i) >= f64::from(p.min_p));
    let mut ids: Vec<u32> = kept.into_iter().map(|i| i as u32).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Large vocabularies with many ties: partial selection keeps exactly what a full sort keeps.
    #[test]
    fn what_is_drawn_lies_in_what_the_definition_keeps(
        levels in proptest::collection::vec(-40i32..40, 1..4000),
        top_k in 0u32..60, top_p in 0.01f32..0.99, min_p in 0f32..0.5, seed: u64, temperature in 0.1f32..3.0,
    ) {
        let logits: Vec<f32> = levels.iter().map(|&l| l as f32 * 0.25).collect();
        let params = SamplingParams { seed, temperature, top_k, top_p, min_p, ..plain(0) };
        let token = sample_one(params.clone(), &logits).unwrap();
        // A hair of room for the f32 exponentials at the edges of the nucleus.
        let wide = SamplingParams { top_p: top_p + 1e-4, min_p: min_p * 0.9999, ..params.clone() };
        prop_assert!(oracle_support(&logits, &wide).contains(&token));
        // top_k at or over the vocabulary is no cut.
        let n = logits.len() as u32;
        let off = sample_one(SamplingParams { top_k: 0, ..params.clone() }, &logits);
        prop_assert_eq!(&off, &sample_one(SamplingParams { top_k: n, ..params.clone() }, &logits));
        prop_assert_eq!(&off, &sample_one(SamplingParams { top_k: u32::MAX, ..params }, &logits));
    }

    /// The k best by partial selection are the k best by a sort, best first.
    #[test]
    fn top_logprobs_are_sorted_and_complete(levels in proptest::collection::vec(-20i32..20, 1..5000), k in 0usize..2500) {
        let logits: Vec<f32> = levels.iter().map(|&l| l as f32).collect();
        let top: Vec<u32> = LogProbs::of(Scores::All(&logits)).unwrap().top(k).into_iter().map(|t| t.0).collect();
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].partial_cmp(&logits[a as usize]).unwrap().then(a.cmp(&b)));
        order.truncate(k);
        prop_assert_eq!(top, order);
    }

    /// The same place draws the same token, whatever was drawn before; greedy is the limit of cold.
    #[test]
    fn a_draw_depends_on_its_place_only(
        logits in proptest::collection::vec(-5f32..5.0, 1..300), seed: u64, choice in 0u32..8, n in 0usize..6,
    ) {
        let mut scratch = Scratch::default();
        let mut a = Sampler::new(plain(seed), choice, logits.len(), &[]).unwrap();
        let mut b = Sampler::new(plain(seed), choice, logits.len(), &[1, 2, 3]).unwrap();
        for _ in 0..n {
            a.sample(Scores::All(&logits), &mut scratch).unwrap();
            a.accept(0).unwrap();
            b.accept(0).unwrap();
        }
        prop_assert_eq!(a.sample(Scores::All(&logits), &mut scratch), b.sample(Scores::All(&logits), &mut Scratch::default()));
        let cold = SamplingParams { temperature: 1e-20, ..plain(seed) };
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        prop_assert_eq!(logits[sample_one(cold, &logits).unwrap() as usize], max);
    }

    /// ln P sums to 1.
    #[test]
    fn probabilities_sum_to_one(logits in proptest::collection::vec(-30f32..30.0, 1..3000)) {
        let lp = LogProbs::of(Scores::All(&logits)).unwrap();
        let sum: f64 = (0..logits.len() as u32).map(|t| lp.get(t).unwrap().exp()).sum();
        prop_assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
}
