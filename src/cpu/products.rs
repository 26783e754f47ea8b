//! [`MatMul`] on the threads of a job: norm and quantization of the activations, the panels of all parts as one list of items,
//! then bias, low-rank addition and epilogue on eight rows at a time.

use std::{ops::Range, sync::atomic::AtomicU32};

use super::{
    activations::{self, Act8, Act16},
    flavour::Flavour,
    math,
    matmul::{ActKind, Acts, Lanes8, panel_product, raise},
    pool::Team,
    run::{CHUNKS_PER_THREAD, Context, claim},
    scratch::Scratch,
    simd::F32x4,
    tiles::Unpacked,
};
use crate::{
    plan::{Epilogue, Lora, MatMul, Part},
    quant::repack::{BLOCK, Matrix, PANEL_ROWS},
};

/// A part with what its panels are multiplied with.
#[derive(Clone, Copy)]
struct Operand<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    lora: Option<&'a LowRank<'a>>,
}

/// `scale · u · bᵀ` with u = x · aᵀ [T, R] ready.
struct LowRank<'a> {
    b: &'a Matrix,
    scale: f32,
    u: OwnedActs,
}

/// Activations of a low-rank product: small, and only where a plan has one.
struct OwnedActs {
    float: Vec<f32>,
    act8: Vec<Act8>,
    act16: Vec<Act16>,
}

impl OwnedActs {
    fn acts(&self) -> Acts<'_> {
        Acts { float: &self.float, raised: &[], act8: &self.act8, act16: &self.act16 }
    }
}

/// Which kinds of activations the parts of a product read.
#[derive(Clone, Copy, Default)]
struct Kinds {
    float: bool,
    half: bool,
    act8: bool,
    act16: bool,
}

impl Kinds {
    fn add(&mut self, kind: ActKind) {
        match kind {
            ActKind::Float => self.float = true,
            ActKind::Half => self.half = true,
            ActKind::Act8 => self.act8 = true,
            ActKind::Act16 => self.act16 = true,
        }
    }
}

