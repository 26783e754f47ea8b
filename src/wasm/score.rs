//! Requests to score texts and what they give, as JavaScript writes them (`ScoreRequest` and the event `scored` in abi.ts).

use serde::{Deserialize, Serialize};

use super::types::whole;
use crate::{
    error::Result,
    session::{ScoreGroup, ScoreRequest, Scored, Span},
};

#[derive(Deserialize)]
pub(super) struct JsScoreRequest {
    groups: Vec<JsGroup>,
}

#[derive(Deserialize)]
struct JsGroup {
    source: Option<Vec<u32>>,
    spans: Vec<JsSpan>,
}

#[derive(Deserialize)]
struct JsSpan {
    tokens: Vec<u32>,
    first: f64,
}

impl JsScoreRequest {
    /// The session checks the ranges.
    pub(super) fn checked(self) -> Result<ScoreRequest> {
        let span = |JsSpan { tokens, first }| {
            Ok(Span { tokens, first: whole("first", first, 0, u64::from(u32::MAX))? as usize })
        };
        let group = |group: JsGroup| {
            let spans = group.spans.into_iter().map(span).collect::<Result<_>>()?;
            Ok(ScoreGroup { source: group.source.unwrap_or_default(), spans })
        };
        Ok(ScoreRequest { groups: self.groups.into_iter().map(group).collect::<Result<_>>()? })
    }
}

/// The fields of the event `scored`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsScored {
    group: usize,
    span: usize,
    logprobs: Vec<f64>,
    is_greedy: bool,
}

impl From<Scored> for JsScored {
    fn from(Scored { group, span, logprobs, is_greedy }: Scored) -> Self {
        Self { group, span, logprobs, is_greedy }
    }
}
