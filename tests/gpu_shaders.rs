//! Every composed shader as naga sees it: valid, laid out as Rust writes it, bound as its dispatches bind it, within WebGPU's
//! default limits. The shaders are those of the dispatches that the table of cases becomes, in every form of the kernels; the
//! constants are those of the dispatches. What browsers compile beyond that is tests/wasm_gpu.rs's.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{collections::BTreeSet, mem::offset_of};

use common::{
    cases,
    gpu::context,
    wgsl::{Binding, Shader, Space, inspect},
};
use kinglet::{
    gpu::{
        Forms, Gpu, Numbers, Request,
        ahead::RunEntry,
        dispatch::{Dispatch, Extent, Operand},
        shader::{self as kernel, Dialect, Kernel, SUBGROUPS, T_64},
        step::{Header, RowEntry},
    },
    plan::BufferId,
    quant::Format,
};

/// WebGPU's default limits.
const STORAGE_BUFFERS: usize = 8;
const WORKGROUP_BYTES: u32 = 16 << 10;
const INVOCATIONS: u32 = 256;
/// WGSL lets a compiler refuse more in the variables of a function, or private ones.
const FUNCTION_BYTES: u32 = 8 << 10;

/// Name, size and the offset of each field, bytes.
type ParameterStruct = (&'static str, usize, Vec<(&'static str, usize)>);

/// Structs that Rust writes: name, size, members with their offsets.
fn parameter_structs() -> [ParameterStruct; 3] {
    [
        (
            "Step",
            size_of::<Header>(),
            vec![
                ("n_rows", offset_of!(Header, n_rows)),
                ("n_outputs", offset_of!(Header, n_outputs)),
                ("n_best", offset_of!(Header, n_best)),
                ("unused", offset_of!(Header, unused)),
            ],
        ),
        (
            "Row",
            size_of::<RowEntry>(),
            vec![
                ("input", offset_of!(RowEntry, input)),
                ("kind", offset_of!(RowEntry, kind)),
                ("position", offset_of!(RowEntry, position)),
                ("pages", offset_of!(RowEntry, pages)),
                ("first_row", offset_of!(RowEntry, first_row)),
                ("n_rows", offset_of!(RowEntry, n_rows)),
                ("memory", offset_of!(RowEntry, memory)),
                ("n_memory", offset_of!(RowEntry, n_memory)),
            ],
        ),
        (
            "Run",
            size_of::<RunEntry>(),
            vec![
                ("position", offset_of!(RunEntry, position)),
                ("n_best", offset_of!(RunEntry, n_best)),
                ("top_k", offset_of!(RunEntry, top_k)),
                ("temperature", offset_of!(RunEntry, temperature)),
                ("top_p", offset_of!(RunEntry, top_p)),
                ("min_p", offset_of!(RunEntry, min_p)),
                ("unused", offset_of!(RunEntry, unused)),
                ("draws", offset_of!(RunEntry, draws)),
            ],
        ),
    ]
}

/// The dispatches of the whole table, each text with each set of constants and operands once.
fn dispatches(request: &Request) -> Vec<Dispatch> {
    dispatches_with(request, |forms| forms)
}

fn dispatches_with(request: &Request, forms: impl Fn(Forms) -> Forms) -> Vec<Dispatch> {
    let context = context(request);
    context.set_forms(forms(context.forms()));
    let mut seen = BTreeSet::new();
    let mut all = vec![];
    for case in &cases::on_gpu() {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        let slot = case.announce(&mut gpu).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let lowered = gpu.lowered(slot).expect("it was prepared");
        for dispatch in lowered.all() {
            let numbers: Vec<_> = dispatch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
            if seen.insert((dispatch.shader.clone(), numbers, dispatch.operands.clone())) {
                all.push(dispatch.clone());
            }
        }
    }
    assert!(!all.is_empty());
    all
}

fn inspected(dispatch: &Dispatch) -> Result<Shader, String> {
    let subgroups = dispatch.shader.has(SUBGROUPS);
    let text = dispatch.shader.compose(Dialect::Naga);
    without_first_values(&text).map_or_else(|| inspect(&text, subgroups, &dispatch.constants), Err)
}

