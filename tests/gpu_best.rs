//! The best logits and log Σ e^logit as the GPU finds them, against a sort.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::{rc::Rc, sync::Arc};

use common::{gpu::watched, rng::Rng};
use kinglet::{
    gguf::{Header, Metadata, TensorInfo},
    gpu::{Context, Gpu, Request},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Builder, Executor, PlanSlot, Progress, Row, RowBound, RowInput, Step, Want},
    quant::Format,
    sample::Best,
    weights::Weights,
};

/// A model whose logits are the rows of a table.
struct Table {
    context: Rc<Context>,
    gpu: Gpu,
    slot: PlanSlot,
    rows: Vec<Vec<f32>>,
}

impl Table {
    fn new(context: &Rc<Context>, rows: Vec<Vec<f32>>) -> Self {
        let (n, width) = (rows.len(), rows[0].len());
        let bytes: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let shape = vec![n, width];
        let n_bytes = bytes.len() as u64;
        let header = Header {
            version: 3,
            metadata: Metadata::default(),
            tensors: vec![TensorInfo { name: "x".into(), shape, format: Format::F32, offset: 0, n_bytes }],
            alignment: 32,
            data_offset: 0,
            end_offset: 0,
            fingerprint: 0,
        };
        let weights = Weights::from_header(&header);
        let mut b = Builder::new("a table", &weights, RowBound::UpTo(n), n);
        let table = b.weight("x", &[n, width]).expect("it is there");
        let x = b.embed(table, 1.0);
        let output = b.select_rows("logits", x);
        let plan = b.finish(output);
        let geometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 };
        let mut gpu = Gpu::new(context.clone(), geometry);
        for (id, spec) in weights.iter() {
            gpu.create_weight(id, spec).expect("room");
            gpu.write_weight(id, &bytes).expect("its bytes");
        }
        let slot = gpu.prepare(Arc::new(plan)).expect("a plan");
        gpu.kv_reserve(1).expect("room");
        Self { context: context.clone(), gpu, slot, rows }
    }

    fn step(&mut self, want: Want) {
        let n = self.rows.len() as u32;
        let row = |i| Row::token(i, i, 0);
        let rows: Vec<Row> = (0..n).map(row).collect();
        let outputs: Vec<u32> = (0..n).collect();
        let sequences: &[&[PageId]] = &[&[PageId(0)]];
        let step = Step { rows: &rows, outputs: &outputs, sequences, memories: &[], embeddings: &[], want };
        self.gpu.begin(self.slot, &step).expect("a step");
        while self.gpu.advance(1).expect("it runs") != Progress::Complete {}
    }

    /// Whether the candidates of every row came, and are the right ones; otherwise all logits must be there.
    fn check(&mut self, n: usize) -> bool {
        let came = self.judge(n).unwrap_or_else(|what| panic!("the best {n}: {what}"));
        assert!(self.context.check_zones().expect("nothing is written behind a buffer") > 0);
        came
    }

    fn judge(&mut self, n: usize) -> Result<bool, String> {
        self.step(Want::Best(n));
        let mut came = true;
        for (o, row) in self.rows.iter().enumerate() {
            match self.gpu.best(o).expect("a complete step") {
                Some(best) => judge_row(row, best, n)?,
                None => {
                    came = false;
                    assert_eq!(self.gpu.output(o).expect("all logits"), row);
                }
            }
        }
        Ok(came)
    }
}

/// What is wrong with the candidates of a row, if anything.
fn judge_row(row: &[f32], best: Best<'_>, n: usize) -> Result<(), String> {
    let demand = |good: bool, what: &str| if good { Ok(()) } else { Err(what.to_owned()) };
    let mut sorted = row.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let last = sorted[n.min(row.len()) - 1];
    let mut ids: Vec<u32> = best.candidates.iter().map(|c| c.id).collect();
    ids.sort_unstable();
    demand(ids.windows(2).all(|w| w[0] < w[1]), "a candidate came twice")?;
    let same = best.candidates.iter().all(|c| row.get(c.id as usize).is_some_and(|x| x.to_bits() == c.logit.to_bits()));
    demand(same, "a candidate has another logit")?;
    let mut must = row.iter().enumerate().filter(|(_, x)| **x >= last);
    demand(must.all(|(id, _)| ids.binary_search(&(id as u32)).is_ok()), "one of the best is missing")?;
    let least = best.candidates.iter().map(|c| c.logit).fold(f32::INFINITY, f32::min);
    demand(ids.len() == row.iter().filter(|x| **x >= least).count(), "something better was left out")?;
    demand(ids.len() <= n + 32, "there are too many")?;
    let max = f64::from(sorted[0]);
    let expected = max + row.iter().map(|x| (f64::from(*x) - max).exp()).sum::<f64>().ln();
    let good = (best.log_sum_exp - expected).abs() <= 5e-6;
    demand(good, &format!("log Σ e^logit is {}, expected {expected}", best.log_sum_exp))
}

