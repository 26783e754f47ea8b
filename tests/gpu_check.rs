//! The self-check at load: a good device passes, and whatever a device does wrong in whichever shader is found, and avoided
//! where there is another form.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{collections::BTreeSet, rc::Rc, time::Instant};

use common::{
    case::Case,
    checked::{check, prepared, prepared_plan, shaders},
    family_cases,
    golden::difference,
    gpu::context,
    runner::{MAX_ROWS, Runner},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    error::{Error, Result},
    gpu::{
        Context, Forms, Gpu, Numbers, Request,
        fault::{Fault, FaultKind},
        shader::{Dialect, Kernel, SUBGROUPS, Shader, T_16, T_64, TEAM_4},
    },
    kv::KvFormat,
    quant::Format,
    reference::Reference,
};

/// Doubles or halves an f32; changes an f16 in the upper half of a word by an eighth; another token.
const MASK: u32 = 0x0080_0000;

/// Everything that may happen to a shader: values in what it writes first, in the first row and in a later place, and in what
/// else it writes; results that stay as they were; a text that the compiler refuses.
fn faults(shader: &Shader) -> Vec<FaultKind> {
    let flip = |written, word| FaultKind::FlipBits { written, word, mask: MASK };
    let n_written = shader.compose(Dialect::Naga).matches("read_write").count();
    assert!(n_written > 0, "{} writes nothing", shader.label());
    // What chooses writes a token and a position; the rest of a row is not its own.
    let later = if shader.kernel == Kernel::Choose { 0 } else { 67 };
    let mut faults = vec![flip(0, 2), flip(0, later), FaultKind::StaleFrom(1), FaultKind::Refused];
    faults.extend((1..n_written).map(|written| flip(written, 5)));
    faults
}

/// One layer, so that there is less to compile.
fn small(format: Format) -> Vec<u8> {
    let config = TinyConfig { n_layer: 1, biases: true, rope_freqs: true, ..TinyConfig::of(format) };
    tiny_llama(&config, 3).build()
}

/// The same with heads that a cache in Q8_0 can keep.
fn of_whole_blocks() -> Vec<u8> {
    tiny_llama(&TinyConfig { n_layer: 1, head_size: 32, ..TinyConfig::of(Format::Q4_1) }, 3).build()
}

#[test]
fn a_good_device_passes() {
    let context = context(&Request::default());
    assert_passes(&context, prepared(&context, &of_whole_blocks(), KvFormat::Q8_0).expect("it prepares"));
    for format in Format::ALL {
        let few_rows = prepared_plan(&context, &small(format), KvFormat::F32, 1).expect("it prepares");
        assert_passes(&context, few_rows);
    }
    for request in [Request::default(), Request { without_subgroups: true, ..Request::default() }] {
        passes(&request, &small(Format::Q4_1));
    }
}

/// Matrices that are cut into shards, and those that are so large that teams of invocations take several rows at once, have
/// samples of their own.
#[test]
fn large_matrices_are_checked_too() {
    let large = |n_vocab, n_ff, format| {
        let config = TinyConfig { n_layer: 1, n_vocab, n_ff, format, embd_format: format, ..TinyConfig::default() };
        tiny_llama(&config, 4).build()
    };
    let limited = |bytes| Request { default_limits: true, binding_limit_bytes: Some(bytes), ..Request::default() };
    passes(&limited(1 << 18), &large(2048, 96, Format::F32));
    // Gate and up do not fit into one binding together.
    passes(&limited(50_000), &large(320, 160, Format::F32));

    let (file, context) = (large(70_000, 96, Format::Q4_1), context(&Request::default()));
    let wide = prepared_plan(&context, &file, KvFormat::F16, 0).expect("it prepares");
    assert!(shaders(&wide).iter().any(|s| s.has(TEAM_4)), "no team has several rows: {:?}", shaders(&wide));
    assert_passes(&context, wide);
}