/// Variables of functions that are declared without their first value. WGSL says that they are zero whenever the declaration
/// is reached; in Chromium 156 such a variable of a loop's body keeps what the last round left in it. naga writes the zeros
/// itself, so natively nothing shows.
fn without_first_values(text: &str) -> Option<String> {
    let bare = |line: &&str| {
        let line = line.trim_start();
        line.strip_prefix("var ").is_some_and(|rest| !rest.split("//").next().unwrap_or_default().contains('='))
    };
    let all: Vec<&str> = text.lines().filter(bare).map(str::trim).collect();
    (!all.is_empty()).then(|| format!("without a first value: {}", all.join(" ")))
}

/// What is wrong with a dispatch and its shader.
fn complaints(dispatch: &Dispatch, shader: &Shader) -> Vec<String> {
    let mut all = vec![];
    all.extend(unknown_structs(shader));
    all.extend(wrong_bindings(dispatch, shader));
    all.extend(aliases(dispatch, shader));
    all.extend(over_limits(shader));
    all.into_iter().map(|what| format!("{}: {what}", dispatch.shader.label())).collect()
}

/// Structs in buffers must be those of the table, member by member.
fn unknown_structs(shader: &Shader) -> Vec<String> {
    let known = parameter_structs();
    let mut all = vec![];
    for name in shader.bindings.values().filter_map(|b| b.of.as_ref()).collect::<BTreeSet<_>>() {
        let (size, members) = &shader.structs[name];
        let Some((_, expected_size, expected)) = known.iter().find(|(known, ..)| known == name) else {
            all.push(format!("no Rust struct is known for {name}"));
            continue;
        };
        let expected: Vec<_> = expected.iter().map(|(name, at)| ((*name).to_owned(), *at as u32)).collect();
        if *size as usize != *expected_size || *members != expected {
            all.push(format!("{name}: {size} bytes, {members:?}; in Rust {expected_size} bytes, {expected:?}"));
        }
    }
    all
}

/// Bindings are what the dispatch binds, all of them used (a layout that is deduced has no others), each of the right kind.
fn wrong_bindings(dispatch: &Dispatch, shader: &Shader) -> Vec<String> {
    let mut all = vec![];
    for (at, Binding { name, used, .. }) in &shader.bindings {
        if !used {
            all.push(format!("binding {at} ({name}) is not used"));
        }
        if !dispatch.operands.iter().any(|(operand_at, _)| operand_at == at) {
            all.push(format!("binding {at} ({name}) is not bound"));
        }
    }
    for (at, operand) in &dispatch.operands {
        let Some(Binding { name, space, of, .. }) = shader.bindings.get(at) else {
            all.push(format!("there is no binding {at} for {operand:?}"));
            continue;
        };
        let wanted = match operand {
            Operand::Step => (*space == Space::Uniform, Some("Step")),
            Operand::Frequencies(_) => (*space == Space::Uniform, None),
            Operand::OnlyRow => (*space == Space::Uniform, Some("Row")),
            // What chooses makes the next row.
            Operand::Rows => ((*space == Space::Read) == (dispatch.shader.kernel != Kernel::Choose), Some("Row")),
            Operand::Ahead => (*space == Space::Read, Some("Run")),
            Operand::Outputs | Operand::Pages | Operand::Embeddings | Operand::Plane(_) | Operand::Biases(_) => {
                (*space == Space::Read, None)
            }
            Operand::Buffer(_) | Operand::Scratch(_) | Operand::Cache(_) | Operand::Best | Operand::AheadResults => {
                (*space != Space::Uniform, None)
            }
        };
        if wanted != (true, of.as_deref()) {
            all.push(format!("binding {at} ({name}) is {space:?} of {of:?} for {operand:?}"));
        }
    }
    all
}

/// WebGPU refuses a buffer that one dispatch both writes and binds elsewhere.
fn aliases(dispatch: &Dispatch, shader: &Shader) -> Vec<String> {
    let written = |at: &u32| shader.bindings.get(at).is_some_and(|b| b.space == Space::ReadWrite);
    // All of these are parts of one buffer.
    let of_step =
        |o: &Operand| matches!(o, Operand::Step | Operand::Rows | Operand::OnlyRow | Operand::Outputs | Operand::Pages);
    let same = |a: &Operand, b: &Operand| a == b || (of_step(a) && of_step(b));
    let others = |at: &u32, operand: &Operand| dispatch.operands.iter().any(|(a, o)| a != at && same(o, operand));
    let aliased = dispatch.operands.iter().filter(|(at, operand)| written(at) && others(at, operand));
    aliased.map(|(at, operand)| format!("{operand:?} is written at binding {at} and bound elsewhere")).collect()
}