fn random(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut rng = Rng(seed);
    (0..n).map(|_| scale * (rng.signed() + rng.signed() + rng.signed())).collect()
}

#[test]
fn vocabularies_of_every_size() {
    let context = watched(&Request::default());
    for vocabulary in [1, 2, 7, 64, 65, 1000, 2048, 2049, 49_152, 150_000] {
        let mut table = Table::new(
            &context,
            vec![random(vocabulary, 5, 4.0), random(vocabulary, 6, 0.01), random(vocabulary, 7, 300.0)],
        );
        for n in [1, 2, 40, 128] {
            assert!(table.check(n), "{vocabulary} logits, the best {n}: too many candidates");
        }
        // More than can be had: all logits.
        assert!(!table.check(129));
        table.step(Want::All);
        assert!(table.gpu.best(0).expect("a complete step").is_none());
    }
}

#[test]
fn the_largest_vocabulary() {
    let context = watched(&Request::default());
    let mut table = Table::new(&context, vec![random(262_144, 9, 3.0)]);
    assert!(table.check(1) && table.check(40));
}

#[test]
fn ties() {
    let context = watched(&Request::default());
    let n = 49_152;
    // The best are equal, here and there, and next to each other.
    let mut few = random(n, 1, 1.0);
    (0..20).for_each(|i| few[i * 2000 + 17] = 9.0);
    (0..20).for_each(|i| few[30_000 + i] = 9.0);
    let mut table = Table::new(&context, vec![few]);
    assert!(!table.check(1), "40 equal ones are more than 1 + 32");
    assert!(table.check(8) && table.check(40) && table.check(41));
    // All are equal: no way but to read them all.
    let mut table = Table::new(&context, vec![vec![-2.5; n]]);
    assert!(!table.check(1) && !table.check(128));
    // Zeros of both signs are equal.
    let mut zeros = vec![-1.0; n];
    (0..30).for_each(|i| zeros[i * 1000] = if i % 2 == 0 { 0.0 } else { -0.0 });
    let mut table = Table::new(&context, vec![zeros]);
    assert!(table.check(4) && table.check(30));
}

/// A model of one row whose logits are a product [n, 96] with what it looks up.
fn product(context: &Rc<Context>, n: usize) -> (Gpu, PlanSlot) {
    let k = 96;
    let shapes = [("x", [8, k]), ("w", [n, k])];
    let data = shapes.map(|(_, [n, k])| random(n * k, n as u64, 0.3));
    let tensor = |(name, [n, k]): (&str, [usize; 2])| {
        let (name, shape, n_bytes) = (name.to_owned(), vec![n, k], 4 * (n * k) as u64);
        TensorInfo { name, shape, format: Format::F32, offset: 0, n_bytes }
    };
    let header = Header {
        version: 3,
        metadata: Metadata::default(),
        tensors: shapes.map(tensor).into(),
        alignment: 32,
        data_offset: 0,
        end_offset: 0,
        fingerprint: 0,
    };
    let weights = Weights::from_header(&header);
    let mut b = Builder::new("a product", &weights, RowBound::One, 1);
    let [x, w] = shapes.map(|(name, shape)| b.weight(name, &shape).expect("it is there"));
    let x = b.embed(x, 1.0);
    let row = b.select_rows("row", x);
    let output = b.mat_mul("logits", row, w, None);
    let plan = b.finish(output);
    let mut gpu = Gpu::new(context.clone(), KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 });
    for ((id, spec), data) in weights.iter().zip(&data) {
        gpu.create_weight(id, spec).expect("room");
        gpu.write_weight(id, bytemuck::cast_slice(data)).expect("its bytes");
    }
    let slot = gpu.prepare(Arc::new(plan)).expect("a plan");
    gpu.kv_reserve(1).expect("room");
    (gpu, slot)
}

