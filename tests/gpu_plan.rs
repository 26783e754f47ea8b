//! What plans become on the GPU: which dispatches, how many of them per layer. The text is stored; DESIGN's budget is checked.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use common::{
    decoders::decoders,
    gpu::context,
    llama_model::{llama_model, smollm2_135m},
    parse::parse,
    tiny_llama::TinyConfig,
};
use kinglet::{
    arch::{Model, Task},
    gpu::{
        Gpu, Request,
        dispatch::{Dispatch, Extent, Lowered, Parts},
        shader::Kernel,
    },
    kv::KvFormat,
    plan::{Executor, NormKind, Op, Plan, RowBound, Rows},
    quant::Format,
    session::{CHUNK_ROWS, FEW_ROWS, Plans},
};

/// The most dispatches of a Llama's layer in a step of one row.
const MOST_PER_LAYER: usize = 8;
/// The most dispatches outside the layers for a token that is taken ahead.
const MOST_OUTSIDE: usize = 2;

fn lowered(model: &Model, bound: RowBound, max_outputs: usize) -> (Plan, Lowered) {
    let request = Request { without_subgroups: true, ..Request::default() };
    let mut gpu = Gpu::new(context(&request), model.kv_geometry(KvFormat::F16));
    for id in model.used_weights().unwrap() {
        gpu.create_weight(id, model.weights.spec(id)).unwrap();
    }
    let slot = gpu.prepare(Arc::new(model.plan(Task::Generate, bound, max_outputs).unwrap())).unwrap();
    (gpu.plan(slot).unwrap().clone(), gpu.lowered(slot).unwrap().clone())
}

/// The layer of a dispatch, by the names of what its operation writes, or by its cache.
fn layer(plan: &Plan, dispatch: &Dispatch) -> Option<usize> {
    let op = &plan.ops[dispatch.op];
    let names = op.writes().into_iter().map(|id| &plan.buffers[id.0 as usize].name);
    let of_name = |name: &String| name.strip_prefix("blk.")?.split('.').next()?.parse().ok();
    names.filter_map(of_name).next().or(op.cache_layer())
}

/// Dispatches of each layer, and how many of them there are only where what a row sees is cut into parts.
fn layer_counts(plan: &Plan, lowered: &Lowered) -> Vec<[usize; 2]> {
    let mut counts = vec![];
    for dispatch in &lowered.dispatches {
        let Some(layer) = layer(plan, dispatch) else { continue };
        let is_for_parts = matches!(dispatch.grid[0], Extent::IfParts(..));
        counts.resize(counts.len().max(layer + 1), [0; 2]);
        counts[layer][usize::from(is_for_parts)] += 1;
    }
    counts
}

/// `5`, or `5 + 1` with what parts need.
fn shown([always, for_parts]: [usize; 2]) -> String {
    if for_parts == 0 { always.to_string() } else { format!("{always} + {for_parts}") }
}

/// Dispatches outside the layers: of a step, but for those that find the best logits, and of one behind another in a run, all.
fn outside(plan: &Plan, lowered: &Lowered) -> [usize; 2] {
    let is_outside = |d: &&Dispatch| d.shader.kernel == Kernel::Choose || layer(plan, d).is_none();
    [lowered.dispatches.iter().filter(is_outside).count(), lowered.ahead().filter(is_outside).count()]
}

/// One line per dispatch; only the first layer is written out.
fn text(plan: &Plan, lowered: &Lowered) -> String {
    let mut text = format!("{}\n", plan.name);
    let mut line = |dispatch: &Dispatch, what: &str| {
        let writes = plan.ops[dispatch.op].writes();
        let names: Vec<&str> = writes.iter().map(|id| plan.buffers[id.0 as usize].name.as_str()).collect();
        writeln!(text, "  {}{what}: {} {:?}", names.join(", "), dispatch.shader.label(), dispatch.grid).unwrap();
    };
    let first = lowered.dispatches.iter().filter(|d| layer(plan, d).is_none_or(|layer| layer == 0));
    first.for_each(|d| line(d, ""));
    lowered.best.iter().for_each(|d| line(d, " (best)"));
    lowered.choose.iter().for_each(|d| line(d, " (choose)"));
    let counts = layer_counts(plan, lowered);
    let [outside, ahead] = outside(plan, lowered);
    assert!(counts.iter().all(|n| *n == counts[0]), "layers differ: {counts:?}");
    let n_layers = counts.len();
    writeln!(
        text,
        "{} dispatches in each of {n_layers} layers, {outside} outside, {} for the best logits; in a run {ahead} outside",
        shown(counts[0]),
        lowered.best.len()
    )
    .unwrap();
    text
}

#[test]
fn dispatches_are_as_they_were() {
    let model = llama_model(&smollm2_135m());
    for (name, bound, outputs) in
        [("one", RowBound::One, 1), ("few", RowBound::UpTo(8), 8), ("chunk", RowBound::UpTo(64), 1)]
    {
        let (plan, lowered) = lowered(&model, bound, outputs);
        insta::assert_snapshot!(format!("smollm2_135m_{name}"), text(&plan, &lowered));
    }
}

