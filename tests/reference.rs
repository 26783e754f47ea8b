//! The reference executor: what must hold of every executor, above all the same bits however a sequence was divided into
//! steps. Its formulas are held by `formulas.rs`.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod common;

use std::sync::Arc;

use common::{
    llama_model::{llama_model, write_random_weights},
    step_runner::{StepRunner, bits},
    tiny_llama::TinyConfig,
};
use kinglet::{
    arch::{Model, Task},
    error::Error,
    kv::{self, Binding, Contents, KvFormat, KvGeometry, PageId},
    plan::{
        Buffer, BufferId, Epilogue, Executor, Lora, MatMul, Op, Part, Plan, Progress, Row, RowBound, RowInput, Rows,
        Step, Want,
        fuse::{Rule, fuse},
    },
    quant::Format,
    reference::Reference,
    weights::{WeightId, WeightSpec},
};

const CONTEXT: usize = 192;
const TOKENS: [u32; 7] = [3, 50, 7, 7, 200, 11, 319];

fn tiny() -> Model {
    llama_model(&TinyConfig { n_layer: 2, biases: true, rope_freqs: true, ..TinyConfig::default() })
}

fn loaded(model: &Model, format: KvFormat) -> Reference {
    let mut executor = Reference::new(model.kv_geometry(format));
    write_random_weights(model, &mut executor, 7);
    executor
}

fn runner_of(model: &Model, plan: Plan) -> StepRunner<Reference> {
    StepRunner::new(loaded(model, KvFormat::F16), plan, CONTEXT, 3)
}

fn runner(model: &Model) -> StepRunner<Reference> {
    runner_of(model, model.plan(Task::Generate, RowBound::UpTo(192), 192).unwrap())
}

/// Many tokens, so that sequences cross pages.
fn long_tokens(n: usize) -> Vec<u32> {
    (0..n).map(|i| (i * 37 % 320) as u32).collect()
}

#[test]
fn low_rank_parts_and_biases_by_hand() {
    let geometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 2, format: KvFormat::F32 };
    let mut executor = Reference::new(geometry);
    let weights: [(&[usize], &[f32]); 5] = [
        (&[1, 2], &[1.0, 2.0]),           // table
        (&[2, 2], &[1.0, 0.0, 0.0, 1.0]), // weight
        (&[1, 2], &[1.0, 1.0]),           // a
        (&[2, 1], &[10.0, 20.0]),         // b
        (&[2], &[100.0, 200.0]),          // bias
    ];
    for (i, (shape, values)) in weights.into_iter().enumerate() {
        let spec = WeightSpec { name: format!("w{i}"), shape: shape.into(), format: Format::F32 };
        executor.create_weight(WeightId(i as u32), &spec).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        executor.write_weight(WeightId(i as u32), &bytes).unwrap();
    }
    let buffer = |name: &str| Buffer { name: name.into(), rows: Rows::New, width: 2 };
    let part = Part {
        weight: WeightId(1),
        bias: Some(WeightId(4)),
        lora: Some(Lora { a: WeightId(2), b: WeightId(3), scale: 0.5 }),
        out: BufferId(1),
    };
    let plan = Plan {
        name: "lora".into(),
        rows: RowBound::One,
        max_outputs: 1,
        buffers: vec![buffer("x"), buffer("y")],
        ops: vec![
            Op::Embed { table: WeightId(0), scale: 1.0, out: BufferId(0) },
            Op::MatMul(MatMul { x: BufferId(0), norm: None, parts: vec![part], epilogue: Epilogue::None }),
        ],
        output: BufferId(1),
        taps: vec![],
        is_precise: false,
    };
    let slot = executor.prepare(Arc::new(plan)).unwrap();
    executor.kv_reserve(1).unwrap();
    let row = Row { input: RowInput::Token(0), position: 0, sequence: 0, segment: 0 };
    executor
        .begin(
            slot,
            &Step {
                rows: &[row],
                outputs: &[0],
                sequences: &[&[PageId(0)]],
                memories: &[],
                embeddings: &[],
                want: Want::All,
            },
        )
        .unwrap();
    executor.advance(usize::MAX).unwrap();
    // x = (1, 2), x · aᵀ = 3: 1 + 0.5 · 3 · 10 + 100 and 2 + 0.5 · 3 · 20 + 200.
    assert_eq!(executor.output(0).unwrap(), [116.0, 232.0]);
}

// The same bits, however the work is divided.