fn over_limits(shader: &Shader) -> Vec<String> {
    let mut all = vec![];
    let n_storage = shader.bindings.values().filter(|b| b.space != Space::Uniform).count();
    if n_storage > STORAGE_BUFFERS {
        all.push(format!("{n_storage} storage buffers, at most {STORAGE_BUFFERS} are promised"));
    }
    let bytes = shader.workgroup_bytes;
    if bytes > WORKGROUP_BYTES {
        all.push(format!("{bytes} bytes of workgroup memory, at most {WORKGROUP_BYTES} are promised"));
    }
    let [x, y, z] = shader.workgroup_size;
    if x * y * z > INVOCATIONS || z > 64 {
        all.push(format!("a workgroup of {x} × {y} × {z}"));
    }
    let bytes = shader.function_bytes;
    if bytes > FUNCTION_BYTES {
        all.push(format!("{bytes} bytes of variables in a function, at most {FUNCTION_BYTES} are promised"));
    }
    all
}

fn check(request: &Request) -> Vec<Dispatch> {
    let all = dispatches(request);
    check_all(&all);
    all
}

fn check_all(all: &[Dispatch]) {
    let mut wrong: Vec<String> = vec![];
    for dispatch in all {
        match inspected(dispatch) {
            Ok(shader) => wrong.extend(complaints(dispatch, &shader)),
            Err(what) => wrong.push(format!("{}: {what}", dispatch.shader.label())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let texts: BTreeSet<_> = all.iter().map(|d| d.shader.label()).collect();
    println!("{} texts, {} pipelines: {texts:#?}", texts.len(), all.len());
}

#[test]
fn and_in_the_forms_that_tuning_may_choose() {
    for numbers in [Numbers::F32, Numbers::F16, Numbers::Bytes] {
        let chosen = |forms| Forms { tile_t: 64, lanes_part: 4, numbers, ..forms };
        let mut all = dispatches_with(&Request::default(), chosen);
        all.retain(|dispatch| dispatch.shader.kernel.is_tiled_product());
        assert!(all.iter().any(|d| d.shader.has(T_64)));
        check_all(&all);
    }
}

#[test]
fn every_shader_is_valid_and_bound_as_its_dispatches_say() {
    check(&Request::default());
}

#[test]
fn and_without_subgroups() {
    let all = check(&Request { without_subgroups: true, ..Request::default() });
    assert!(all.iter().all(|d| !d.shader.has(SUBGROUPS)), "subgroups are used where there are none");
}

/// The texts with every format in place of the one that they have: those that the cases leave out too.
#[test]
fn every_shader_is_valid_with_every_format() {
    let mut wrong = BTreeSet::new();
    let with_q4_1 = |d: &Dispatch| d.shader.format == Some(Format::Q4_1.name());
    let all: Vec<Dispatch> = dispatches(&Request::default()).into_iter().filter(with_q4_1).collect();
    let mut seen = BTreeSet::new();
    for format in Format::ALL.into_iter().filter(|f| f.layout().has_scales()) {
        for dispatch in &all {
            let shader = dispatch.shader.clone().format(format);
            if seen.insert(shader.clone()) {
                let dispatch = Dispatch { shader, ..dispatch.clone() };
                match inspected(&dispatch) {
                    Ok(shader) => wrong.extend(complaints(&dispatch, &shader)),
                    Err(what) => drop(wrong.insert(format!("{}: {what}", dispatch.shader.label()))),
                }
            }
        }
    }
    println!("{} texts", seen.len());
    assert!(seen.len() > 200 && wrong.is_empty(), "{wrong:#?}");
}

/// A shader in which everything is right, and its dispatch, to be spoiled.
const GOOD: &str = "
struct Step { n_rows: u32, n_outputs: u32, n_best: u32, unused: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
override WIDTH: u32;
var<workgroup> tile: array<f32, 64>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_id) id: vec3<u32>) {
  var some: array<f32, 4>;
  some[id.x % 4u] = x[id.x];
  tile[id.x] = some[id.x % 4u];
  workgroupBarrier();
  out[id.x] = tile[63u - id.x] * f32(step.n_rows * WIDTH);
}";

fn good_dispatch() -> Dispatch {
    let operands = [Operand::Step, Operand::Buffer(BufferId(0)), Operand::Buffer(BufferId(1))];
    Dispatch::new(kernel::Shader::new(kernel::Kernel::Add), &operands, [Extent::Fixed(1); 3]).with("WIDTH", 3.0)
}

#[test]
fn the_checks_see_what_they_should() {
    let good = good_dispatch();
    let found = |dispatch: &Dispatch, from: &str, to: &str| -> String {
        assert!(from.is_empty() || GOOD.contains(from), "{from}");
        let text = if from.is_empty() { GOOD.to_owned() } else { GOOD.replace(from, to) };
        match inspect(&text, false, &dispatch.constants) {
            Ok(shader) => complaints(dispatch, &shader).join("\n"),
            Err(what) => what,
        }
    };
    assert_eq!(found(&good, "", ""), "");
    for (from, to, expected) in [
        ("x[id.x]", "y[id.x]", "no definition in scope"),
        ("f32(step.n_rows * WIDTH)", "f32(step.n_rows * WIDTH) * subgroupAdd(1.0)", "SUBGROUP"),
        ("n_rows: u32, n_outputs: u32", "n_outputs: u32, n_rows: u32", "in Rust 16 bytes"),
        ("unused: u32", "unused: u32, more: vec4<u32>", "32 bytes"),
        ("Step", "Other", "no Rust struct is known for Other"),
        ("some[id.x % 4u] = x[id.x];", "some[id.x % 4u] = 1.0;", "binding 1 (x) is not used"),
        ("@binding(1)", "@binding(3)", "binding 3 (x) is not bound"),
        ("@binding(1)", "@binding(3)", "there is no binding 1"),
        ("@binding(1)", "@binding(2)", "BindingCollision"),
        ("@group(0) @binding(1)", "@group(1) @binding(1)", "which is not group 0"),
        ("array<f32, 64>", "array<f32, 4097>", "bytes of workgroup memory"),
        ("array<f32, 4>", "array<f32, 2049>", "bytes of variables in a function"),
        ("@workgroup_size(64)", "@workgroup_size(64, 8)", "a workgroup of 64 × 8 × 1"),
        ("override WIDTH: u32;", "const WIDTH = 3u;", "not found in the shader"),
    ] {
        let what = found(&good, from, to);
        assert!(what.contains(expected), "{from} → {to}: {what:?}");
    }
    let spoiled = |spoil: fn(&mut Dispatch)| {
        let mut dispatch = good.clone();
        spoil(&mut dispatch);
        found(&dispatch, "", "")
    };
    for (what, expected) in [
        (spoiled(|d| d.constants.clear()), "constants:"),
        (spoiled(|d| d.operands[2].1 = Operand::Buffer(BufferId(0))), "is written at binding 2 and bound elsewhere"),
        (spoiled(|d| d.operands[1].1 = Operand::Rows), "binding 1 (x) is Read of None for Rows"),
        (spoiled(|d| d.operands[2].1 = Operand::Plane(0)), "binding 2 (out) is ReadWrite"),
        (spoiled(|d| d.operands.truncate(2)), "binding 2 (out) is not bound"),
    ] {
        assert!(what.contains(expected), "expected {expected}: {what:?}");
    }
    let many: String =
        (3..10).map(|i| format!("@group(0) @binding({i}) var<storage, read> more{i}: array<f32>;\n")).collect();
    let used = (3..10).map(|i| format!(" + more{i}[0]")).collect::<String>();
    let text = format!("{many}{}", GOOD.replace("= x[id.x]", &format!("= x[id.x]{used}")));
    let shader = inspect(&text, false, &good.constants).expect("it is valid");
    assert!(over_limits(&shader).join("").contains("9 storage buffers"), "{:?}", over_limits(&shader));
}