/// Of a step of one row, and of one that verifies guesses, by tiny models: how many there are does not depend on sizes. Rows that see each
/// other have to be appended first, which is the only dispatch more that several rows take.
#[test]
fn dispatches_of_every_family_are_as_they_were() {
    let (mut one, mut few) = (String::new(), String::new());
    let shown = |counts: &[[usize; 2]]| counts.iter().copied().map(shown).collect::<Vec<_>>().join(", ");
    for decoder in decoders() {
        let model = Model::from_header(&parse(decoder.file).unwrap().header).unwrap();
        let (plan, alone) = lowered(&model, RowBound::One, 1);
        let counts = layer_counts(&plan, &alone);
        let [n_outside, ahead] = outside(&plan, &alone);
        let line = format!("{} in its layers, {n_outside} outside", shown(&counts));
        writeln!(one, "{}: {line}, in a run {ahead}", decoder.name).unwrap();
        let (plan, together) = lowered(&model, RowBound::UpTo(FEW_ROWS), FEW_ROWS);
        let few_counts = layer_counts(&plan, &together);
        let [n_outside, _] = outside(&plan, &together);
        writeln!(few, "{}: {} in its layers, {n_outside} outside", decoder.name, shown(&few_counts)).unwrap();
        for ([few, few_parts], [one, one_parts]) in few_counts.into_iter().zip(counts) {
            assert!(few <= one + 1 && few_parts == one_parts, "{}: {few}, one row has {one}", decoder.name);
        }
    }
    insta::assert_snapshot!("families_one", one);
    insta::assert_snapshot!("families_few", few);
}

/// The device is checked when a model is loaded, and the plan that scores is prepared later.
#[test]
fn scoring_takes_no_kernel_that_was_not_checked() {
    let mixed = TinyConfig { format: Format::Q4_0, head_format: Some(Format::Q8_0), ..TinyConfig::default() };
    let of_family = |file| Model::from_header(&parse(file).unwrap().header).unwrap();
    let models = decoders().into_iter().map(|decoder| of_family(decoder.file)).chain([llama_model(&mixed)]);
    for model in models {
        let kernels = |bound, max_outputs| {
            let (_, lowered) = lowered(&model, bound, max_outputs);
            lowered.dispatches.iter().map(|d| d.shader.label()).collect::<BTreeSet<_>>()
        };
        let mut checked = kernels(RowBound::One, 1);
        checked.append(&mut kernels(RowBound::UpTo(FEW_ROWS), FEW_ROWS));
        checked.append(&mut kernels(RowBound::UpTo(CHUNK_ROWS), 1));
        let plans = Plans::of(&model, 64, true).unwrap();
        let scores = kernels(plans.score.rows, plans.score.max_outputs);
        assert!(scores.is_subset(&checked), "{:?}", scores.difference(&checked).collect::<Vec<_>>());
    }
}

/// As shaders/attention.wgsl cuts them.
#[test]
fn parts_are_whole_and_none_is_empty() {
    for (len, window) in [(256, u32::MAX), (256, 4096), (32, 70), (1, u32::MAX)] {
        for n_positions in (1..3000).chain([1 << 17, (1 << 17) + 1]) {
            let n_seen = (n_positions as u32).min(window);
            let n_parts = Parts { len, window }.of(n_positions);
            assert!((1..=Parts::MOST).contains(&n_parts));
            assert!(n_parts == 1 || n_parts * len <= n_seen, "shorter than wanted");
            let part_len = n_seen.div_ceil(n_parts);
            assert!(len < 256 || (n_parts - 1) * part_len < n_seen, "{n_parts} parts of {part_len} for {n_seen}");
        }
    }
}

#[test]
fn a_layer_stays_within_its_budget() {
    let one_row = |config: &TinyConfig| {
        let (plan, lowered) = lowered(&llama_model(config), RowBound::One, 1);
        layer_counts(&plan, &lowered)
    };
    for biases in [false, true] {
        for rope_freqs in [false, true] {
            let counts = one_row(&TinyConfig { biases, rope_freqs, ..TinyConfig::default() });
            assert!(counts.iter().all(|[always, for_parts]| always + for_parts <= MOST_PER_LAYER), "{counts:?}");
        }
    }
    assert_eq!(one_row(&smollm2_135m()), [[5, 1]; 30]);
}

/// Of every family whose last norm is folded into the product behind it. The others have that norm; GPT-2 a table of positions too.
#[test]
fn two_dispatches_are_outside_the_layers_of_a_token_that_is_taken_ahead() {
    for decoder in decoders() {
        let model = Model::from_header(&parse(decoder.file).unwrap().header).unwrap();
        let (plan, lowered) = lowered(&model, RowBound::One, 1);
        let is_more = |op: &Op| {
            matches!(op, Op::AddRow { .. })
                || matches!(op, Op::MatMul(m) if plan.buffers[m.x.0 as usize].rows == Rows::Out
                    && m.norm.is_some_and(|norm| norm.kind == NormKind::Layer))
        };
        let n_more = plan.ops.iter().filter(|op| is_more(op)).count();
        let [_, ahead] = outside(&plan, &lowered);
        assert!(ahead <= MOST_OUTSIDE + n_more, "{}: {ahead}", decoder.name);
    }
}