#[test]
fn chunks_tokens_and_one_pass_give_the_same_bits() {
    let model = tiny();
    let tokens = long_tokens(150);
    let mut runner = runner(&model);
    let at_once = bits(&runner.feed_new(&tokens, 150));
    for chunk in [1, 7, 64, 65, 149] {
        assert!(bits(&runner.feed_new(&tokens, chunk)) == at_once, "in chunks of {chunk}");
    }
    assert!(
        bits(&runner.feed_new(&long_tokens(149), 150)) == at_once[..149],
        "causal: the last token changes no other"
    );
    let mut other = tokens.clone();
    other[0] += 1;
    assert!(bits(&runner.feed_new(&other, 150))[149] != at_once[149], "the first token reaches the last");
}

/// The value was computed on x86-64; this test runs in wasm32, too.
#[test]
fn every_platform_gives_the_same_bits() {
    let logits = bits(&runner(&tiny()).feed_new(&long_tokens(70), 70));
    let fnv = |hash: u64, bits: &u32| (hash ^ u64::from(*bits)).wrapping_mul(0x100_0000_01b3);
    assert_eq!(logits.iter().flatten().fold(0xcbf2_9ce4_8422_2325, fnv), 0x85cf_47c1_cc9b_af40);
}

#[test]
fn every_subset_of_rules_gives_the_same_bits() {
    let model = tiny();
    let plan = model.unfused_plan(Task::Generate, RowBound::UpTo(16), 16).unwrap();
    let expected = bits(&runner_of(&model, plan.clone()).feed_new(&TOKENS, 4));
    for subset in 1..1 << Rule::EVERY.len() {
        let rules: Vec<Rule> =
            (0..Rule::EVERY.len()).filter(|i| subset >> i & 1 == 1).map(|i| Rule::EVERY[i]).collect();
        let fused = fuse(plan.clone(), &rules);
        assert!(bits(&runner_of(&model, fused).feed_new(&TOKENS, 4)) == expected, "{rules:?}");
    }
}

#[test]
fn truncate_and_go_on_equals_an_undisturbed_run() {
    let model = tiny();
    let mut runner = runner(&model);
    let tokens = long_tokens(140);
    let expected = bits(&runner.feed_new(&tokens, 50));
    for keep in [1, 63, 64, 65, 128, 139] {
        let id = runner.kv.create();
        runner.feed(id, &tokens[..keep], 30);
        runner.feed(id, &long_tokens(170 - keep)[..140 - keep], 30);
        runner.kv.truncate(id, keep).unwrap();
        assert!(bits(&runner.feed(id, &tokens[keep..], 30)) == expected[keep..], "kept {keep}");
        runner.kv.release(id).unwrap();
    }
}

#[test]
fn forks_equal_undisturbed_runs_and_leave_each_other_alone() {
    let model = tiny();
    let mut runner = runner(&model);
    let prefix = long_tokens(70);
    let (left, right) = ([5, 6, 7, 8], [9, 10, 11, 12]);
    let expect = |runner: &mut StepRunner<Reference>, tail: &[u32]| {
        bits(&runner.feed_new(&[&prefix, tail].concat(), 40))[70..].to_vec()
    };
    let (expected_left, expected_right) = (expect(&mut runner, &left), expect(&mut runner, &right));
    assert!(expected_left != expected_right);

    let a = runner.kv.create();
    runner.feed(a, &prefix, 40);
    let b = runner.kv.fork(a).unwrap();
    // Both in every step, sharing the prefix's full page.
    let mut both = [vec![], vec![]];
    for i in 0..left.len() {
        let logits = runner.step(&[(a, &left[i..=i]), (b, &right[i..=i])]);
        both[0].push(logits[0].clone());
        both[1].push(logits[1].clone());
    }
    assert!(bits(&both[0]) == expected_left && bits(&both[1]) == expected_right);
    assert_eq!(runner.kv.pages(a).unwrap()[0], runner.kv.pages(b).unwrap()[0]);

    // Rows of different lengths in one step.
    runner.kv.truncate(a, 70).unwrap();
    runner.kv.truncate(b, 72).unwrap();
    let logits = bits(&runner.step(&[(a, &left[..3]), (b, &right[2..3])]));
    assert!(logits[..3] == expected_left[..3] && logits[3] == expected_right[2]);
}

