//! Any logits (NaN, infinities, ties, a vocabulary of one), any parameters, any mask: a token that the mask allows, or a typed error
//! where there is a reason for one. The best logits give the same token as all of them, and probabilities sum to 1.

use kinglet::{
    error::{Error, Result},
    sample::{Best, Candidate, Constraint, LogProbs, Sampler, SamplingParams, Scores, Scratch, TokenMask},
};

use super::input::Input;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let params = params(&mut input);
    let n_vocab = input.pick(&[1, 2, 3, 17, 64, 65, 300]);
    let mask = input.bool().then(|| mask(n_vocab, &mut input));
    let n_prompt = input.below(80);
    let prompt: Vec<u32> = (0..n_prompt).map(|i| u32::from(input.u8()) + i as u32 % 7).collect();
    let choice = u32::from(input.u8());
    let new = |params: &SamplingParams, mask: &Option<TokenMask>| -> Result<Sampler> {
        let sampler = Sampler::new(params.clone(), choice, n_vocab, &prompt)?;
        Ok(match mask {
            Some(mask) => sampler.with_constraint(Box::new(Always(mask.clone()))),
            None => sampler,
        })
    };
    let mut sampler = match new(&params, &mask) {
        Ok(sampler) => sampler,
        Err(error) => {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            return assert!(params.validate(n_vocab).is_err(), "refused, and yet valid");
        }
    };
    params.validate(n_vocab).expect("what is not valid is refused");
    let mut again = new(&params, &mask).expect("as before");
    let mut scratch = Scratch::default();
    for _ in 0..3 {
        let logits = logits(n_vocab, &mut input);
        let found = sampler.sample(Scores::All(&logits), &mut scratch);
        check(&found, &logits, mask.as_ref());
        assert_eq!(again.sample(Scores::All(&logits), &mut scratch), found, "the same logits, the same token");
        probabilities(&logits);
        let Ok(token) = found else { continue };
        if let Some(n) = sampler.wants() {
            let (best, log_sum_exp) = best_of(&logits, n);
            let best = Scores::Best(Best { candidates: &best, log_sum_exp });
            assert_eq!(again.sample(best, &mut scratch), Ok(token), "the best {n} are enough");
        }
        sampler.accept(token).expect("any token may be accepted");
        again.accept(token).expect("any token may be accepted");
    }
    let n_tokens = sampler.position();
    assert!(sampler.rollback(n_tokens + 1).is_err());
    sampler.rollback(n_tokens).expect("as many as were accepted");
}

/// A mask that stays as it is.
#[derive(Debug)]
struct Always(TokenMask);

impl Constraint for Always {
    fn mask(&mut self) -> Result<&TokenMask> {
        Ok(&self.0)
    }

    fn accept(&mut self, _: u32) -> Result<()> {
        Ok(())
    }

    fn rollback(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}

/// A token is right where there can be one; an error where there can be none.
pub fn check(found: &Result<u32>, logits: &[f32], mask: Option<&TokenMask>) {
    let allows = |token: u32| mask.is_none_or(|mask| mask.allows(token));
    let is_possible = logits.iter().all(|l| l.is_finite()) && (0..logits.len() as u32).any(allows);
    match found {
        Ok(token) => {
            assert!(is_possible, "token {token} of logits that are not finite, or of none");
            assert!((*token as usize) < logits.len() && allows(*token), "token {token} is none of those allowed");
        }
        Err(error) => assert!(!is_possible && matches!(error, Error::Internal { .. }), "{error}"),
    }
}

/// ln P of all tokens, which exist exactly where every logit is finite.
fn probabilities(logits: &[f32]) {
    let all = LogProbs::of(Scores::All(logits));
    assert_eq!(all.is_ok(), logits.iter().all(|l| l.is_finite()));
    let Ok(all) = all else { return };
    let n_vocab = logits.len();
    let each: Vec<f64> = (0..n_vocab as u32).map(|id| all.get(id).expect("a token of the vocabulary")).collect();
    sum_to_one(&each);
    assert!(all.get(n_vocab as u32).is_err());
    let top = all.top(20);
    assert_eq!(top.len(), n_vocab.min(20));
    let is_before = |a: u32, b: u32| {
        let (l, m) = (logits[a as usize], logits[b as usize]);
        l > m || (l == m && a < b)
    };
    assert!(top.is_sorted_by(|(a, _), (b, _)| is_before(*a, *b)), "the best first, of equals the lower id");
}

/// Logarithms of probabilities of everything that can happen.
pub fn sum_to_one(logprobs: &[f64]) {
    let sum: f64 = logprobs.iter().map(|p| p.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5 && logprobs.iter().all(|p| *p <= 0.0), "probabilities sum to {sum}");
}

/// The best `n` logits with all that equal the last of them, and ln Σ e^logit.
fn best_of(logits: &[f32], n: usize) -> (Vec<Candidate>, f64) {
    let mut all: Vec<Candidate> = (0..).zip(logits).map(|(id, &logit)| Candidate { id, logit }).collect();
    all.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    let last = all.get(n.saturating_sub(1)).map_or(f32::NEG_INFINITY, |c| c.logit);
    let max = all.first().map_or(0.0, |c| f64::from(c.logit));
    let sum: f64 = all.iter().map(|c| (f64::from(c.logit) - max).exp()).sum();
    all.retain(|c| c.logit >= last);
    (all, max + sum.ln())
}

fn params(input: &mut Input<'_>) -> SamplingParams {
    let mut params = SamplingParams { seed: input.u64(), ..SamplingParams::default() };
    // What is not mentioned stays as it is by default: most random parameters would be refused.
    for _ in 0..input.below(6) {
        match input.below(9) {
            0 => params.temperature = input.pick(&[0.0, 1e-30, 1.0, 100.0]),
            1 => params.temperature = input.float(),
            2 => params.top_k = input.number() as u32,
            3 => params.top_p = input.pick(&[0.0, 1e-9, 0.5, 1.0, f32::NAN]),
            4 => params.min_p = input.pick(&[0.0, 1e-9, 0.5, 1.0, -1.0]),
            5 => params.repeat_penalty = input.float(),
            6 => params.frequency_penalty = input.float(),
            7 => params.presence_penalty = input.float(),
            _ => params.logit_bias = (0..input.below(4)).map(|_| (u32::from(input.u8()), input.float())).collect(),
        }
    }
    params
}

fn mask(n_vocab: usize, input: &mut Input<'_>) -> TokenMask {
    let mut mask = if input.bool() { TokenMask::all(n_vocab) } else { TokenMask::none(n_vocab) };
    for _ in 0..input.below(12) {
        let token = u32::from(input.u8());
        if input.bool() { mask.allow(token) } else { mask.forbid(token) }
    }
    mask
}

/// A few different numbers over and over, so that there are ties, and some others.
fn logits(n_vocab: usize, input: &mut Input<'_>) -> Vec<f32> {
    let is_tame = input.below(4) > 0;
    let float = |input: &mut Input<'_>| if is_tame { f32::from(input.u8() as i8) / 4.0 } else { input.float() };
    let palette: Vec<f32> = (0..1 + input.below(5)).map(|_| float(input)).collect();
    let mut logits: Vec<f32> = (0..n_vocab).map(|i| palette[i % palette.len()]).collect();
    for _ in 0..input.below(10) {
        let i = input.below(n_vocab);
        logits[i] = float(input);
    }
    logits
}