impl Context<'_> {
    pub(super) fn mat_mul(&self, m: &MatMul, counters: [&AtomicU32; 2], team: &Team<'_>, scratch: &mut Scratch) {
        let n_rows = self.n_rows(m.x);
        if n_rows == 0 {
            return;
        }
        let kinds = self.kinds(m);
        if n_rows > 1 {
            self.make_shared_acts(m, kinds, n_rows, counters[0], team, scratch);
            let k = self.width(m.x);
            let acts = self.shared_acts(kinds, n_rows, k, m);
            let Scratch { unpacked, acc, acc_2, .. } = scratch;
            self.panels(m, acts, n_rows, counters[1], team, unpacked, [acc, acc_2]);
        } else {
            let Scratch { unpacked, acc, acc_2, normed, raised, act8, act16, .. } = scratch;
            let x = self.row(m.x, 0);
            let float = match &m.norm {
                Some(norm) => {
                    let normed = &mut normed[..x.len()];
                    self.norm(norm, x, normed);
                    &*normed
                }
                None => x,
            };
            let blocks = x.len() / BLOCK;
            if kinds.act8 {
                activations::quantize_8(float, &mut act8[..blocks]);
            }
            if kinds.act16 {
                self.quantize_16(float, &mut act16[..blocks]);
            }
            let raised = &mut raised[..x.len()];
            let raised = if kinds.half && raise(float, raised) { &*raised } else { &[] };
            let acts = Acts { float, raised, act8: &act8[..blocks], act16: &act16[..blocks] };
            self.panels(m, acts, 1, counters[1], team, unpacked, [acc, acc_2]);
        }
    }

    fn quantize_16(&self, x: &[f32], out: &mut [Act16]) {
        match self.flavour {
            Flavour::Fine => activations::quantize_fine(x, out),
            Flavour::Madd | Flavour::DotAdd | Flavour::Plain => activations::quantize_16(x, out),
        }
    }

    fn kinds(&self, m: &MatMul) -> Kinds {
        let mut kinds = Kinds::default();
        for part in &m.parts {
            kinds.add(ActKind::of(self.matrix(part.weight), self.flavour));
            if let Some(lora) = part.lora {
                kinds.add(ActKind::of(self.matrix(lora.a), self.flavour));
            }
        }
        kinds
    }

    /// Norms and quantizes the rows, each by the thread that claims it, and lets all threads see them.
    fn make_shared_acts(
        &self,
        m: &MatMul,
        kinds: Kinds,
        n_rows: usize,
        counter: &AtomicU32,
        team: &Team<'_>,
        scratch: &mut Scratch,
    ) {
        if m.norm.is_none() && !kinds.act8 && !kinds.act16 {
            return;
        }
        let k = self.width(m.x);
        let chunk = (n_rows / (CHUNKS_PER_THREAD * team.n_threads())).max(1);
        while let Some(rows) = claim(counter, n_rows, chunk) {
            for t in rows {
                let x = self.row(m.x, t);
                let x = match &m.norm {
                    Some(norm) if kinds.float || kinds.half => {
                        let out = self.acts.float_row_mut(t, k);
                        self.norm(norm, x, out);
                        &*out
                    }
                    Some(norm) => {
                        let out = &mut scratch.normed[..k];
                        self.norm(norm, x, out);
                        &*out
                    }
                    None => x,
                };
                if kinds.act8 {
                    activations::quantize_8(x, self.acts.act8_row_mut(t, k / BLOCK));
                }
                if kinds.act16 {
                    self.quantize_16(x, self.acts.act16_row_mut(t, k / BLOCK));
                }
            }
        }
        team.barrier();
    }

    fn shared_acts(&self, kinds: Kinds, n_rows: usize, k: usize, m: &MatMul) -> Acts<'_> {
        let made = self.acts.rows(n_rows, k);
        let float = if !kinds.float && !kinds.half {
            &[]
        } else if m.norm.is_some() {
            made.float
        } else {
            self.all_rows(m.x, n_rows)
        };
        Acts { float, ..made }
    }

    /// All panels of all parts (with a gated epilogue: of the first, each with its partner of the second).
    #[expect(clippy::too_many_arguments, reason = "the parts of one thread's scratch are borrowed one by one")]
    fn panels(
        &self,
        m: &MatMul,
        acts: Acts<'_>,
        n_rows: usize,
        counter: &AtomicU32,
        team: &Team<'_>,
        unpacked: &mut Unpacked,
        acc: [&mut [Lanes8]; 2],
    ) {
        let [acc, acc_2] = acc.map(|a| &mut a[..n_rows]);
        let low_ranks = self.low_ranks(m, acts, n_rows, unpacked);
        let operand = |part: usize| {
            let Part { weight, bias, .. } = m.parts[part];
            let lora = low_ranks.get(part).and_then(Option::as_ref);
            Operand { matrix: self.matrix(weight), bias: bias.map(|b| self.vector(b)), lora }
        };
        let n_panels = |part: usize| self.matrix(m.parts[part].weight).n_rows().div_ceil(PANEL_ROWS);
        let gated = matches!(m.epilogue, Epilogue::Glu { .. });
        let total: usize = if gated { n_panels(0) } else { (0..m.parts.len()).map(n_panels).sum() };
        let chunk = (total / (CHUNKS_PER_THREAD * team.n_threads())).max(1);
        while let Some(items) = claim(counter, total, chunk) {
            let (mut part, mut first) = (0, 0);
            for item in items {
                while !gated && item - first >= n_panels(part) {
                    first += n_panels(part);
                    part += 1;
                }
                let (panel, o) = (item - first, operand(part));
                self.product(o, panel, acts, unpacked, acc);
                if gated {
                    self.product(operand(1), panel, acts, unpacked, acc_2);
                }
                self.write_panel(m, part, panel, o.matrix.n_rows(), acc, acc_2);
            }
        }
    }

    /// What the parts' low-rank additions are multiplied with, by part; nothing where there are none, as in most plans.
    fn low_ranks<'a>(
        &'a self,
        m: &MatMul,
        acts: Acts<'_>,
        n_rows: usize,
        unpacked: &mut Unpacked,
    ) -> Vec<Option<LowRank<'a>>> {
        if m.parts.iter().all(|part| part.lora.is_none()) {
            return vec![];
        }
        m.parts.iter().map(|part| part.lora.map(|lora| self.low_rank(&lora, acts, n_rows, unpacked))).collect()
    }

    /// u = x · aᵀ, by every thread for itself: R is small.
    fn low_rank<'a>(&'a self, lora: &Lora, acts: Acts<'_>, n_rows: usize, unpacked: &mut Unpacked) -> LowRank<'a> {
        let (a, b) = (self.matrix(lora.a), self.matrix(lora.b));
        let rank = a.n_rows();
        let mut float = vec![0.0; n_rows * rank];
        let mut acc = vec![[F32x4::splat(0.0); 2]; n_rows];
        for panel in 0..rank.div_ceil(PANEL_ROWS) {
            panel_product(a, self.flavour, panel, acts, unpacked, &mut acc);
            for (acc, u) in acc.iter().zip(float.chunks_exact_mut(rank)) {
                lanes(acc).iter().zip(&mut u[panel * PANEL_ROWS..]).for_each(|(x, u)| *u = *x);
            }
        }
        let mut u = OwnedActs { float, act8: vec![], act16: vec![] };
        match ActKind::of(b, self.flavour) {
            ActKind::Float | ActKind::Half => {}
            ActKind::Act8 => {
                u.act8.resize(u.float.len() / BLOCK, Act8::ZERO);
                activations::quantize_8(&u.float, &mut u.act8);
            }
            ActKind::Act16 => {
                u.act16.resize(u.float.len() / BLOCK, Act16::ZERO);
                self.quantize_16(&u.float, &mut u.act16);
            }
        }
        LowRank { b, scale: lora.scale, u }
    }

    /// `acc[t] = x · wᵀ (+ scale · u · bᵀ) + bias` for the rows of a panel.
    fn product(&self, o: Operand<'_>, panel: usize, acts: Acts<'_>, unpacked: &mut Unpacked, acc: &mut [Lanes8]) {
        panel_product(o.matrix, self.flavour, panel, acts, unpacked, acc);
        if let Some(lora) = o.lora {
            let mut delta = vec![[F32x4::splat(0.0); 2]; acc.len()];
            panel_product(lora.b, self.flavour, panel, lora.u.acts(), unpacked, &mut delta);
            let scale = F32x4::splat(lora.scale);
            for (acc, delta) in acc.iter_mut().zip(delta) {
                *acc = [acc[0].add(delta[0].mul(scale)), acc[1].add(delta[1].mul(scale))];
            }
        }
        if let Some(bias) = o.bias {
            let bias = load_8(&bias[rows_of(panel, bias.len())]);
            acc.iter_mut().for_each(|acc| *acc = [acc[0].add(bias[0]), acc[1].add(bias[1])]);
        }
    }

    fn write_panel(&self, m: &MatMul, part: usize, panel: usize, n: usize, acc: &[Lanes8], acc_2: &[Lanes8]) {
        let columns = rows_of(panel, n);
        for (t, acc) in acc.iter().enumerate() {
            let (out, y) = match m.epilogue {
                Epilogue::None => (m.parts[part].out, *acc),
                // `prepare` refuses it.
                Epilogue::Scale { out, .. } => (out, *acc),
                Epilogue::Add { residual, scale, out } => {
                    let (r, scale) = (load_8(&self.row(residual, t)[columns.clone()]), F32x4::splat(scale));
                    (out, [r[0].add(acc[0].mul(scale)), r[1].add(acc[1].mul(scale))])
                }
                Epilogue::Activate { activation, out } => (out, acc.map(|acc| math::activate(activation, acc))),
                Epilogue::Glu { activation, out } => {
                    (out, core::array::from_fn(|h| math::activate(activation, acc[h]).mul(acc_2[t][h])))
                }
            };
            let out = self.columns_mut(out, t, columns.clone());
            lanes(&y).iter().zip(out).for_each(|(y, o)| *o = *y);
        }
    }
}

/// The rows of a panel of a matrix of n rows.
fn rows_of(panel: usize, n: usize) -> Range<usize> {
    panel * PANEL_ROWS..n.min((panel + 1) * PANEL_ROWS)
}

fn lanes(x: &Lanes8) -> [f32; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (x[0].to_array(), x[1].to_array());
    [a, b, c, d, e, f, g, h]
}

/// Up to eight values, the rest zero.
fn load_8(x: &[f32]) -> Lanes8 {
    let mut padded = [0.0; 8];
    padded.iter_mut().zip(x).for_each(|(p, x)| *p = *x);
    let (quads, _) = padded.as_chunks::<4>();
    [F32x4::load(&quads[0]), F32x4::load(&quads[1])]
}
