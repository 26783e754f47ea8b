//! Matrix products on the GPU against the reference, by the table of cases.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::rc::Rc;

use common::{
    case::{Case, Tolerance},
    cases,
    formats::{a_code_byte, not_finite, whole},
    gpu::{context, watched},
};
use kinglet::{
    gpu::{Context, Forms, Gpu, Numbers, Request, Subgroups, dispatch::Counts, shader::Kernel},
    plan::{Activation, Executor},
    quant::Format,
    reference::Reference,
    weights::{WeightId, WeightSpec},
};

/// The GPU keeps activations in f32 whatever the weights are, so it only adds up in another order; its exponential function
/// is good to a few units in the last place.
const SUMMED_ON_GPU: Tolerance =
    Tolerance { name: "summed on a GPU", abs: 2e-5, rel: 1e-5, outliers: 0.0, nmse: 1e-11 };

fn products() -> Vec<Case> {
    let names = ["product", "low-rank", "norm and", "gated", "layer norm and", "mixed", "logits"];
    let has_product = |case: &Case| names.iter().any(|name| case.name.starts_with(name));
    cases::on_gpu().into_iter().filter(has_product).collect()
}

fn complaint(mut case: Case, tolerance: Tolerance, context: &Rc<Context>) -> Option<String> {
    case.tolerance = tolerance;
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let actual = match case.run(&mut gpu, usize::MAX) {
        Ok(results) => results,
        Err(error) => return Some(format!("{}: {error}", case.name)),
    };
    let zones = context.check_zones().map_err(|error| format!("{}: {error}", case.name));
    let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
    case.check(&actual, &expected).and(zones.map(drop)).err()
}

fn agree(cases: impl IntoIterator<Item = Case>, context: &Rc<Context>) {
    agree_within(SUMMED_ON_GPU, cases, context);
}

fn agree_within(tolerance: Tolerance, cases: impl IntoIterator<Item = Case>, context: &Rc<Context>) {
    let complaints: Vec<String> = cases.into_iter().filter_map(|case| complaint(case, tolerance, context)).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    assert_eq!(context.n_buffers(), 0, "every buffer is given back");
    assert_eq!(context.allocated_bytes(), 0);
}

/// Those of many weights take the reference long.
fn is_small(case: &Case) -> bool {
    case.n_weights() < 1 << 20
}

/// At the limits of the adapter.
#[test]
fn with_subgroups() {
    agree(products(), &watched(&Request::default()));
}

#[test]
fn without_subgroups_at_default_limits() {
    let context = watched(&Request { without_subgroups: true, default_limits: true, ..Request::default() });
    assert_eq!(context.facts().binding_limit_bytes, DEFAULT_BINDING_BYTES);
    agree(products().into_iter().filter(is_small), &context);
}

/// WebGPU's default, maxStorageBufferBindingSize.
const DEFAULT_BINDING_BYTES: u64 = 128 << 20;

/// A matrix that is longer than a binding may be at the default limits, and one binding where the adapter has higher ones
/// (SwiftShader has, lavapipe has higher ones for buffers alone).
#[test]
fn a_matrix_that_only_raised_limits_take_whole() {
    let case = || cases::product(Format::F32, 33_000, 1024, 1);
    for default_limits in [true, false] {
        let context = watched(&Request { default_limits, ..Request::default() });
        println!("{:?}", context.facts());
        let is_raised = context.facts().binding_limit_bytes > DEFAULT_BINDING_BYTES;
        assert!(!(is_raised && default_limits));
        let mut gpu = Gpu::new(context.clone(), case().geometry);
        let slot = case().announce(&mut gpu).expect("it fits");
        let dispatches = &gpu.lowered(slot).expect("it is prepared").dispatches;
        let n_shards = dispatches.iter().filter(|d| d.shader.kernel == Kernel::Matvec).count();
        assert_eq!(n_shards, if is_raised { 1 } else { 2 });
        drop(gpu);
        agree([case()], &context);
    }
}

/// Many rows, eight at a time: what is left where tiles compute wrongly.
#[test]
fn without_tiles() {
    let context = watched(&Request::default());
    context.set_forms(Forms { tiles: false, ..context.forms() });
    agree(products().into_iter().filter(|c| is_small(c) && c.max_rows() > 8), &context);
}

/// Tiles of every size, in steps of rows that fill none of them, one and a bit, several.
#[test]
fn tiles_of_every_size() {
    let context = watched(&Request::default());
    for (tile_t, short_tiles) in [(32, false), (64, true), (64, false)] {
        context.set_forms(Forms { tile_t, short_tiles, ..context.forms() });
        agree(tiled_by(tile_t), &context);
    }
    let labels = tile_labels(&context, 17, Format::Q4_1);
    assert_eq!(labels, ["matmul Q4_1 COUNTED SCALES T_64"]);
    context.set_forms(Forms { short_tiles: true, ..context.forms() });
    let labels = tile_labels(&context, 17, Format::Q4_1);
    assert_eq!(labels, ["matmul Q4_1 COUNTED SCALES T_16", "matmul Q4_1 COUNTED SCALES T_64"]);
}