fn passes(request: &Request, file: &[u8]) {
    let context = context(request);
    let gpu = prepared(&context, file, KvFormat::F16).expect("it prepares");
    assert_passes(&context, gpu);
}

fn assert_passes(context: &Rc<Context>, mut gpu: Gpu) {
    let forms = context.forms();
    let start = Instant::now();
    assert_eq!(check(context, &mut gpu), Ok(()));
    println!("{} shaders: {:?}", shaders(&gpu).len(), start.elapsed());
    assert_eq!(context.forms(), forms, "a form was given up");
}

/// Prepares an executor with a plan.
type Plan<'a> = &'a dyn Fn(&Rc<Context>) -> Result<Gpu>;

/// What the self-check says of a device that is faulty in one shader of a plan, and whether that plan does without it
/// afterwards.
fn with_fault(context: &Rc<Context>, shader: &Shader, kind: FaultKind, plan: Plan<'_>) -> (Result<()>, bool) {
    let faulty = shader.clone();
    context.inject(Fault { shaders: Box::new(move |s| *s == faulty), kind });
    let verdict = plan(context).and_then(|mut gpu| check(context, &mut gpu));
    let avoided = plan(context).is_ok_and(|gpu| !shaders(&gpu).contains(shader));
    context.heal();
    (verdict, avoided)
}

/// Every fault of every shader of a plan that `seen` does not have.
fn faults_of_plan(plan: Plan<'_>, seen: &mut BTreeSet<Shader>) -> Vec<String> {
    let context = context(&Request::default());
    let well = plan(&context).expect("it prepares");
    let mut complaints = vec![];
    for shader in shaders(&well).into_iter().filter(|shader| seen.insert(shader.clone())) {
        for kind in faults(&shader) {
            match with_fault(&context, &shader, kind, plan) {
                (Ok(()), true) => {}
                (Err(Error::GpuWrong { what }), _) if what.contains(&shader.label()) => {}
                other => complaints.push(format!("{} {kind:?}: {other:?}", shader.label())),
            }
        }
    }
    complaints
}

