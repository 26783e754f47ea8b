//! Every intermediate activation of gpt-nano-sort against its author's:
//! `cargo run --example activations -- <gpt_nano_sort.gguf> <gpt_nano_sort.json> [reference | cpu | gpu]`, files of
//! tests/measure/make_gpt_nano_sort.py. Fails where one differs by more than [`BOUND`], of the plan as the architecture records it,
//! with every buffer tapped, and of the fused plan, with every buffer that it still writes; all tokens at once and one by one.
//! Attention never writes its scores and probabilities: those are what attention gives of the model's queries and keys where the
//! values of position j are 1 in place j (`probe`).

#[cfg(not(target_arch = "wasm32"))]
#[path = "../common/mod.rs"]
mod common;

#[cfg(target_arch = "wasm32")]
fn main() {}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    native::main()
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

    use super::common::{golden::float_rows, gpu::context, runner::Runner};
    use kinglet::{
        arch::Task,
        cpu::{Cpu, pool::Pool},
        error::Result,
        gguf::{Header, Metadata, TensorInfo},
        gpu::{Gpu, Request},
        kv::{KvFormat, KvGeometry, PageId},
        plan::{AttentionSpec, BufferId, Builder, Executor, Plan, Progress, Row, RowBound, Step, Want, fuse},
        quant::Format,
        reference::Reference,
        sample::{LogProbs, Scores},
        weights::Weights,
    };
    use serde::Deserialize;

    /// How far an activation may be from its author's, absolute. They reach 8.4.
    const BOUND: f32 = 1e-4;
    /// The activations' names, and those of the buffers that hold them, beside each other.
    const BUFFERS: [(&str, &[&str]); 20] = [
        ("tok_emb", &["embd"]),
        ("x", &["positioned"]),
        ("ln1", &["blk.0.attn_norm"]),
        ("qkv", &["blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v"]),
        ("q", &["blk.0.attn_q"]),
        ("k", &["blk.0.attn_k"]),
        ("v", &["blk.0.attn_v"]),
        ("y", &["blk.0.attn"]),
        ("yProj", &["blk.0.attn_output"]),
        ("attnResid", &["blk.0.attn_residual"]),
        ("ln2", &["blk.0.ffn_norm"]),
        ("fc", &["blk.0.ffn_up"]),
        ("gelu", &["blk.0.ffn_act"]),
        ("mlp", &["blk.0.ffn_down"]),
        ("mlpResid", &["blk.0.ffn_residual"]),
        ("block0", &["blk.0.ffn_residual"]),
        ("block1", &["blk.1.ffn_residual"]),
        ("block2", &["blk.2.ffn_residual"]),
        ("ln_f", &["output_norm"]),
        ("lm_head", &["logits"]),
    ];

    #[derive(Deserialize)]
    struct GoldenJson {
        tokens: Vec<Vec<u32>>,
        activations: BTreeMap<String, ActivationJson>,
    }

    #[derive(Deserialize)]
    struct ActivationJson {
        width: usize,
        rows: String,
    }

    /// Rows of [sequence, token], by name.
    type Activations = BTreeMap<String, Rows>;
    type Rows = Vec<Vec<f32>>;

    struct Golden {
        tokens: Vec<Vec<u32>>,
        activations: Activations,
    }

    pub(super) fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
        let mut args = std::env::args().skip(1);
        let (Some(model), Some(golden)) = (args.next(), args.next()) else {
            return Err("usage: activations <model.gguf> <golden.json> [reference | cpu | gpu]".into());
        };
        let GoldenJson { tokens, activations } = serde_json::from_str(&std::fs::read_to_string(golden)?)?;
        let activations = activations.into_iter().map(|(name, a)| (name, float_rows(&a.rows, a.width))).collect();
        let golden = Golden { tokens, activations };
        let model = std::fs::read(model)?;
        let all_near = match args.next().as_deref() {
            None | Some("reference") => check(&model, &golden, |geometry| Ok(Reference::new(geometry)))?,
            Some("cpu") => check(&model, &golden, |geometry| Cpu::new(geometry, Pool::new(2)))?,
            Some("gpu") => {
                let context = context(&Request::default());
                check(&model, &golden, |geometry| Ok(Gpu::new(context.clone(), geometry)))?
            }
            Some(other) => return Err(format!("no executor {other}").into()),
        };
        Ok(if all_near { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Prints the largest difference of each activation; whether all are within the bound.
    fn check<E: Executor>(model: &[u8], golden: &Golden, new: impl Fn(KvGeometry) -> Result<E>) -> Result<bool> {
        let (n, length) = (golden.tokens.len(), golden.tokens[0].len());
        let mut runner = Runner::load(model, KvFormat::F32, length, &new)?;
        runner.executor.kv_reserve(n)?;
        let mut all_near = true;
        for is_fused in [false, true] {
            let mut plan = runner.model.unfused_plan(Task::Generate, RowBound::UpTo(n * length), n * length)?;
            if is_fused {
                plan = fuse::fuse(plan, fuse::Rule::ALL);
            }
            let names: Vec<String> = plan.buffers.iter().map(|b| b.name.clone()).collect();
            let taps: Vec<(String, BufferId)> =
                names.into_iter().filter_map(|name| plan.tap(&name).ok().map(|id| (name, id))).collect();
            for tokens_at_once in [length, 1] {
                let found = activations(&mut runner.executor, &plan, &taps, &golden.tokens, tokens_at_once)?;
                let mut found = named(&found)?;
                if let (Some(q), Some(k)) = (found.get("q"), found.get("k")) {
                    let k_heads = runner.model.hyper.n_head_kv;
                    let (scores, probabilities) = probe(&new, q, k, k_heads, &golden.tokens)?;
                    found.extend([("att".into(), scores), ("attSm".into(), probabilities)]);
                }
                let kind = if is_fused { "fused" } else { "as recorded" };
                println!("{kind}, {} operations, {tokens_at_once} tokens of each of {n} at once:", plan.ops.len());
                all_near &= compare(&found, &golden.activations, length, !is_fused);
            }
        }
        Ok(all_near)
    }

    /// Every tapped buffer of sequences that grow by so many tokens in a step.
    fn activations(
        executor: &mut impl Executor,
        plan: &Plan,
        taps: &[(String, BufferId)],
        sequences: &[Vec<u32>],
        tokens_at_once: usize,
    ) -> Result<Activations> {
        let slot = executor.prepare(Arc::new(plan.clone()))?;
        let length = sequences[0].len();
        let pages: Vec<[PageId; 1]> = (0..sequences.len() as u32).rev().map(|page| [PageId(page)]).collect();
        let pages: Vec<&[PageId]> = pages.iter().map(|pages| &pages[..]).collect();
        let mut found: Activations =
            taps.iter().map(|(name, _)| (name.clone(), vec![vec![]; sequences.len() * length])).collect();
        for first in (0..length).step_by(tokens_at_once) {
            let places: Vec<(usize, usize)> =
                (0..sequences.len()).flat_map(|s| (first..first + tokens_at_once).map(move |p| (s, p))).collect();
            let rows: Vec<Row> =
                places.iter().map(|(s, p)| Row::token(sequences[*s][*p], *p as u32, *s as u32)).collect();
            let outputs: Vec<u32> = (0..rows.len() as u32).collect();
            let step = Step {
                rows: &rows,
                outputs: &outputs,
                sequences: &pages,
                memories: &[],
                embeddings: &[],
                want: Want::All,
            };
            executor.begin(slot, &step)?;
            while executor.advance(7)? != Progress::Complete {
                std::thread::yield_now();
            }
            for (name, id) in taps {
                let width = plan.buffers[id.0 as usize].width;
                let values = executor.tap(*id)?;
                for ((s, p), row) in places.iter().zip(values.chunks(width)) {
                    found.get_mut(name).expect("a place")[s * length + p] = row.to_vec();
                }
            }
        }
        Ok(found)
    }

    /// The activations by their author's names, and what the sampler makes of the logits.
    fn named(buffers: &Activations) -> Result<Activations> {
        let mut named = Activations::new();
        for (name, parts) in BUFFERS {
            let parts: Option<Vec<&Vec<Vec<f32>>>> = parts.iter().map(|part| buffers.get(*part)).collect();
            let Some(parts) = parts else { continue };
            let row = |i: usize| parts.iter().flat_map(|part| part[i].iter().copied()).collect();
            named.insert(name.into(), (0..parts[0].len()).map(row).collect());
        }
        let mut probabilities = vec![];
        for logits in &buffers["logits"] {
            let all = LogProbs::of(Scores::All(logits))?;
            let each = (0..logits.len() as u32).map(|token| Ok(all.get(token)?.exp() as f32));
            probabilities.push(each.collect::<Result<Vec<f32>>>()?);
        }
        named.insert("probs".into(), probabilities);
        Ok(named)
    }

    /// Scores less the row's own, and probabilities, [heads · positions] for each row, of an executor's attention over queries and
    /// keys of a model.
    fn probe<E: Executor>(
        new: impl Fn(KvGeometry) -> Result<E>,
        q: &[Vec<f32>],
        k: &[Vec<f32>],
        heads: usize,
        sequences: &[Vec<u32>],
    ) -> Result<(Rows, Rows)> {
        let (n, width, length) = (q.len(), q[0].len(), sequences[0].len());
        let size = width / heads;
        assert!(length <= size, "a place for each position");
        let one_hot = |i: usize| (0..width).map(move |at| f32::from(u8::from(at % size == i % length)));
        let v: Vec<Vec<f32>> = (0..n).map(|i| one_hot(i).collect()).collect();
        let tensor = |name: &str| TensorInfo {
            name: name.into(),
            shape: vec![n, width],
            format: Format::F32,
            offset: 0,
            n_bytes: (n * width * 4) as u64,
        };
        let header = Header {
            version: 3,
            metadata: Metadata::default(),
            tensors: ["q", "k", "v"].map(tensor).to_vec(),
            alignment: 32,
            data_offset: 0,
            end_offset: 0,
            fingerprint: 0,
        };
        let weights = Weights::from_header(&header);
        let mut b = Builder::new("attention", &weights, RowBound::UpTo(n), n);
        let [q_rows, k_rows, v_rows] = ["q", "k", "v"].map(|name| b.weight(name, &[n, width]).expect("a table"));
        let [q_rows, k_rows, v_rows] = [q_rows, k_rows, v_rows].map(|table| b.embed(table, 1.0));
        b.kv_write(0, k_rows, v_rows);
        let attended = b.attention("attended", q_rows, AttentionSpec::causal(0, heads, heads, size));
        let selected = b.select_rows("selected", attended);
        let mut plan = b.finish(selected);
        let taps = [("attended".into(), plan.tap("attended")?)];
        let mut executor = new(KvGeometry { layers: 1, kv_heads: heads, head_size: size, format: KvFormat::F32 })?;
        for ((id, spec), rows) in weights.iter().zip([q, k, &v]) {
            executor.create_weight(id, spec)?;
            let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
            executor.write_weight(id, &bytes)?;
        }
        executor.kv_reserve(sequences.len())?;
        // The tables' rows, in place of tokens.
        let rows: Vec<Vec<u32>> = (0..n as u32).collect::<Vec<u32>>().chunks(length).map(<[u32]>::to_vec).collect();
        let attended = &activations(&mut executor, &plan, &taps, &rows, length)?["attended"];
        let places = |row: &[f32]| row.chunks(size).flat_map(|head| head[..length].to_vec()).collect::<Vec<f32>>();
        let probabilities: Vec<Vec<f32>> = attended.iter().map(|row| places(row)).collect();
        let scores = probabilities.iter().map(|row| relative(row.iter().map(|p| p.ln()).collect(), length)).collect();
        Ok((scores, probabilities))
    }

    /// What of each head's scores an attention can tell: the distances to the largest. Of what a row may not see, nothing.
    fn relative(mut scores: Vec<f32>, length: usize) -> Vec<f32> {
        for head in scores.chunks_mut(length) {
            let largest = head.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            head.iter_mut().for_each(|x| *x -= largest);
        }
        scores
    }

    /// Prints the distances; whether all are within the bound, and all there where they must be.
    fn compare(found: &Activations, golden: &Activations, length: usize, needs_all: bool) -> bool {
        let mut all_near = true;
        for (name, expected) in golden {
            let Some(found) = found.get(name) else {
                println!("  {name}: not written");
                all_near &= !needs_all;
                continue;
            };
            let expected: Vec<Vec<f32>> = match name.as_str() {
                "att" => expected.iter().map(|row| relative(row.clone(), length)).collect(),
                _ => expected.clone(),
            };
            let shape = |rows: &[Vec<f32>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(shape(found), shape(&expected), "{name}");
            // −∞ is −∞: what a row may not see.
            let distance = |(x, y): (&f32, &f32)| if x == y { 0.0 } else { (x - y).abs() };
            let pairs = found.iter().flatten().zip(expected.iter().flatten());
            let d = pairs.map(distance).fold(0.0_f32, |a, d| if d <= a { a } else { d });
            let is_near = d <= BOUND;
            all_near &= is_near;
            println!("  {name}: {d:.1e}{}", if is_near { "" } else { " is too far" });
        }
        all_near
    }
}