#[test]
fn slices_of_a_step_and_steps_that_were_dropped_change_nothing() {
    let model = tiny();
    let mut runner = runner(&model);
    let expected = bits(&runner.feed_new(&TOKENS, 16));
    let id = runner.kv.create();
    runner.feed(id, &TOKENS[..3], 16);

    // A step with other tokens is begun, advanced half-way and dropped.
    runner.begin(&[(id, &[99, 98, 97])]).unwrap();
    assert_eq!(runner.executor.advance(7), Ok(Progress::More));
    assert!(runner.executor.output(0).is_err(), "no output from a step that is not complete");
    runner.kv.truncate(id, 3).unwrap();

    // Its place is taken by the right one, one operation at a time.
    runner.begin(&[(id, &TOKENS[3..])]).unwrap();
    assert_eq!(runner.executor.advance(0), Ok(Progress::More));
    let n_ops = model.plan(Task::Generate, RowBound::UpTo(192), 192).unwrap().ops.len();
    let calls = (1..).find(|_| runner.executor.advance(1).unwrap() == Progress::Complete).unwrap();
    assert_eq!(calls, n_ops);
    assert_eq!(runner.executor.advance(1), Ok(Progress::Complete), "a complete step stays complete");
    for (o, expected) in expected[3..].iter().enumerate() {
        assert!(runner.executor.output(o).unwrap().iter().map(|x| x.to_bits()).eq(expected.iter().copied()));
    }
    assert!(runner.executor.output(4).is_err());
}

#[test]
fn a_snapshot_goes_on_as_if_nothing_had_happened() {
    // Heads that are whole blocks.
    let model = llama_model(&TinyConfig { head_size: 32, ..TinyConfig::default() });
    let tokens = long_tokens(100);
    for format in [KvFormat::F16, KvFormat::F32, KvFormat::Q8_0] {
        let geometry = model.kv_geometry(format);
        let new = || {
            StepRunner::new(
                loaded(&model, format),
                model.plan(Task::Generate, RowBound::UpTo(64), 64).unwrap(),
                CONTEXT,
                2,
            )
        };
        let (mut runner, mut fresh) = (new(), new());
        let expected = bits(&runner.feed_new(&tokens, 64));
        let id = runner.kv.create();
        runner.feed(id, &tokens[..90], 64);
        let binding = Binding { model: 42, geometry };
        let bytes = kv::snapshot(&runner.kv, id, b"a note", &tokens[..90], &binding, &mut runner.executor);
        let bytes = bytes.unwrap().unwrap();
        assert_eq!(bytes.len(), 40 + 6 + 90 * (4 + geometry.page_bytes() / kv::PAGE_POSITIONS));

        let contents = Contents::of(&bytes, &binding).unwrap();
        assert_eq!((contents.note, contents.tokens().as_slice()), (&b"a note"[..], &tokens[..90]));
        let id = fresh.kv.create();
        fresh.kv.append(id, contents.n_positions()).unwrap();
        fresh.executor.kv_reserve(fresh.kv.n_pages()).unwrap();
        contents.write(fresh.kv.pages(id).unwrap(), &mut fresh.executor).unwrap();
        assert!(bits(&fresh.feed(id, &tokens[90..], 64)) == expected[90..], "{format:?}");
    }
}

#[test]
fn a_snapshot_that_is_damaged_or_another_models_is_refused() {
    let model = tiny();
    let geometry = model.kv_geometry(KvFormat::F16);
    let mut runner = runner(&model);
    let id = runner.kv.create();
    runner.feed(id, &TOKENS, 16);
    let binding = Binding { model: 42, geometry };
    let bytes = kv::snapshot(&runner.kv, id, b"note", &TOKENS, &binding, &mut runner.executor).unwrap().unwrap();
    let refuse = |bytes: &[u8], binding: Binding, why: &str| match Contents::of(bytes, &binding) {
        Err(Error::Integrity { what }) if what.contains(why) => {}
        other => panic!("expected {why}: {other:?}"),
    };
    for i in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[i] ^= 0x40;
        refuse(&damaged, binding, "");
    }
    for n in 0..bytes.len() {
        refuse(&bytes[..n], binding, "");
    }
    refuse(&bytes, Binding { model: 43, ..binding }, "another model");
    let of_shape = |geometry| Binding { geometry, ..binding };
    refuse(&bytes, of_shape(KvGeometry { format: KvFormat::F32, ..geometry }), "another model, kvType");
    refuse(&bytes, of_shape(KvGeometry { layers: 3, ..geometry }), "another model, kvType");
    refuse(&[&bytes[..], &[0]].concat(), binding, "damaged");
    // Lengths that no memory holds, or other ones than there are: the checksum says nothing of them.
    for (at, length) in [(16, u64::MAX), (24, u64::MAX), (16, 6), (24, 3), (24, 5)] {
        let mut other = bytes.clone();
        other[at..at + 8].copy_from_slice(&length.to_le_bytes());
        refuse(&other, binding, "");
    }
    let wrong = kv::snapshot(&runner.kv, id, b"", &TOKENS[1..], &binding, &mut runner.executor);
    assert_eq!(wrong.unwrap_err().code(), "E_INTERNAL", "a token for each position");
}

