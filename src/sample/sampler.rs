//! One choice's sampler: the parameters, the tokens so far, and the fixed order of steps from logits to a token.

use super::{
    Best, Candidate, Constraint, MAX_BEST, SamplingParams, Scores,
    adjusted::Adjusted,
    candidates::{self, best_first},
    draw, guard,
    math::exp_not_positive,
};
use crate::error::{Error, Result};
use crate::sorted::SortedMap;

/// How far back the repeat penalty looks, tokens of prompt and output together (llama.cpp's `repeat_last_n`).
pub const REPEAT_WINDOW_TOKENS: usize = 64;

/// Room that a sampler works in; one serves all choices.
#[derive(Debug, Default)]
pub struct Scratch {
    logits: Vec<f32>,
    candidates: Vec<Candidate>,
    weights: Vec<f32>,
}

/// Chooses the tokens of one choice.
#[derive(Debug)]
pub struct Sampler {
    params: SamplingParams,
    choice: u32,
    n_vocab: usize,
    /// The end of the prompt (at most the window), then every token that was accepted.
    history: Vec<u32>,
    /// How much of `history` is prompt.
    n_prompt: usize,
    /// How often each token was accepted.
    counts: SortedMap<u32, u32>,
    constraint: Option<Box<dyn Constraint>>,
}

impl Sampler {
    /// A sampler for `choice` after `prompt`, over a vocabulary of `n_vocab` tokens. Checks the parameters.
    pub fn new(params: SamplingParams, choice: u32, n_vocab: usize, prompt: &[u32]) -> Result<Self> {
        params.validate(n_vocab)?;
        let history = prompt[prompt.len().saturating_sub(REPEAT_WINDOW_TOKENS)..].to_vec();
        let n_prompt = history.len();
        Ok(Self { params, choice, n_vocab, history, n_prompt, counts: SortedMap::default(), constraint: None })
    }

    /// Adds a rule about what may come next; it must stand where this sampler stands.
    pub fn with_constraint(mut self, constraint: Box<dyn Constraint>) -> Self {
        self.constraint = Some(constraint);
        self
    }

    pub(super) fn params(&self) -> &SamplingParams {
        &self.params
    }

    pub(super) fn choice(&self) -> u32 {
        self.choice
    }

    /// Tokens accepted so far: the position of the next draw.
    pub fn position(&self) -> usize {
        self.history.len() - self.n_prompt
    }

    /// How many of the best logits are enough for the next [`Self::sample`]; `None` where every logit is needed.
    ///
    /// Enough is k, the number of tokens that the first cut leaves (1 for greedy), and one more for each of the m tokens
    /// whose logit may be lowered. Proof: let L be the (k + m)-th best logit. Of the tokens at or over L, which are all
    /// known, at least k are not lowered. So when everything that lowers has been done, k known tokens are still at or over
    /// L, and every unknown one, which began below L and was not raised, is still below it: the k best, by logit and then by
    /// id, are known tokens. top_p, min_p, temperature and draw see only those. What raises a logit may raise an unknown
    /// one, a mask may forbid every known one, and the mass of top_p without top_k may need any number: these need all.
    pub fn wants(&self) -> Option<usize> {
        self.wants_all(0)
    }

    /// The same for each of the next samples, until `n_tokens` more have been accepted, whichever they are: each of them may be one
    /// more whose logit is lowered.
    pub fn wants_all(&self, n_tokens: usize) -> Option<usize> {
        let SamplingParams { temperature, top_k, repeat_penalty, frequency_penalty, presence_penalty, .. } =
            self.params;
        let raises = repeat_penalty < 1.0
            || frequency_penalty < 0.0
            || presence_penalty < 0.0
            || self.params.logit_bias.iter().any(|&(_, bias)| bias > 0.0);
        if raises || self.constraint.is_some() {
            return None;
        }
        let kept = match (temperature == 0.0, top_k as usize) {
            (true, _) => 1,
            (false, k) if k > 0 && k < self.n_vocab => k,
            // top_k is off.
            (false, _) => return None,
        };
        let n_more = if repeat_penalty != 1.0 || self.counts_matter() { n_tokens } else { 0 };
        let enough = kept.checked_add(self.n_lowered())?.checked_add(n_more).filter(|n| *n <= MAX_BEST)?;
        Some(enough.min(self.n_vocab))
    }