#[test]
fn every_fault_of_every_shader_is_found() {
    let mut seen = BTreeSet::new();
    let mut complaints = vec![];
    for (file, format) in [(small(Format::Q4_1), KvFormat::F16), (of_whole_blocks(), KvFormat::Q8_0)] {
        for i in 0..3 {
            complaints.extend(faults_of_plan(&|context| prepared_plan(context, &file, format, i), &mut seen));
        }
    }
    assert!(seen.len() > 10, "{seen:?}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// An executor with the plan of a case.
fn prepared_case(context: &Rc<Context>, case: &Case) -> Result<Gpu> {
    let mut gpu = Gpu::new(context.clone(), case.geometry);
    case.announce(&mut gpu).map(|_| gpu)
}

fn family_cases() -> Vec<Case> {
    let mut cases = vec![];
    family_cases::add(&mut cases);
    cases
}

#[test]
fn a_good_device_passes_with_the_operations_of_other_families() {
    let context = context(&Request::default());
    for case in family_cases() {
        let mut gpu = prepared_case(&context, &case).expect("it prepares");
        assert_eq!(check(&context, &mut gpu), Ok(()), "{}", case.name);
    }
}

#[test]
fn every_fault_of_the_operations_of_other_families_is_found() {
    let mut seen = BTreeSet::new();
    let names = [
        "Gelu alone 64",
        "scale 64",
        "scaled sum 7",
        "family product F32 Activate(Gelu) T1",
        "row added F16 36",
        "heads' Rms norm 3x20 T5",
        "mean 130",
        "family attention capped by distance in a window 4/1x100 F16 T5",
        "family attention capped by distance in a window 4/1x100 F32 T70",
        "family attention whole by distance 2/2x16 F32 T8",
        "family attention whole 2/2x64",
        "family attention to memory 4/4x16",
        "family attention to memory, capped 4/1x12",
        "convolution 33x3",
    ];
    let cases = family_cases();
    for name in names {
        let case = cases.iter().find(|c| c.name.starts_with(name)).unwrap_or_else(|| panic!("no case {name}"));
        let complaints = faults_of_plan(&|context| prepared_case(context, case), &mut seen);
        assert!(complaints.is_empty(), "{name}: {}", complaints.join("\n"));
    }
    assert!(seen.len() > 15, "{seen:?}");
}

/// What has another form is avoided, for every plan, and the results are right.
#[test]
fn a_faulty_form_is_given_up_and_the_results_are_right() {
    let file = small(Format::Q4_1);
    let tokens: Vec<u32> = (0..40).map(|i| 3 + i * 7 % 300).collect();
    let new = |geometry| Ok(Reference::new(geometry));
    let expected = Runner::load(&file[..], KvFormat::F16, 64, new).and_then(|mut r| r.append(&tokens, MAX_ROWS));
    let expected = expected.expect("the reference runs");
    let flip = FaultKind::FlipBits { written: 0, word: 2, mask: MASK };
    let context = context(&Request::default());
    for (label, flag) in [("matvec", SUBGROUPS), ("matmul", ""), ("attention_prefill", "")] {
        for kind in [flip, FaultKind::StaleFrom(1), FaultKind::Refused] {
            let befalls = move |s: &Shader| s.kernel.name() == label && (flag.is_empty() || s.has(flag));
            context.inject(Fault { shaders: Box::new(befalls), kind });
            let before = context.features();
            let new = |geometry| Ok(Gpu::new(context.clone(), geometry));
            let mut runner = Runner::load(&file[..], KvFormat::F16, 64, new).expect("it loads");
            assert_eq!(check(&context, &mut runner.executor), Ok(()), "{label} {kind:?}");
            assert_eq!(context.features().len() + 1, before.len(), "{label} {kind:?}: {:?}", context.features());
            let actual = runner.append(&tokens, MAX_ROWS).expect("it runs");
            let d = difference(&actual, &expected);
            assert!(d < 2e-3, "{label} {kind:?}: {d} of the largest logit");
            context.heal();
        }
    }
}

/// Tiles of every kind pass, and a faulty one is given up; of an operation that has short and long ones, both.
#[test]
fn tiles_that_tuning_may_choose() {
    let context = context(&Request::default());
    let mut all = vec![Numbers::Bytes];
    all.extend(context.facts().f16.then_some(Numbers::F16));
    let chosen = |numbers| Forms { numbers, tile_t: 64, ..context.forms() };
    let chunk = |format| prepared_plan(&context, &small(format), KvFormat::F32, 2).expect("it prepares");
    let flip = FaultKind::FlipBits { written: 0, word: 2, mask: MASK };
    for numbers in all {
        context.set_forms(chosen(numbers));
        let formats = [Format::F16, Format::Q4_1, Format::Q6_K, Format::MXFP4];
        formats.into_iter().for_each(|format| assert_passes(&context, chunk(format)));
        for kind in [flip, FaultKind::Refused] {
            context.inject(Fault::of("matmul_narrow", kind));
            context.set_forms(chosen(numbers));
            assert_eq!(check(&context, &mut chunk(Format::Q4_1)), Ok(()), "{numbers:?} {kind:?}");
            assert_eq!(context.forms(), chosen(Numbers::F32), "{numbers:?} {kind:?}");
            context.heal();
        }
    }
    for (flag, expected) in [
        (T_64, Forms { tile_t: 32, short_tiles: false, ..chosen(Numbers::F32) }),
        (T_16, Forms { short_tiles: false, ..chosen(Numbers::F32) }),
    ] {
        context.inject(Fault { shaders: Box::new(move |s| s.has(flag)), kind: flip });
        context.set_forms(chosen(Numbers::F32));
        assert_eq!(check(&context, &mut chunk(Format::Q4_1)), Ok(()), "{flag}");
        assert_eq!(context.forms(), expected);
        context.heal();
    }
}
