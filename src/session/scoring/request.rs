//! What is to be scored, and the checks that come before any work.

use crate::{
    error::{Error, Result},
    tokenizer::Tokenizer,
};

/// Most groups of a request.
pub const MAX_GROUPS: usize = 4096;
/// Most spans of a group.
pub const MAX_SPANS: usize = 4096;

/// Texts, and how probable the ends of them are.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreRequest {
    /// 1 to [`MAX_GROUPS`]. How they are grouped changes no bit on the CPU, only the work.
    pub groups: Vec<ScoreGroup>,
}

/// Spans that are computed together: the beginning that all of them have in common, once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreGroup {
    /// What an encoder-decoder reads; empty with other models.
    pub source: Vec<u32>,
    /// 1 to [`MAX_SPANS`].
    pub spans: Vec<Span>,
}

/// A text whose end is scored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Span {
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// The first that is scored. At least 1, but for an encoder-decoder, which has a token of its own to begin with.
    pub first: usize,
}

/// A group that is ready to be computed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) source: Vec<u32>,
    pub(super) spans: Vec<Span>,
    /// How many of the rows that are to be computed all spans have in common.
    pub(super) n_common: usize,
}

impl Span {
    /// The tokens that have to be computed: the last one is scored, and scores nothing.
    pub(super) fn rows(&self) -> &[u32] {
        self.tokens.split_last().map_or(&[], |(_, rows)| rows)
    }
}

impl Group {
    /// The rows that all spans have in common.
    pub(super) fn common(&self) -> &[u32] {
        self.spans.first().and_then(|span| span.rows().get(..self.n_common)).unwrap_or_default()
    }

    /// The first of the common rows whose logits some span wants.
    pub(super) fn first_wanted(&self) -> usize {
        self.spans.iter().map(|span| span.first - 1).min().unwrap_or(0)
    }
}

impl ScoreRequest {
    /// Checks everything that can be known before any work. `decoder_start`: of an encoder-decoder what every span begins with.
    pub(super) fn groups(
        self,
        tokenizer: &Tokenizer,
        context_tokens: usize,
        decoder_start: Option<u32>,
    ) -> Result<Vec<Group>> {
        let n = self.groups.len();
        if !(1..=MAX_GROUPS).contains(&n) {
            return refuse(format!("there are {n} groups, not 1 to {MAX_GROUPS}"));
        }
        let check = Check { n_vocab: tokenizer.n_vocab(), context_tokens, decoder_start };
        let mut groups = vec![];
        for (g, ScoreGroup { source, spans }) in self.groups.into_iter().enumerate() {
            let n = spans.len();
            if !(1..=MAX_SPANS).contains(&n) {
                return refuse(format!("group {g} has {n} spans, not 1 to {MAX_SPANS}"));
            }
            if decoder_start.is_some() == source.is_empty() {
                let has = if source.is_empty() { "nothing to read" } else { "a source, and this model has no encoder" };
                return refuse(format!("group {g} has {has}"));
            }
            check.tokens(&source, || format!("the source of group {g}"))?;
            let ready = |(s, span)| check.span(span, || format!("span {s} of group {g}"));
            let spans: Vec<Span> = spans.into_iter().enumerate().map(ready).collect::<Result<_>>()?;
            let n_common = common_rows(&spans);
            groups.push(Group { source, spans, n_common });
        }
        Ok(groups)
    }
}

struct Check {
    n_vocab: usize,
    context_tokens: usize,
    decoder_start: Option<u32>,
}

impl Check {
    fn tokens(&self, tokens: &[u32], what: impl Fn() -> String) -> Result<()> {
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.n_vocab) {
            return refuse(format!("{} has token {token} of a vocabulary of {}", what(), self.n_vocab));
        }
        if tokens.len() > self.context_tokens {
            let (requested_tokens, available_tokens) = (tokens.len(), self.context_tokens);
            return Err(Error::ContextOverflow { requested_tokens, available_tokens });
        }
        Ok(())
    }

    fn span(&self, mut span: Span, what: impl Fn() -> String) -> Result<Span> {
        if let Some(start) = self.decoder_start {
            span.tokens.insert(0, start);
            span.first = span.first.saturating_add(1);
        }
        self.tokens(&span.tokens, &what)?;
        if !(1..span.tokens.len()).contains(&span.first) {
            let begins = usize::from(self.decoder_start.is_some());
            let (first, n) = (span.first - span.first.min(begins), span.tokens.len() - begins);
            return refuse(format!("{} scores from token {first} of {n}", what()));
        }
        Ok(span)
    }
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::InvalidArgument { what })
}

/// How many rows at the beginning are the same in all spans.
fn common_rows(spans: &[Span]) -> usize {
    let Some((first, rest)) = spans.split_first() else { return 0 };
    let same = |span: &Span| first.rows().iter().zip(span.rows()).take_while(|(a, b)| a == b).count();
    rest.iter().map(same).min().unwrap_or(first.rows().len())
}