#[test]
fn the_cache_is_rounded_to_its_format() {
    let model = tiny();
    let plan = model.plan(Task::Generate, RowBound::UpTo(16), 16).unwrap();
    let run = |format| StepRunner::new(loaded(&model, format), plan.clone(), CONTEXT, 1).feed_new(&TOKENS, 16);
    let (half, full) = (run(KvFormat::F16), run(KvFormat::F32));
    let difference = half.iter().flatten().zip(full.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference > 0.0 && difference < 0.02, "{difference}");
}

// Taps, embeddings, windows.

#[test]
fn taps_show_what_was_computed() {
    let model = tiny();
    let mut plan = model.unfused_plan(Task::Generate, RowBound::UpTo(16), 16).unwrap();
    let (embd, normed) = (plan.tap("embd").unwrap(), plan.tap("blk.1.ffn_norm").unwrap());
    assert!(matches!(plan.tap("nothing"), Err(Error::InvalidArgument { .. })));
    let plan = fuse(plan, Rule::ALL);
    let untapped = bits(&runner(&model).feed_new(&TOKENS, 16));
    let mut runner = runner_of(&model, plan);
    assert!(bits(&runner.feed_new(&TOKENS, 16)) == untapped, "a tap changes nothing");

    let rows = runner.executor.tap(embd).unwrap();
    assert_eq!(rows.len(), TOKENS.len() * model.hyper.n_embd);
    let row = |t: usize| rows[t * model.hyper.n_embd..][..model.hyper.n_embd].to_vec();
    assert!(row(2) == row(3) && row(0) != row(1), "rows 2 and 3 have the same token");
    let norm = runner.executor.tap(normed).unwrap();
    assert!(norm.len() == rows.len() && norm.iter().all(|x| x.is_finite()));
    let gone = kinglet::plan::BufferId(embd.0 + 1);
    assert!(runner.executor.tap(gone).is_err(), "what is no tap is gone");
}

#[test]
fn an_embedding_row_equals_its_token() {
    let model = tiny();
    let mut plan = model.unfused_plan(Task::Generate, RowBound::UpTo(16), 16).unwrap();
    let embd = plan.tap("embd").unwrap();
    let mut runner = runner_of(&model, plan);
    let expected = bits(&runner.feed_new(&TOKENS[..2], 16));
    let rows = runner.executor.tap(embd).unwrap().to_vec();

    let sequence = [PageId(0)];
    let row = |input, position| Row { input, position, sequence: 0, segment: 0 };
    let step = Step {
        memories: &[],
        rows: &[row(RowInput::Embedding(0), 0), row(RowInput::Embedding(1), 1)],
        outputs: &[1],
        sequences: &[&sequence],
        embeddings: &rows,
        want: Want::All,
    };
    runner.executor.begin(runner.slot, &step).unwrap();
    runner.executor.advance(usize::MAX).unwrap();
    assert!(bits(&[runner.executor.output(0).unwrap().to_vec()]) == expected[1..]);
    assert!(runner.executor.output(1).is_err(), "only the rows that asked have logits");
}

#[test]
fn a_window_forgets() {
    let mut config = TinyConfig { n_layer: 1, ..TinyConfig::default() };
    config.rope_freqs = false;
    let mut model = llama_model(&config);
    let (long, mut other) = (long_tokens(100), long_tokens(100));
    other[..20].iter_mut().for_each(|t| *t += 1);
    let mut last = |window, tokens: &[u32]| {
        model.hyper.sliding_window = window;
        let mut runner = runner(&model);
        let logits = bits(&runner.feed_new(tokens, 33));
        logits[logits.len() - 1].clone()
    };
    // One layer, so the last row sees exactly the window: positions 20 to 99 are 80.
    assert!(last(Some(80), &long) == last(Some(80), &other));
    assert!(last(Some(81), &long) != last(Some(81), &other));
    assert!(last(Some(100), &long) == last(None, &long));
}

// Misuse.

