//! Requests to encoders and what they give, as JavaScript writes them (`EncodeRequest` and the event `output` in abi.ts).

use std::ops::Range;

use js_sys::{Float32Array, Int32Array, Uint32Array};
use serde::{Deserialize, Serialize};

use super::types::{Alternative, whole};
use crate::{
    arch::Task,
    error::{Error, Result},
    session::{EncodeRequest, Input, Output},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsEncodeRequest {
    task: String,
    inputs: Vec<JsInput>,
    dimensions: Option<f64>,
    candidates: f64,
    only: Option<Vec<u32>>,
}

/// Either tokens, or a text that may have another beside it.
#[derive(Deserialize)]
struct JsInput {
    text: Option<String>,
    pair: Option<String>,
    tokens: Option<Vec<u32>>,
}

impl JsEncodeRequest {
    /// The session checks the ranges.
    pub(super) fn checked(self) -> Result<EncodeRequest> {
        let count = |name: &str, n: f64| whole(name, n, 0, u64::from(u32::MAX)).map(|n| n as usize);
        let tasks = [Task::Embed, Task::FillMask, Task::Classify, Task::Label];
        let task = tasks.into_iter().find(|task| task.name() == self.task);
        let wrong = |what: String| Error::InvalidArgument { what };
        let input = |input: JsInput| match (input.text, input.pair, input.tokens) {
            (Some(text), None, None) => Ok(Input::Text(text)),
            (Some(text), Some(pair), None) => Ok(Input::Pair(text, pair)),
            (None, None, Some(tokens)) => Ok(Input::Tokens(tokens)),
            _ => Err(wrong("an input is neither text nor tokens".into())),
        };
        Ok(EncodeRequest {
            task: task.ok_or_else(|| wrong(format!("there is no task {:?}", self.task)))?,
            inputs: self.inputs.into_iter().map(input).collect::<Result<_>>()?,
            dimensions: self.dimensions.map(|n| count("dimensions", n)).transpose()?,
            n_candidates: count("candidates", self.candidates)?,
            only: self.only,
        })
    }
}

/// The fields of the event `output`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JsOutput {
    input: usize,
    token_count: usize,
    width: usize,
    #[serde(with = "serde_wasm_bindgen::preserve")]
    values: Float32Array,
    #[serde(with = "serde_wasm_bindgen::preserve")]
    ids: Uint32Array,
    /// Start and end of each token, -1 where they are not known.
    #[serde(with = "serde_wasm_bindgen::preserve")]
    places: Int32Array,
    candidates: Vec<Vec<Alternative>>,
}

impl From<Output> for JsOutput {
    fn from(output: Output) -> Self {
        let ends = |place: &Option<Range<usize>>| {
            place.as_ref().map_or([-1, -1], |place| [place.start as i32, place.end as i32])
        };
        let places: Vec<i32> = output.tokens.iter().flat_map(|token| ends(&token.place)).collect();
        let ids: Vec<u32> = output.tokens.iter().map(|token| token.id).collect();
        Self {
            input: output.input,
            token_count: output.n_tokens,
            width: output.width,
            values: Float32Array::from(&output.values[..]),
            ids: Uint32Array::from(&ids[..]),
            places: Int32Array::from(&places[..]),
            candidates: output.candidates.into_iter().map(|c| c.into_iter().map(Into::into).collect()).collect(),
        }
    }
}
