//! What a token reads on the GPU: every weight once, and of tables that tokens are looked up in one row. Counted from the dispatches of a
//! step behind another in a run, by what each is told about its matrix; without a clock, so it holds for any GPU. The figures are stored.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{fmt::Write, sync::Arc};

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
        dispatch::{Counts, Dispatch, Lowered, Operand},
        shader::Kernel,
    },
    kv::{KvFormat, PAGE_POSITIONS},
    plan::{Executor, Op, Plan, RowBound},
    quant::Format,
    session::FEW_ROWS,
    weights::{WeightId, WeightSpec},
};

/// Bytes of weights read for a token over those of the tensors that it needs in the file.
const MOST: f64 = 1.02;
/// The same of a model all of one format: planes that are aligned have words where the file has nibbles (Q4_K, Q5_K, Q3_K, IQ4_XS).
const MOST_OF_FORMAT: f64 = 1.06;
/// Which is unpacked to two bits per weight.
const UNPACKED: Format = Format::TQ1_0;

/// Bytes of so many blocks of 32 weights in planes.
fn blocks_bytes(format: Format, n_blocks: f64) -> f64 {
    let (n_rows, row_blocks) = (64, 64);
    let spec = WeightSpec { name: String::new(), shape: vec![n_rows, 32 * row_blocks], format };
    Gpu::weight_bytes(&spec) as f64 / (n_rows * row_blocks) as f64 * n_blocks
}

/// Bytes of weights that a dispatch reads.
fn bytes_read(dispatch: &Dispatch) -> f64 {
    let shader = &dispatch.shader;
    let number = |name: &str| dispatch.constants.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, value)| *value);
    let format = shader.format.map(|name| Format::ALL.into_iter().find(|f| f.name() == name).unwrap());
    let rows = |n_rows: f64| format.map_or(0.0, |format| blocks_bytes(format, n_rows * number("BLOCKS")));
    match shader.kernel {
        Kernel::Matvec => {
            let n_rows = (number("N") + number("N_1") + number("N_2")) * if shader.has("GLU") { 2.0 } else { 1.0 };
            let norm = if shader.has("NORM") { 4.0 * number("K") } else { 0.0 };
            let biases = if shader.has("BIAS") { 4.0 * n_rows } else { 0.0 };
            rows(n_rows) + norm + biases
        }
        Kernel::Embed | Kernel::Choose => rows(1.0),
        Kernel::ShortConv => rows(number("N_ROWS")),
        Kernel::Norm => 4.0 * number("WIDTH") * if shader.has("BIAS") { 2.0 } else { 1.0 },
        Kernel::Attention | Kernel::RopeKv if shader.has("NORMS") => 4.0 * (number("Q_RUN") + number("K_RUN")),
        kernel => {
            let reads_weights = dispatch.operands.iter().any(|(_, operand)| matches!(operand, Operand::Plane(_)));
            assert!(!reads_weights, "{kernel:?} reads weights that are not counted");
            0.0
        }
    }
}

/// Bytes in the file of what a token needs: all tensors that are used, and of a table in which it is only looked up one row.
fn bytes_needed(model: &Model, plan: &Plan) -> f64 {
    let is_multiplied = |id: WeightId| {
        plan.ops.iter().any(|op| matches!(op, Op::MatMul(m) if m.parts.iter().any(|part| part.weight == id)))
    };
    let is_table = |id: WeightId| {
        plan.ops.iter().any(|op| matches!(op, Op::Embed { table, .. } | Op::AddRow { table, .. } if *table == id))
    };
    let bytes = |id: WeightId| {
        let spec = model.weights.spec(id);
        let (n_rows, format) = (spec.n_rows(), spec.format);
        // Rows of the tiny models end in the middle of a block, which planes fill up.
        let row_len = if spec.shape.len() == 2 { spec.row_len().next_multiple_of(32) } else { spec.row_len() };
        let row_bytes = (row_len / format.block_len() * format.block_bytes()) as f64;
        match (is_table(id), is_multiplied(id)) {
            (true, false) => row_bytes,
            (true, true) => row_bytes * (n_rows + 1) as f64,
            (false, _) => row_bytes * n_rows as f64,
        }
    };
    model.used_weights().unwrap().into_iter().map(bytes).sum()
}

