//! The same operation on other buffers and weights.

use crate::{
    plan::{BufferId, Epilogue, Op},
    weights::WeightId,
};

/// Gives an operation other buffers and weights.
pub(super) fn rename(
    op: &mut Op,
    buffer: &mut dyn FnMut(BufferId) -> BufferId,
    weight: &mut dyn FnMut(WeightId) -> WeightId,
) {
    let mut buffers = |ids: &mut [&mut BufferId]| ids.iter_mut().for_each(|id| **id = buffer(**id));
    match op {
        Op::Embed { table, out, .. } => {
            buffers(&mut [out]);
            *table = weight(*table);
        }
        Op::AddRow { x, table, out, .. } => {
            buffers(&mut [x, out]);
            *table = weight(*table);
        }
        Op::Norm { x, norm, out, .. } => {
            buffers(&mut [x, out]);
            norm.weight = weight(norm.weight);
            norm.bias = norm.bias.map(weight);
        }
        Op::NormAdd { x, norm, residual, out, .. } => {
            buffers(&mut [x, residual, out]);
            norm.weight = weight(norm.weight);
            norm.bias = norm.bias.map(weight);
        }
        Op::MatMul(m) => {
            buffers(&mut [&mut m.x]);
            if let Some(norm) = &mut m.norm {
                norm.weight = weight(norm.weight);
                norm.bias = norm.bias.map(&mut *weight);
            }
            for part in &mut m.parts {
                buffers(&mut [&mut part.out]);
                part.weight = weight(part.weight);
                part.bias = part.bias.map(&mut *weight);
                if let Some(lora) = &mut part.lora {
                    (lora.a, lora.b) = (weight(lora.a), weight(lora.b));
                }
            }
            match &mut m.epilogue {
                Epilogue::None => {}
                Epilogue::Add { residual, out, .. } => buffers(&mut [residual, out]),
                Epilogue::Activate { out, .. } | Epilogue::Scale { out, .. } | Epilogue::Glu { out, .. } => {
                    buffers(&mut [out]);
                }
            }
        }
        Op::Rope { x, rope, out, .. } => {
            buffers(&mut [x, out]);
            rope.factors = rope.factors.map(weight);
        }
        Op::KvWrite { k, v, .. } => buffers(&mut [k, v]),
        Op::RopeKv { rope, q, k, v, out, .. } => {
            buffers(&mut [q, k, v, out]);
            rope.factors = rope.factors.map(weight);
        }
        Op::Attention(a) => {
            buffers(&mut [&mut a.q, &mut a.out]);
            if let Some(append) = &mut a.append {
                buffers(&mut [&mut append.k, &mut append.v]);
                append.rope.factors = append.rope.factors.map(&mut *weight);
                if let Some(norms) = &mut append.norms {
                    (norms.q, norms.k) = (weight(norms.q), weight(norms.k));
                }
            }
            if let Some(bias) = &mut a.bias {
                bias.table = weight(bias.table);
            }
        }
        Op::ShortConv { x, weight: taps, out, .. } => {
            buffers(&mut [x, out]);
            *taps = weight(*taps);
        }
        Op::Glu { gate, up, out, .. } => buffers(&mut [gate, up, out]),
        Op::Add { a, b, out, .. } => buffers(&mut [a, b, out]),
        Op::Activate { x, out, .. }
        | Op::SelectRows { x, out }
        | Op::MeanRows { x, out }
        | Op::Scale { x, out, .. } => buffers(&mut [x, out]),
    }
}