/// What is multiplied has 11 bits, f16's, if it is no quant, and so has each sum of four: an error of 2⁻¹² of it at most. Sums of four are
/// some times as large as what is left of them in the end (of Q6_K, whose quants are up to 63 before 32 is taken away), and in a gated
/// product there are two such errors.
const IN_F16: Tolerance = Tolerance { name: "multiplied in f16", abs: 1e-2, rel: 2e-3, outliers: 0.0, nmse: 1e-5 };

/// Where the device has it: SwiftShader has not.
#[test]
fn tiles_in_f16() {
    let context = watched(&Request::default());
    if !context.facts().f16 {
        println!("no f16 here");
        return;
    }
    for tile_t in [32, 64] {
        context.set_forms(Forms { tile_t, numbers: Numbers::F16, ..context.forms() });
        agree_within(IN_F16, tiled_by(tile_t), &context);
    }
    assert_eq!(tile_labels(&context, 9, Format::F16), ["matmul_narrow F16 AS_F16 COUNTED T_16"]);
}

/// Activations in 127 steps of the largest of 32, as on the CPU; of a gated product both factors are such.
const IN_BYTES: Tolerance = Tolerance { name: "multiplied in bytes", abs: 0.04, rel: 0.02, outliers: 1e-3, nmse: 1e-4 };

#[test]
fn tiles_in_bytes() {
    let context = watched(&Request::default());
    assert!(context.facts().packed_dot, "naga has it everywhere");
    for tile_t in [32, 64] {
        context.set_forms(Forms { tile_t, numbers: Numbers::Bytes, ..context.forms() });
        agree_within(IN_BYTES, tiled_by(tile_t), &context);
    }
    assert_eq!(tile_labels(&context, 9, Format::Q4_1), ["matmul_narrow Q4_1 AS_BYTES COUNTED SCALES T_16"]);
    assert_eq!(tile_labels(&context, 9, Format::F16), ["matmul F16 COUNTED T_16"], "there are no quants");
}

/// Rows that quantizing loses nothing of are multiplied exactly, but for the order of sums.
#[test]
fn bytes_are_exact_where_activations_are_whole() {
    let context = watched(&Request::default());
    context.set_forms(Forms { numbers: Numbers::Bytes, ..context.forms() });
    let cases = Format::ALL.map(|format| cases::product(format, 70, whole(format, 288), 20));
    agree(cases, &context);
}

/// Every format, every number of tiles, every ending.
fn many_rows() -> Vec<Case> {
    let mut cases: Vec<Case> = Format::ALL.map(|format| cases::product(format, 70, whole(format, 288), 20)).into();
    cases.extend([12, 16, 17, 40, 70].map(|rows| cases::product(Format::Q4_1, 70, 96, rows)));
    for (format, rows) in [(Format::Q4_1, 12), (Format::Q6_K, 40), (Format::F16, 65)] {
        cases.push(cases::gated(format, rows, Activation::Silu));
        cases.push(cases::residual(format, rows));
        cases.push(cases::norm_product(format, SUMMED_ON_GPU, rows));
    }
    let is_odd = |c: &Case| c.max_rows() > 8 && !c.name.starts_with("product ");
    cases.into_iter().chain(products().into_iter().filter(is_odd)).collect()
}

/// Of these, those that another number of rows makes a difference to.
fn tiled_by(tile_t: u32) -> Vec<Case> {
    many_rows().into_iter().filter(|c| tile_t == 32 || c.max_rows() > 20).collect()
}

/// The shaders of a product of up to so many rows.
fn tile_labels(context: &Rc<Context>, rows: usize, format: Format) -> Vec<String> {
    let case = cases::product(format, 100, 256, rows);
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let slot = case.announce(&mut gpu).expect("it is prepared");
    let dispatches = &gpu.lowered(slot).expect("it is there").dispatches;
    let tiled = dispatches.iter().filter(|d| d.shader.kernel.is_tiled_product());
    tiled.map(|d| d.shader.label()).collect()
}

/// Matrices longer than a binding may be are cut into shards, also where they are read by row; gate and up then are two
/// products. Formats whose blocks lie together by eight, or share a word of scales, are cut between those.
#[test]
fn in_shards() {
    let context = watched(&Request { binding_limit_bytes: Some(25_000), ..Request::default() });
    let formats = [Format::F32, Format::Q8_0, Format::Q5_0, Format::Q6_K, Format::MXFP4];
    let mut cases: Vec<Case> = formats.map(|format| cases::product(format, 100, whole(format, 576), 3)).into();
    cases.push(cases::product(Format::TQ2_0, 300, 768, 3));
    cases.extend([1, 12].map(|rows| cases::product(Format::Q4_0, 200, 576, rows)));
    let fused = ["gated product Q4_1 T", "norm and three products Q4_1 T", "product and residual F32 T"];
    cases.extend(products().into_iter().filter(|c| fused.iter().any(|name| c.name.starts_with(name))));
    let mut gpu = Gpu::new(context.clone(), cases[0].geometry);
    let slot = cases[0].announce(&mut gpu).expect("it fits");
    assert!(gpu.lowered(slot).expect("it is prepared").dispatches.len() > 20, "nothing was cut");
    drop(gpu);
    agree(cases, &context);

    let case = cases::product(Format::F32, 20, 2112, 1);
    let refused = case.announce(&mut Gpu::new(context, case.geometry)).expect_err("eight rows of 2,112 numbers");
    assert_eq!(refused.code(), "E_MEMORY", "{refused}");
}