#[test]
fn weights_that_are_missing_or_not_finite_are_refused() {
    let model = tiny();
    let mut executor = Reference::new(model.kv_geometry(KvFormat::F16));
    let slot = executor.prepare(Arc::new(model.plan(Task::Generate, RowBound::One, 1).unwrap())).unwrap();
    executor.kv_reserve(1).unwrap();
    let row = Row { input: RowInput::Token(0), position: 0, sequence: 0, segment: 0 };
    let step = Step {
        rows: &[row],
        outputs: &[0],
        sequences: &[&[PageId(0)]],
        memories: &[],
        embeddings: &[],
        want: Want::All,
    };
    assert!(executor.begin(slot, &step).is_err_and(|e| e.to_string().contains("not there")));
    assert!(executor.advance(1).is_err());

    let id = model.weights.find("output_norm.weight").unwrap();
    executor.create_weight(id, model.weights.spec(id)).unwrap();
    let nan = executor.write_weight(id, &[1.0_f32, f32::NAN].map(f32::to_le_bytes).concat());
    assert!(nan.is_err_and(|e| e.code() == "E_FILE_FORMAT" && e.to_string().contains("output_norm.weight")));

    let mut executor = loaded(&model, KvFormat::F16);
    let extra = executor.write_weight(id, &[0; 4]);
    assert!(extra.is_err_and(|e| e.code() == "E_INTERNAL"), "more bytes than the weight has");
    executor.create_weight(id, model.weights.spec(id)).unwrap();
    let slot = executor.prepare(Arc::new(model.plan(Task::Generate, RowBound::One, 1).unwrap())).unwrap();
    executor.kv_reserve(1).unwrap();
    assert!(executor.begin(slot, &step).is_err_and(|e| e.to_string().contains("output_norm.weight is not complete")));
}

#[test]
fn steps_that_break_the_rules_are_refused() {
    let model = tiny();
    let mut executor = loaded(&model, KvFormat::F16);
    let slot = executor.prepare(Arc::new(model.plan(Task::Generate, RowBound::UpTo(4), 2).unwrap())).unwrap();
    executor.kv_reserve(2).unwrap();
    let row = |position, sequence| Row::token(1, position, sequence);
    let (zero, one) = ([PageId(0)], [PageId(1)]);
    let mut begin = |rows: &[Row], outputs: &[u32], sequences: &[&[PageId]]| {
        executor
            .begin(slot, &Step { rows, outputs, sequences, memories: &[], embeddings: &[], want: Want::All })
            .map_err(|e| e.to_string())
    };
    assert_eq!(begin(&[row(0, 0), row(1, 0), row(0, 1)], &[1, 2], &[&zero, &one]), Ok(()));
    for (rows, outputs, sequences, why) in [
        (&[][..], &[][..], &[&zero[..]][..], "0 rows"),
        (&[row(0, 0); 5], &[], &[&zero], "5 rows"),
        (&[row(0, 0), row(1, 0), row(2, 0)], &[0, 1, 2], &[&zero], "3 outputs"),
        (&[row(0, 0)], &[1], &[&zero], "outputs [1]"),
        (&[row(0, 0), row(1, 0)], &[1, 0], &[&zero], "outputs [1, 0]"),
        (&[row(0, 1)], &[], &[&zero], "no sequence 1"),
        (&[row(64, 0)], &[], &[&zero], "position 64 is past 1 pages"),
        (&[row(0, 0)], &[], &[&[PageId(2)]], "page 2 of 2"),
        (&[row(0, 0), row(2, 0)], &[], &[&zero], "position 2 does not follow"),
        (&[row(0, 0), row(0, 1), row(1, 0)], &[], &[&zero, &one], "position 1 does not follow"),
        (&[row(0, 0)], &[], &[&zero, &zero], "page 0 is shared"),
    ] {
        let refused = begin(rows, outputs, sequences);
        assert!(refused.as_ref().is_err_and(|e| e.contains(why)), "expected {why}: {refused:?}");
    }
}

#[test]
fn a_token_past_the_table_is_an_error_and_the_executor_lives() {
    let model = tiny();
    let mut runner = runner(&model);
    let expected = bits(&runner.feed_new(&TOKENS, 16));
    let id = runner.kv.create();
    runner.begin(&[(id, &[320])]).unwrap();
    assert!(runner.executor.advance(usize::MAX).is_err_and(|e| e.code() == "E_INTERNAL"));
    runner.kv.release(id).unwrap();
    assert!(bits(&runner.feed_new(&TOKENS, 16)) == expected);
}
