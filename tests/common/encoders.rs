//! Random encoders of every family and head with what HF transformers gives (tests/golden/make_encoders.py), and the running of
//! requests to them.

use std::{collections::BTreeMap, ops::Range};

use kinglet::{
    arch::Task,
    error::Result,
    plan::Signal,
    session::{EncodeRequest, Event, Input, Output, Session, TopLogprob, Usage},
};
use serde::Deserialize;

use super::{gguf_builder::GgufBuilder, parse::parse};

#[derive(Deserialize)]
struct GoldenJson {
    tasks: BTreeMap<String, Vec<CaseJson>>,
}

#[derive(Deserialize)]
struct CaseJson {
    text: TextJson,
    ids: Vec<u32>,
    kinds: Vec<u32>,
    width: usize,
    rows: String,
    #[serde(default)]
    offsets: Vec<[usize; 2]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TextJson {
    One(String),
    Pair(String, String),
}

/// A text and what becomes of it.
pub struct Case {
    pub input: Input,
    pub ids: Vec<u32>,
    /// First token of the second text.
    pub second: usize,
    /// [rows, width]
    pub rows: Vec<Vec<f32>>,
    /// With labels: the characters of each row's token.
    pub offsets: Vec<Range<usize>>,
}

pub struct EncoderGolden {
    pub name: &'static str,
    pub file: &'static [u8],
    pub tasks: Vec<(Task, Vec<Case>)>,
}

/// Every file.
pub fn encoder_goldens() -> Vec<EncoderGolden> {
    macro_rules! golden {
        ($name:literal) => {
            golden(
                $name,
                include_bytes!(concat!("../golden/encoders/", $name, ".gguf")),
                include_str!(concat!("../golden/encoders/", $name, ".json")),
            )
        };
    }
    vec![
        golden!("bert"),
        golden!("bert-tokens"),
        golden!("distilbert"),
        golden!("distilbert-tokens"),
        golden!("modern-bert"),
        golden!("modern-bert-tokens"),
        golden!("nomic-bert"),
        golden!("nomic-bert-tokens"),
    ]
}

/// The one with this name.
pub fn encoder_golden(name: &str) -> EncoderGolden {
    encoder_goldens().into_iter().find(|golden| golden.name == name).expect("a golden")
}

fn golden(name: &'static str, file: &'static [u8], json: &str) -> EncoderGolden {
    let golden: GoldenJson = serde_json::from_str(json).expect("a well-formed golden");
    let tasks = [Task::Embed, Task::FillMask, Task::Classify, Task::Label].into_iter();
    let tasks = tasks.filter_map(|task| Some((task, golden.tasks.get(task.name())?)));
    let tasks = tasks.map(|(task, cases)| (task, cases.iter().map(case).collect())).collect();
    EncoderGolden { name, file, tasks }
}

fn case(json: &CaseJson) -> Case {
    let number = |i: usize| u32::from_str_radix(&json.rows[i..i + 8], 16).expect("hexadecimal").swap_bytes();
    let flat: Vec<f32> = (0..json.rows.len()).step_by(8).map(|i| f32::from_bits(number(i))).collect();
    Case {
        input: match &json.text {
            TextJson::One(text) => Input::Text(text.clone()),
            TextJson::Pair(first, second) => Input::Pair(first.clone(), second.clone()),
        },
        ids: json.ids.clone(),
        second: json.kinds.iter().position(|kind| *kind == 1).unwrap_or(json.ids.len()),
        rows: flat.chunks(json.width).map(<[f32]>::to_vec).collect(),
        offsets: json.offsets.iter().map(|[start, end]| *start..*end).collect(),
    }
}

/// A request of every number and token there is.
pub fn encode_request(task: Task, inputs: Vec<Input>) -> EncodeRequest {
    EncodeRequest { task, inputs, dimensions: None, n_candidates: 1000, only: None }
}

/// Runs a request to its end, `max_ops` operations at a time.
pub fn encode(session: &mut Session, request: &EncodeRequest, max_ops: usize) -> Result<(Vec<Output>, Usage)> {
    encode_elsewhere(session, request, max_ops, |_| panic!("there is nothing to wait for"))
}

/// The same where `wait` has to wait for the device.
pub fn encode_elsewhere(
    session: &mut Session,
    request: &EncodeRequest,
    max_ops: usize,
    mut wait: impl FnMut(Signal),
) -> Result<(Vec<Output>, Usage)> {
    session.encode(request.clone())?;
    let mut outputs = vec![];
    loop {
        assert!(session.is_busy());
        for event in session.advance(max_ops)? {
            match event {
                Event::Output(output) => {
                    assert_eq!(output.input, outputs.len(), "outputs come in order");
                    outputs.push(output);
                }
                Event::End(usage) => {
                    assert!(!session.is_busy());
                    assert_eq!(outputs.len(), request.inputs.len());
                    assert_eq!(session.advance(1)?, []);
                    return Ok((outputs, usage));
                }
                other => panic!("{other:?} from an encoder"),
            }
        }
        session.waiting().into_iter().for_each(&mut wait);
    }
}

/// What the cases begin with.
pub fn inputs(cases: &[Case]) -> Vec<Input> {
    cases.iter().map(|case| case.input.clone()).collect()
}

/// What an output says in the form of the golden's rows: an embedding of its own length, logits less their log-sum.
pub fn expected(task: Task, row: &[f32]) -> Vec<f32> {
    match task {
        Task::Embed => {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|x| (f64::from(*x) / length) as f32).collect()
        }
        Task::FillMask => {
            let top = row.iter().copied().fold(f32::MIN, f32::max);
            let sum = top + row.iter().map(|x| f64::from(x - top).exp()).sum::<f64>().ln() as f32;
            row.iter().map(|x| x - sum).collect()
        }
        _ => row.to_vec(),
    }
}

/// The rows of an output.
pub fn rows(task: Task, output: &Output) -> Vec<Vec<f32>> {
    if task != Task::FillMask {
        return output.values.chunks(output.width).map(<[f32]>::to_vec).collect();
    }
    let row = |mask: &Vec<TopLogprob>| {
        assert!(mask.is_sorted_by(|a, b| a.logprob >= b.logprob), "the best come first");
        let mut row = vec![f32::NAN; mask.len()];
        mask.iter().for_each(|c| row[c.id as usize] = c.logprob as f32);
        row
    };
    output.candidates.iter().map(row).collect()
}

/// The largest number of a task's outputs: a ranker's one logit may be near 0.
pub fn largest(task: Task, cases: &[Case]) -> f32 {
    let rows = cases.iter().flat_map(|case| &case.rows);
    rows.flat_map(|row| expected(task, row)).fold(0.0, |a, x| a.max(x.abs()))
}

/// The largest difference as a part of that.
pub fn difference(task: Task, output: &Output, case: &Case, largest: f32) -> f32 {
    let (found, expected): (Vec<_>, Vec<_>) =
        (rows(task, output), case.rows.iter().map(|row| expected(task, row)).collect());
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let worst = pairs.fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()));
    assert!(found.iter().flatten().all(|x| x.is_finite()));
    worst / largest
}

/// A file that can be changed.
pub fn rebuilt(file: &[u8]) -> GgufBuilder {
    let parsed = parse(file).expect("a well-formed file");
    let mut builder = GgufBuilder::new();
    for (key, value) in parsed.header.metadata.iter() {
        builder = builder.kv(key, value.clone());
    }
    for (info, data) in parsed.header.tensors.iter().zip(parsed.data) {
        builder = builder.tensor(&info.name, &info.shape, info.format, data);
    }
    builder
}