    /// Most tokens whose logits penalties and biases may lower.
    fn n_lowered(&self) -> usize {
        let SamplingParams { repeat_penalty, .. } = self.params;
        let window = if repeat_penalty == 1.0 { &[] } else { self.window() };
        let counts = if self.counts_matter() { self.counts.len() } else { 0 };
        if counts > MAX_BEST {
            return counts;
        }
        let biased = self.params.logit_bias.iter().map(|(token, _)| *token);
        let counted = self.counts.entries().iter().map(|(token, _)| *token).take(counts);
        let mut tokens: Vec<u32> = window.iter().copied().chain(counted).chain(biased).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens.len()
    }

    /// Chooses the next token; [`Self::accept`] makes it count. Refuses logits that are not finite, fewer of them than
    /// [`Self::wants`], and a mask that leaves nothing.
    pub fn sample(&mut self, scores: Scores<'_>, scratch: &mut Scratch) -> Result<u32> {
        match scores {
            Scores::All(logits) => self.sample_all(logits, scratch),
            Scores::Best(best) => self.sample_best(best, scratch),
        }
    }

    fn sample_all(&mut self, logits: &[f32], scratch: &mut Scratch) -> Result<u32> {
        if logits.len() != self.n_vocab {
            return Err(Error::internal(format!("{} logits for {} tokens", logits.len(), self.n_vocab)));
        }
        guard(logits)?;
        let Scratch { logits: adjusted, candidates, weights } = scratch;
        adjusted.clear();
        adjusted.extend_from_slice(logits);
        self.adjust(Adjusted::All(adjusted));
        if let Some(constraint) = &mut self.constraint {
            constraint.mask()?.apply(adjusted);
        }
        if self.params.temperature == 0.0 {
            return best(adjusted.iter().copied().zip(0..));
        }
        self.cut_all(adjusted, candidates)?;
        self.draw(candidates, weights)
    }

    fn sample_best(&mut self, found: Best<'_>, scratch: &mut Scratch) -> Result<u32> {
        let Scratch { candidates, weights, .. } = scratch;
        candidates.clear();
        candidates.extend_from_slice(found.candidates);
        candidates.sort_unstable_by_key(|c| c.id);
        self.check_best(&found, candidates)?;
        self.adjust(Adjusted::Best(candidates));
        if self.params.temperature == 0.0 {
            return best(candidates.iter().map(|c| (c.logit, c.id)));
        }
        candidates.sort_unstable_by(best_first);
        candidates.truncate(self.params.top_k as usize);
        let max = candidates.first().map_or(f32::NEG_INFINITY, |c| c.logit);
        self.cut(candidates, max, self.params.top_p < 1.0);
        self.draw(candidates, weights)
    }

    /// Whether these are tokens of the vocabulary, each once, and as many as are enough. by_id: the same in order of id.
    fn check_best(&self, found: &Best<'_>, by_id: &[Candidate]) -> Result<()> {
        found.guard()?;
        let wanted = self.wants().ok_or_else(|| Error::internal("the best logits where all are needed"))?;
        let in_vocabulary = by_id.last().is_some_and(|c| (c.id as usize) < self.n_vocab);
        if by_id.len() < wanted || !in_vocabulary || !by_id.is_sorted_by(|a, b| a.id < b.id) {
            let n = by_id.len();
            return Err(Error::internal(format!(
                "{n} best logits are not {wanted} different ones of {}",
                self.n_vocab
            )));
        }
        Ok(())
    }

    /// The token counts from now on: for penalties, for the constraint, for the position of the next draw.
    pub fn accept(&mut self, token: u32) -> Result<()> {
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.history.push(token);
        *self.counts.get_or_insert_with(token, || 0) += 1;
        Ok(())
    }

    /// Takes the last `n_tokens` accepted tokens back, as if they had never been.
    pub fn rollback(&mut self, n_tokens: usize) -> Result<()> {
        if n_tokens > self.position() {
            return Err(Error::internal(format!("rollback by {n_tokens} of {} tokens", self.position())));
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.rollback(n_tokens)?;
        }
        for token in self.history.drain(self.history.len() - n_tokens..) {
            if let Some(count) = self.counts.get_mut(&token) {
                *count -= 1;
            }
        }
        self.counts.retain(|_, count| *count > 0);
        Ok(())
    }

