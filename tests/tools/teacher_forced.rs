//! How near an executor's log-probabilities are to those of HF transformers' f32 model, beside llama.cpp's:
//! `cargo run --example teacher_forced -- <SmolLM2-135M-Instruct.Q4_1.gguf> [cpu | reference]`. A measurement for `build.sh soak`: fails
//! where the bounds of `common::teacher_forced` are not met.

#[path = "../common/mod.rs"]
mod common;

use std::{fs::File, process::ExitCode};

use common::{
    runner::{MAX_ROWS, Runner, argmax, log_sum_exp},
    teacher_forced::{Judgement, Other, Prompt, TeacherForced},
};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    error::Result,
    kv::KvFormat,
    plan::Executor,
    reference::Reference,
};

const CONTEXT_TOKENS: usize = 256;

fn main() -> std::result::Result<ExitCode, Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: teacher_forced <model.gguf> [cpu | reference]")?;
    let executor = args.next().unwrap_or("cpu".into());
    let (file, golden) = (File::open(path)?, TeacherForced::golden());
    let others = match executor.as_str() {
        "cpu" => {
            let runner =
                Runner::load(file, KvFormat::F16, CONTEXT_TOKENS, |geometry| Cpu::new(geometry, Pool::new(2)))?;
            follow_all(runner, &golden)?
        }
        "reference" => {
            let runner = Runner::load(file, KvFormat::F16, CONTEXT_TOKENS, |geometry| Ok(Reference::new(geometry)))?;
            follow_all(runner, &golden)?
        }
        other => return Err(format!("no executor {other}").into()),
    };
    let judgement = golden.judge(&others);
    print(&executor, &judgement);
    print("llama.cpp", &golden.judge(golden.prompts.iter().map(|p| &p.llama_cpp)));
    Ok(if judgement.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn follow_all<E: Executor>(mut runner: Runner<E>, golden: &TeacherForced) -> Result<Vec<Other>> {
    golden.prompts.iter().map(|prompt| follow(&mut runner, prompt)).collect()
}

/// What the executor says of each token of the continuation.
fn follow<E: Executor>(runner: &mut Runner<E>, prompt: &Prompt) -> Result<Other> {
    let (n, mut ids) = (prompt.tokens.len(), prompt.prompt.clone());
    ids.extend(&prompt.tokens[..n - 1]);
    runner.truncate(0);
    let rows = runner.append_tail(&ids, MAX_ROWS, n)?;
    let logprob = |(row, token): (&Vec<f32>, &u32)| f64::from(row[*token as usize]) - log_sum_exp(row);
    Ok(Other {
        logprob: rows.iter().zip(&prompt.tokens).map(logprob).collect(),
        best: rows.iter().map(|row| argmax(row)).collect(),
    })
}

fn print(name: &str, j: &Judgement) {
    let (positions, clear) = (j.positions, j.clear_positions);
    println!("{name}: mean |Δ log p| {:.5}, largest {:.4}", j.mean_difference, j.largest_difference);
    println!(
        "  other best token at {} of {positions} positions, at {} of the {clear} clear ones",
        j.other_best,
        j.wrong.len()
    );
    for (prompt, position, gap) in &j.wrong {
        println!("  prompt {prompt}, position {position}: the reference's two best logits are {gap:.3} apart");
    }
}