/// One wrong bit in one quant of one weight is seen.
#[test]
fn one_flipped_bit_is_seen() {
    let context = context(&Request::default());
    let formats = [Format::F32, Format::F16, Format::Q4_1, Format::Q8_0, Format::Q6_K];
    for (format, rows) in formats.into_iter().flat_map(|f| [(f, 1), (f, 5), (f, 64)]) {
        let mut case = cases::product(format, 7, whole(format, 576), rows);
        let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
        case.tolerance = SUMMED_ON_GPU;
        case.flip_bit("w.weight", a_code_byte(format), 0x40);
        let damaged = case.run(&mut Gpu::new(context.clone(), case.geometry), usize::MAX).expect("it runs");
        assert!(case.check(&damaged, &expected).is_err(), "{format:?}, {rows} rows");
    }
}

#[test]
fn weights_that_cannot_be_are_refused() {
    let context = context(&Request::default());
    for format in Format::ALL {
        let k = whole(format, 576);
        let mut case = cases::product(format, 20, k, 1);
        let (at, bytes) = not_finite(format);
        case.set_bytes("w.weight", 19 * format.row_bytes(k).expect("whole blocks") + at, bytes);
        let error = case.load(&mut Gpu::new(context.clone(), case.geometry), 777).expect_err("a NaN");
        assert!(error.code() == "E_FILE_FORMAT" && error.to_string().contains("w.weight: row 19"), "{error}");
    }

    let case = cases::product(Format::Q4_1, 20, 576, 1);
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    let spec = WeightSpec { name: "w".into(), shape: vec![2, 32], format: Format::Q8_0 };
    gpu.create_weight(WeightId(9), &spec).expect("room");
    assert!(gpu.create_weight(WeightId(9), &spec).is_err(), "twice");
    gpu.write_weight(WeightId(9), &[0; 68]).expect("all its bytes");
    assert_eq!(gpu.memory().weights_bytes, Gpu::weight_bytes(&spec).max(16 + 64));
    assert!(gpu.write_weight(WeightId(9), &[0]).is_err(), "a byte too many");
    assert!(gpu.write_weight(WeightId(3), &[0]).is_err(), "never created");
    assert!(case.run_unloaded(&mut Gpu::new(context, case.geometry)).is_err(), "weights are missing");
}

/// What is chosen for subgroups of any size and matrices of any shape: every row is somebody's, nothing is over a limit.
#[test]
fn teams_fit_every_device() {
    let sizes = [4, 8, 16, 32, 64, 128].map(|min| Some(Subgroups { min, max: 128 }));
    for subgroups in sizes.into_iter().chain([None]) {
        let context = context(&Request { without_subgroups: subgroups.is_none(), ..Request::default() });
        context.set_forms(Forms { subgroups, ..context.forms() });
        for [n, k] in [[1, 32], [7, 576], [576, 1536], [49152, 576], [1 << 20, 32]] {
            let case = cases::repeated_product(Format::Q4_0, n, k, 1, 1);
            let mut gpu = Gpu::new(context.clone(), case.geometry);
            let slot = case.announce(&mut gpu).expect("it is prepared");
            let dispatch = &gpu.lowered(slot).expect("it is there").dispatches[1];
            let constant = |name: &str| {
                dispatch.constants.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}")).1 as usize
            };
            let (workgroup, lanes) = (constant("WORKGROUP"), constant("LANES"));
            let rows = if dispatch.shader.has("TEAM_4") { 4 } else { 1 };
            let one = Counts { rows: 1, outputs: 1, positions: 1 };
            let [x, y, z] = one.of(dispatch.grid).map(|n| n as usize);
            assert!(workgroup <= 256 && lanes.is_power_of_two() && workgroup % lanes == 0);
            assert!(x <= 65_535 && y <= 65_535 && z == 1 && x == constant("GRID_WIDTH"));
            assert!(x * y * workgroup / lanes * rows >= n, "{n}x{k}: rows without a team");
            assert_eq!(dispatch.shader.has("SUBGROUPS"), subgroups.is_some() && lanes > 1);
            assert!(subgroups.is_none_or(|s| workgroup == s.min as usize), "a workgroup is a subgroup");
        }
    }
}