/// A plan as it is run.
fn lowered(model: &Model, bound: RowBound) -> (Plan, Lowered) {
    let mut gpu = Gpu::new(context(&Request::default()), model.kv_geometry(KvFormat::F16));
    for id in model.used_weights().unwrap() {
        gpu.create_weight(id, model.weights.spec(id)).unwrap();
    }
    let slot = gpu.prepare(Arc::new(model.plan(Task::Generate, bound, bound.max()).unwrap())).unwrap();
    (gpu.plan(slot).unwrap().clone(), gpu.lowered(slot).unwrap().clone())
}

/// Bytes that the products of a step of so many rows read: what is bound is read again by every workgroup along the third dimension.
fn bytes_of_products(model: &Model, bound: RowBound) -> f64 {
    let (_, lowered) = lowered(model, bound);
    let counts = Counts { rows: bound.max(), outputs: bound.max(), positions: bound.max() };
    let products = lowered.dispatches.iter().filter(|d| d.shader.kernel == Kernel::Matvec);
    products.map(|d| bytes_read(d) * f64::from(counts.of(d.grid)[2])).sum()
}

/// Weights read over weights needed; a line of text.
fn measured(name: &str, model: &Model, text: &mut String) -> f64 {
    let (plan, lowered) = lowered(model, RowBound::One);
    let (read, needed) = (lowered.ahead().map(bytes_read).sum::<f64>(), bytes_needed(model, &plan));
    let geometry = model.kv_geometry(KvFormat::F16);
    let attends = |d: &&Dispatch| d.shader.kernel == Kernel::Attention;
    let n_attend = lowered.ahead().filter(attends).count();
    // Keys and values: every layer that attends has one dispatch that goes through what is seen.
    let n_layers = plan.ops.iter().filter(|op| matches!(op, Op::Attention(_))).count();
    assert_eq!(n_attend, n_layers, "{name}: a layer goes through the cache once");
    let kv = n_attend as u64 * Gpu::layer_page_bytes(&geometry) / PAGE_POSITIONS as u64;
    let ratio = read / needed;
    writeln!(
        text,
        "{name}: {read} bytes of weights for {needed} in the file ({ratio:.4}), {kv} bytes per position seen"
    )
    .unwrap();
    ratio
}

#[test]
fn a_token_of_every_family_reads_its_weights_once() {
    let mut text = String::new();
    let of_family = |file| Model::from_header(&parse(file).unwrap().header).unwrap();
    let models = decoders().into_iter().map(|decoder| (decoder.name, of_family(decoder.file)));
    for (name, model) in models.chain([("smollm2_135m Q4_1", llama_model(&smollm2_135m()))]) {
        let ratio = measured(name, &model, &mut text);
        assert!((0.98..=MOST).contains(&ratio), "{name}: {ratio}");
        // Guesses are verified at the price of one token.
        let [one, few] = [RowBound::One, RowBound::UpTo(FEW_ROWS)].map(|bound| bytes_of_products(&model, bound));
        assert_eq!(one, few, "{name}: weights read for {FEW_ROWS} rows");
    }
    insta::assert_snapshot!("families", text);
}

#[test]
fn planes_are_hardly_more_than_the_file() {
    let mut text = String::new();
    for format in Format::ALL {
        let model = llama_model(&TinyConfig { n_embd: 512, n_ff: 1024, ..TinyConfig::of(format) });
        let ratio = measured(format.name(), &model, &mut text);
        assert!(ratio <= MOST_OF_FORMAT || format == UNPACKED, "{}: {ratio}", format.name());
    }
    insta::assert_snapshot!("formats", text);
}
