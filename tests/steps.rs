//! Steps that break the rules of what they are run for: sequences that are not whole, memories that are not there, tables that
//! have no such row. Each executor refuses them before any work.

// The same tests in wasm32, where `usize` has 32 bits.
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod common;

use std::sync::Arc;

use common::recorder::{GEOMETRY, Recorder, TABLE, attention, weight_specs};
use kinglet::{
    cpu::{Cpu, pool::Pool},
    kv::PageId,
    plan::{Attention, BufferId, Executor, Memory, Op, Plan, PlanSlot, Row, RowIndex, Sees, Step, Want},
    reference::Reference,
    weights::WeightId,
};

/// An executor with a plan, its weights and four pages.
fn ready(mut executor: impl Executor + 'static, plan: Plan) -> (Box<dyn Executor>, PlanSlot) {
    for (i, spec) in weight_specs().iter().enumerate() {
        executor.create_weight(WeightId(i as u32), spec).expect("room");
        executor.write_weight(WeightId(i as u32), &vec![0; spec.file_bytes() as usize]).expect("its bytes");
    }
    let slot = executor.prepare(Arc::new(plan)).expect("a plan");
    executor.kv_reserve(4).expect("pages");
    (Box::new(executor), slot)
}

fn executors(plan: &Plan) -> [(Box<dyn Executor>, PlanSlot); 2] {
    let cpu = Cpu::new(GEOMETRY, Pool::new(1)).expect("an executor");
    [ready(Reference::new(GEOMETRY), plan.clone()), ready(cpu, plan.clone())]
}

/// What each executor says of a step.
fn verdicts(plan: &Plan, rows: &[Row], sequences: &[&[PageId]], memories: &[Memory<'_>]) -> Vec<Result<(), String>> {
    let step = Step { rows, outputs: &[], sequences, memories, embeddings: &[], want: Want::All };
    executors(plan).into_iter().map(|(mut e, slot)| e.begin(slot, &step).map_err(|e| e.to_string())).collect()
}

fn assert_refused(verdicts: &[Result<(), String>], why: &str) {
    assert!(verdicts.iter().all(|v| v.as_ref().is_err_and(|e| e.contains(why))), "expected {why}: {verdicts:?}");
}

fn attending(sees: Sees) -> Plan {
    let mut r = Recorder::new();
    r.kv_write(0, BufferId(0), BufferId(0));
    r.push(|out| Op::Attention(Attention { sees, ..attention(0, BufferId(0), out) }));
    r.finish()
}

const PAGES: [&[PageId]; 2] = [&[PageId(0)], &[PageId(1)]];

#[test]
fn whole_sequences_begin_at_their_beginning() {
    let plan = attending(Sees::Whole);
    let row = |position, sequence| Row::token(1, position, sequence);
    let of = |rows: &[Row]| verdicts(&plan, rows, &PAGES, &[]);
    assert!(of(&[row(0, 0), row(1, 0), row(0, 1)]).iter().all(Result::is_ok));
    assert_refused(&of(&[row(1, 0)]), "row 0: position 1 begins a sequence that is to be whole");
    assert_refused(&of(&[row(0, 0), row(1, 0), row(7, 1)]), "row 2: position 7 begins");
    let past = verdicts(&attending(Sees::Past), &[row(1, 0)], &PAGES, &[]);
    assert!(past.iter().all(Result::is_ok), "{past:?}");
}

#[test]
fn memories_are_there_for_every_sequence() {
    let plan = attending(Sees::Memory);
    let rows = [Row::token(1, 0, 0), Row::token(1, 0, 1)];
    let of = |memories: &[Memory<'_>]| verdicts(&plan, &rows, &PAGES, memories);
    let memory = |pages: &'static [PageId], n_positions| Memory { pages, n_positions };
    let good = memory(&[PageId(2), PageId(3)], 65);
    assert!(of(&[good, memory(&[PageId(3)], 1)]).iter().all(Result::is_ok));
    assert_refused(&of(&[]), "0 memories of 2 sequences");
    assert_refused(&of(&[good]), "1 memories of 2 sequences");
    assert_refused(&of(&[good, memory(&[PageId(3)], 0)]), "a memory of 0 positions");
    assert_refused(&of(&[good, memory(&[PageId(3)], 65)]), "a memory of 65 positions");
    assert_refused(&of(&[memory(&[PageId(4)], 3), good]), "of 4");
}

#[test]
fn tables_have_a_row_for_every_position() {
    // The table has six rows.
    let of = |index, row: Row| {
        let mut r = Recorder::new();
        r.push(|out| Op::AddRow { x: BufferId(0), table: TABLE, index, out });
        verdicts(&r.finish(), &[row], &PAGES, &[])
    };
    let at = |position| Row::token(1, position, 0);
    assert!(of(RowIndex::Position(0), at(5)).iter().all(Result::is_ok));
    assert!(of(RowIndex::Position(3), at(2)).iter().all(Result::is_ok));
    assert_refused(&of(RowIndex::Position(0), at(6)), "row 6 of 6");
    assert_refused(&of(RowIndex::Position(3), at(3)), "row 6 of 6");
    assert_refused(&of(RowIndex::Position(usize::MAX), at(3)), "of 6");
    let segment = |segment| Row { segment, ..at(9) };
    assert!(of(RowIndex::Segment, segment(5)).iter().all(Result::is_ok));
    assert_refused(&of(RowIndex::Segment, segment(6)), "row 6 of 6");
}