fn run_one(gpu: &mut Gpu, slot: PlanSlot, input: RowInput, embeddings: &[f32], want: Want) {
    let rows = [Row { input, position: 0, sequence: 0, segment: 0 }];
    let step = Step { rows: &rows, outputs: &[0], sequences: &[&[PageId(0)]], memories: &[], embeddings, want };
    gpu.begin(slot, &step).expect("a step");
    while gpu.advance(1).expect("it runs") != Progress::Complete {}
}

/// What a product finds of its own logits, in one round or in several, a team having one row or four.
#[test]
fn products_find_their_own_best() {
    for without_subgroups in [false, true] {
        let context = watched(&Request { without_subgroups, ..Request::default() });
        for n in [1, 7, 300, 4097, 20_000, 33_001] {
            let (mut gpu, slot) = product(&context, n);
            let lowered = gpu.lowered(slot).expect("it is prepared");
            assert_eq!((lowered.best.len(), lowered.dispatches.len()), (1, 2), "the product, and what it is of");
            let rounds = lowered.dispatches[1].constants.iter().find(|(name, _)| *name == "ROUNDS").expect("rounds").1;
            assert_eq!(rounds > 1.0, n > 4096, "{n} logits in {rounds} rounds");
            assert_eq!(lowered.dispatches[1].shader.has("TEAM_4"), n == 33_001);
            for token in 0..3 {
                run_one(&mut gpu, slot, RowInput::Token(token), &[], Want::All);
                let logits = gpu.output(0).expect("all logits").to_vec();
                for wanted in [1, 40, 128] {
                    run_one(&mut gpu, slot, RowInput::Token(token), &[], Want::Best(wanted));
                    let best = gpu.best(0).expect("a complete step").expect("few enough candidates");
                    judge_row(&logits, best, wanted).unwrap_or_else(|what| panic!("the best {wanted} of {n}: {what}"));
                }
            }
            for x in [f32::INFINITY, f32::NAN, 1e38] {
                run_one(&mut gpu, slot, RowInput::Embedding(0), &[x; 96], Want::Best(40));
                let is_finite = match gpu.best(0).expect("a complete step") {
                    Some(best) => best.log_sum_exp.is_finite(),
                    None => gpu.output(0).expect("all logits").iter().all(|x| x.is_finite()),
                };
                run_one(&mut gpu, slot, RowInput::Embedding(0), &[x; 96], Want::All);
                let expected = gpu.output(0).expect("all logits").iter().all(|x| x.is_finite());
                assert_eq!(is_finite, expected, "{n} logits of {x}");
            }
            assert!(context.check_zones().expect("nothing is written behind a buffer") > 0);
        }
    }
}

/// The judge sees a candidate that is missing, one that is wrong, and a sum without one logit.
#[test]
fn the_judge_sees_what_it_should() {
    let row = random(1000, 8, 3.0);
    let top = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
    let mut table = Table::new(&watched(&Request::default()), vec![row.clone()]);
    assert_eq!(table.judge(5), Ok(true));
    table.rows[0][top(&row)] += 0.001;
    assert_eq!(table.judge(5), Err("a candidate has another logit".into()));
    table.rows[0] = row.clone();
    table.rows[0][0] = 100.0;
    assert_eq!(table.judge(5), Err("one of the best is missing".into()));
    table.rows[0] = row.clone();
    let middling = row.iter().position(|x| x.abs() < 0.1).expect("one of a thousand");
    table.rows[0][middling] = f32::NEG_INFINITY;
    assert!(table.judge(1).is_err_and(|what| what.starts_with("log")));
}

#[test]
fn what_is_not_finite_is_seen() {
    let context = watched(&Request::default());
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 31_337, 49_151] {
            let mut row = random(49_152, 3, 2.0);
            row[at] = bad;
            // A table with such a value is refused, so it comes as an embedding of the step.
            let mut table = Table::new(&context, vec![random(49_152, 4, 2.0)]);
            let step = Step {
                memories: &[],
                rows: &[Row { input: RowInput::Embedding(0), position: 0, sequence: 0, segment: 0 }],
                outputs: &[0],
                sequences: &[&[PageId(0)]],
                embeddings: &row,
                want: Want::Best(40),
            };
            table.gpu.begin(table.slot, &step).expect("a step");
            while table.gpu.advance(1).expect("it runs") != Progress::Complete {}
            let seen = match table.gpu.best(0).expect("a complete step") {
                Some(best) => !best.log_sum_exp.is_finite(),
                None => table.gpu.output(0).expect("all logits").iter().any(|x| !x.is_finite()),
            };
            assert!(seen, "{bad} at {at}");
        }
    }
}
