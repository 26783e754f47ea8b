//! Records plans by hand, for tests of rules and executors. All buffers have one width, and a few small weights do for all.

use kinglet::{
    kv::{KvFormat, KvGeometry},
    plan::{
        Activation, Attention, Buffer, BufferId, Epilogue, MatMul, Norm, NormKind, Op, Part, Plan, Rope, RopeStyle,
        RowBound, Rows, Sees,
    },
    quant::Format,
    weights::{WeightId, WeightSpec},
};

/// Width of every buffer, so that any of them can be q, k or v: two heads of four.
pub const WIDTH: usize = 8;
pub const LAYERS: usize = 3;
pub const GEOMETRY: KvGeometry = KvGeometry { layers: LAYERS, kv_heads: 2, head_size: 4, format: KvFormat::F16 };

pub const TABLE: WeightId = WeightId(0);
pub const VECTOR: WeightId = WeightId(1);
pub const BIAS: WeightId = WeightId(2);
pub const LORA_A: WeightId = WeightId(3);
pub const LORA_B: WeightId = WeightId(4);
/// The first of four matrices [8, 8].
pub const MATRIX: u32 = 5;
pub const ROPE: Rope =
    Rope { style: RopeStyle::Neox, head_size: 4, dims: 4, base: 100.0, frequency_scale: 1.0, factors: None };

pub fn weight_specs() -> Vec<WeightSpec> {
    let shapes: [&[usize]; 9] =
        [&[6, 8], &[8], &[8], &[2, 8], &[8, 2], &[WIDTH, WIDTH], &[WIDTH, WIDTH], &[WIDTH, WIDTH], &[WIDTH, WIDTH]];
    shapes.map(|shape| WeightSpec { name: format!("{shape:?}"), shape: shape.into(), format: Format::F32 }).into()
}

/// Records plans without checking anything: the tests say what they want.
pub struct Recorder(pub Plan);

impl Recorder {
    /// A plan that begins with an embedding, buffer 0.
    pub fn new() -> Self {
        let mut recorder = Self(Plan {
            name: "test".into(),
            rows: RowBound::UpTo(4),
            max_outputs: 4,
            buffers: vec![],
            ops: vec![],
            output: BufferId(0),
            taps: vec![],
            is_precise: false,
        });
        recorder.push(|out| Op::Embed { table: TABLE, scale: 1.0, out });
        recorder
    }

    pub fn push(&mut self, op: impl FnOnce(BufferId) -> Op) -> BufferId {
        let out = BufferId(self.0.buffers.len() as u32);
        self.0.buffers.push(Buffer { name: format!("b{}", out.0), rows: Rows::New, width: WIDTH });
        self.0.ops.push(op(out));
        out
    }

    pub fn norm(&mut self, x: BufferId) -> BufferId {
        self.push(|out| Op::Norm { x, norm: norm(), size: WIDTH, out })
    }

    pub fn mat_mul(&mut self, x: BufferId, matrix: u32) -> BufferId {
        self.push(|out| plain(x, None, vec![part(matrix, out)]))
    }

    pub fn rope(&mut self, x: BufferId) -> BufferId {
        self.push(|out| Op::Rope { x, heads: 2, rope: ROPE, out })
    }

    pub fn kv_write(&mut self, layer: usize, k: BufferId, v: BufferId) {
        self.0.ops.push(Op::KvWrite { layer, k, v });
    }

    pub fn attention(&mut self, layer: usize, q: BufferId) -> BufferId {
        self.push(|out| Op::Attention(attention(layer, q, out)))
    }

    pub fn glu(&mut self, gate: BufferId, up: BufferId) -> BufferId {
        self.push(|out| Op::Glu { gate, up, activation: Activation::Silu, out })
    }

    pub fn activate(&mut self, x: BufferId) -> BufferId {
        self.push(|out| Op::Activate { x, activation: Activation::Gelu, out })
    }

    pub fn add(&mut self, a: BufferId, b: BufferId) -> BufferId {
        self.push(|out| Op::Add { a, b, scale: 1.0, out })
    }

    /// The plan; its output is the last buffer.
    pub fn finish(mut self) -> Plan {
        self.0.output = BufferId(self.0.buffers.len() as u32 - 1);
        self.0
    }
}

pub fn norm() -> Norm {
    Norm { kind: NormKind::Rms, weight: VECTOR, bias: None, eps: 1e-5 }
}

pub fn part(matrix: u32, out: BufferId) -> Part {
    Part { weight: WeightId(MATRIX + matrix), bias: None, lora: None, out }
}

pub fn plain(x: BufferId, norm: Option<Norm>, parts: Vec<Part>) -> Op {
    Op::MatMul(MatMul { x, norm, parts, epilogue: Epilogue::None })
}

pub fn attention(layer: usize, q: BufferId, out: BufferId) -> Attention {
    Attention {
        layer,
        heads: 2,
        kv_heads: 2,
        head_size: 4,
        scale: 0.5,
        sees: Sees::Past,
        window: None,
        soft_cap: None,
        bias: None,
        append: None,
        q,
        out,
    }
}

/// Rotations of q and k and the write, in the order asked for; then whatever the test adds, then the attention.
pub fn rope_plan(q_first: bool, between: impl FnOnce(&mut Recorder, BufferId, BufferId)) -> Plan {
    let mut r = Recorder::new();
    let (q, k, v) = (r.mat_mul(BufferId(0), 0), r.mat_mul(BufferId(0), 1), r.mat_mul(BufferId(0), 2));
    let (rotated_q, rotated_k) = if q_first {
        let rotated_q = r.rope(q);
        let rotated_k = r.rope(k);
        r.kv_write(0, rotated_k, v);
        (rotated_q, rotated_k)
    } else {
        let rotated_k = r.rope(k);
        r.kv_write(0, rotated_k, v);
        (r.rope(q), rotated_k)
    };
    between(&mut r, rotated_q, rotated_k);
    r.attention(0, rotated_q);
    r.finish()
}