    /// Repeat penalty over the window, then frequency and presence penalties over what was generated, then biases. A token
    /// of the prompt may lie outside of a model's logits, and changes nothing.
    fn adjust(&self, mut logits: Adjusted<'_>) {
        let SamplingParams { repeat_penalty, frequency_penalty, presence_penalty, .. } = self.params;
        if repeat_penalty != 1.0 {
            let mut window = self.window().to_vec();
            window.sort_unstable();
            window.dedup();
            for token in window {
                logits.change(token, |l| if l > 0.0 { l / repeat_penalty } else { l * repeat_penalty });
            }
        }
        if self.counts_matter() {
            for &(token, count) in self.counts.entries() {
                logits.change(token, |l| l - (count as f32 * frequency_penalty + presence_penalty));
            }
        }
        for &(token, bias) in &self.params.logit_bias {
            logits.change(token, |l| l + bias);
        }
    }

    /// The tokens that the repeat penalty looks at.
    fn window(&self) -> &[u32] {
        &self.history[self.history.len().saturating_sub(REPEAT_WINDOW_TOKENS)..]
    }

    fn counts_matter(&self) -> bool {
        self.params.frequency_penalty != 0.0 || self.params.presence_penalty != 0.0
    }

    /// Fills `candidates` with what top_k, top_p and min_p leave of a vocabulary, by id.
    fn cut_all(&self, logits: &[f32], candidates: &mut Vec<Candidate>) -> Result<()> {
        let SamplingParams { top_k, top_p, .. } = self.params;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Err(nothing_left());
        }
        let by_count = top_k > 0 && (top_k as usize) < logits.len();
        match (by_count, top_p < 1.0) {
            (true, _) => candidates::best(logits, top_k as usize, candidates),
            (false, true) => candidates::nucleus(logits, max, top_p, candidates),
            (false, false) => candidates::all(logits, candidates),
        }
        self.cut(candidates, max, by_count && top_p < 1.0);
        Ok(())
    }

    /// What top_p (of candidates that are best first) and min_p leave, by id.
    fn cut(&self, candidates: &mut Vec<Candidate>, max: f32, by_mass: bool) {
        if by_mass {
            candidates::top_p(candidates, self.params.top_p);
        }
        candidates::min_p(candidates, max, self.params.min_p);
        candidates.sort_unstable_by_key(|c| c.id);
    }

    /// Draws from candidates (by id) in proportion to e^(logit / temperature).
    fn draw(&self, candidates: &[Candidate], weights: &mut Vec<f32>) -> Result<u32> {
        let max = candidates.iter().map(|c| c.logit).fold(f32::NEG_INFINITY, f32::max);
        let temperature = f64::from(self.params.temperature);
        // In f64, because a tiny temperature would overflow f32; what is below −∞ of f32 then is −∞, and weighs 0.
        let scaled = |c: &Candidate| ((f64::from(c.logit) - f64::from(max)) / temperature) as f32;
        weights.clear();
        weights.extend(candidates.iter().map(|c| exp_not_positive(scaled(c))));
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let wanted = draw::unit(self.params.seed, self.choice, self.position() as u64) * total;
        let mut mass = 0.0;
        let mut last = None;
        for (c, &weight) in candidates.iter().zip(weights.iter()) {
            mass += f64::from(weight);
            if weight > 0.0 {
                last = Some(c.id);
                if mass > wanted {
                    break;
                }
            }
        }
        last.ok_or_else(nothing_left)
    }
}

/// The best token, of equals the one with the lowest id. (logit, id), by id.
fn best(logits: impl Iterator<Item = (f32, u32)>) -> Result<u32> {
    let mut found = None;
    let mut max = f32::NEG_INFINITY;
    for (logit, id) in logits {
        if logit > max {
            (max, found) = (logit, Some(id));
        }
    }
    found.ok_or_else(nothing_left)
}

fn nothing_left() -> Error {
    Error::internal("the token mask allows no token at all")
}
