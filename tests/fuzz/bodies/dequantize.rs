//! Any bits as blocks of every format. `first_non_finite` finds the first block that gives a number that is not finite, and nothing
//! else does; the CPU's panels and the GPU's planes hold the same weights to the bit, or refuse the same row; and a product of the
//! CPU's kernels is that of the weights.

use std::sync::{Arc, LazyLock};

use kinglet::{
    cpu::{Cpu, Flavour, pool::Pool},
    error::{Error, Result},
    gguf::{Header, Metadata, TensorInfo},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Builder, Executor, Progress, Row, RowBound, Step, Want},
    quant::{self, Format, repack::Matrix},
    weights::Weights,
};

use super::{gguf::seed, input::Input};
use crate::common::{planes::split, rng::Rng};

static POOL: LazyLock<Arc<Pool>> = LazyLock::new(|| Arc::new(Pool::new(1)));

/// Rows of activations in a product.
const N_INPUTS: usize = 3;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let format = input.pick(&Format::ALL);
    let n_rows = 1 + input.below(10);
    let row_len = format.block_len().max(32) * (1 + input.below(2));
    let row_bytes = format.row_bytes(row_len).expect("whole blocks");
    let chunk_bytes = 1 + input.below(500);
    let pattern = input.bytes(usize::MAX);
    let bytes: Vec<u8> = match pattern {
        [] => vec![0; n_rows * row_bytes],
        _ => pattern.iter().copied().cycle().take(n_rows * row_bytes).collect(),
    };
    let mut weights = vec![0.0; n_rows * row_len];
    quant::dequantize(format, &bytes, &mut weights).expect("lengths fit");
    let bad = quant::first_non_finite(format, &bytes);
    match (format, bad) {
        // Refused for its exponent, under which not every weight has to be infinite.
        (Format::MXFP4, Some(block)) => promised(&weights[..block * format.block_len()], format.block_len(), None),
        _ => promised(&weights, format.block_len(), bad),
    }
    let bad_row = bad.map(|block| block * format.block_len() / row_len);
    panels(format, [n_rows, row_len], bytes.chunks(chunk_bytes), &weights, bad_row);
    planes(format, [n_rows, row_len], bytes.chunks(chunk_bytes), &weights, bad_row);
    if bad.is_none() {
        product(format, [n_rows, row_len], &bytes, &weights);
    }
}

/// Weights before the bad block are finite, and it has one that is not.
pub fn promised(weights: &[f32], block_len: usize, bad: Option<usize>) {
    let found = weights.iter().position(|w| !w.is_finite()).map(|i| i / block_len);
    assert_eq!(found, bad, "the first block with a weight that is not finite");
}

/// Reads a matrix back from the panels of the CPU.
fn panels<'a>(
    format: Format,
    [n, k]: [usize; 2],
    mut chunks: impl Iterator<Item = &'a [u8]>,
    weights: &[f32],
    bad_row: Option<usize>,
) {
    let mut matrix = Matrix::new("w", format, n, k).expect("a small matrix");
    let written = chunks.try_for_each(|chunk| matrix.write(chunk));
    refused_by_row(&written, bad_row);
    if written.is_ok() {
        let mut row = vec![0.0; k];
        for (r, expected) in weights.chunks(k).enumerate() {
            matrix.read_row(r, &mut row);
            same_bits(&row, expected, format);
        }
    }
}

/// Reads a matrix back from the planes of the GPU.
fn planes<'a>(
    format: Format,
    shape: [usize; 2],
    mut chunks: impl Iterator<Item = &'a [u8]>,
    weights: &[f32],
    bad_row: Option<usize>,
) {
    let planes = split("w", format, shape, &mut chunks);
    refused_by_row(&planes.as_ref().map(|_| ()).map_err(Clone::clone), bad_row);
    if let Ok(planes) = planes {
        for (r, expected) in weights.chunks(shape[1]).enumerate() {
            same_bits(&planes.row(r), expected, format);
        }
    }
}

/// A matrix is refused where it has a bad row, by its number.
pub fn refused_by_row(written: &Result<()>, bad_row: Option<usize>) {
    match (written, bad_row) {
        (Ok(()), None) => {}
        (Err(Error::FileFormat { what, .. }), Some(row)) => {
            assert!(what.contains(&format!("tensor w: row {row} ")), "row {row}: {what}");
        }
        (written, bad_row) => panic!("{written:?} where the first bad row is {bad_row:?}"),
    }
}

/// Every bit of two rows.
pub fn same_bits(found: &[f32], expected: &[f32], format: Format) {
    let differs = found.iter().zip(expected).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs, None, "{}: {found:?}, expected {expected:?}", format.name());
}

/// The matrix times rows of whole numbers, which quantizing to int8 leaves as they are, by the kernels for one row and for several.
fn product(format: Format, [n, k]: [usize; 2], bytes: &[u8], weights: &[f32]) {
    let mut rng = Rng(seed(bytes));
    let inputs: Vec<f32> =
        (0..N_INPUTS * k).map(|i| if i % 32 == 0 { 127.0 } else { rng.below(255) as f32 - 127.0 }).collect();
    let scale = magnitudes(format, bytes, weights);
    for flavour in Flavour::EQUAL {
        let outputs = run_product(format, [n, k], bytes, &inputs, flavour).expect("finite weights");
        for (t, (x, y)) in inputs.chunks(k).zip(outputs.chunks(n)).enumerate() {
            for (r, y) in y.iter().enumerate() {
                let terms = || weights[r * k..][..k].iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let size: f64 = scale[r * k..][..k].iter().zip(x).map(|(s, x)| s * f64::from(x.abs())).sum();
                near(f64::from(*y), terms().sum(), size, || {
                    format!("{} {flavour:?} row {r} of input {t}", format.name())
                });
            }
        }
    }
}

/// Within what f32 sums of terms of this size lose; what overflows has no right answer.
pub fn near(found: f64, expected: f64, size: f64, what: impl Fn() -> String) {
    if size < 1e37 {
        assert!((found - expected).abs() <= 1e-5 * size + 1e-35, "{}: {found:e}, expected {expected:e}", what());
    }
}

/// How large the parts of each weight are. A weight may be small because a scale and a minimum cancel: then the one with all quants
/// turned over is not.
fn magnitudes(format: Format, bytes: &[u8], weights: &[f32]) -> Vec<f64> {
    let mut turned = bytes.to_vec();
    let block_bytes = format.block_bytes();
    for block in turned.chunks_exact_mut(block_bytes).filter(|_| format.block_len() > 1) {
        block[4..block_bytes - 4].iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut others = vec![0.0; weights.len()];
    quant::dequantize(format, &turned, &mut others).expect("lengths fit");
    weights.iter().zip(&others).map(|(a, b)| 32.0 * (f64::from(a.abs()) + f64::from(b.abs()))).collect()
}

/// x · wᵀ [T, N] as the CPU computes it: one row by itself, then the others together.
fn run_product(format: Format, [n, k]: [usize; 2], bytes: &[u8], inputs: &[f32], flavour: Flavour) -> Result<Vec<f32>> {
    let tensor = |name: &str, shape: &[usize], format: Format| TensorInfo {
        name: name.into(),
        shape: shape.into(),
        format,
        offset: 0,
        n_bytes: 0,
    };
    let tensors = vec![tensor("x", &[N_INPUTS, k], Format::F32), tensor("w.weight", &[n, k], format)];
    let header = Header {
        version: 3,
        metadata: Metadata::default(),
        tensors,
        alignment: 32,
        data_offset: 0,
        end_offset: 0,
        fingerprint: 0,
    };
    let weights = Weights::from_header(&header);
    let geometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 8, format: KvFormat::F16 };
    let mut cpu = Cpu::with_kernels(geometry, POOL.clone(), flavour)?;
    weights.iter().try_for_each(|(id, spec)| cpu.create_weight(id, spec))?;
    let mut b = Builder::new("product", &weights, RowBound::UpTo(N_INPUTS), N_INPUTS);
    let x = b.embed(b.weight("x", &[N_INPUTS, k])?, 1.0);
    let y = b.linear("y", x, "w", n)?;
    let slot = cpu.prepare(Arc::new(b.finish(y)))?;
    let input_bytes: Vec<u8> = inputs.iter().flat_map(|x| x.to_le_bytes()).collect();
    for ((id, _), bytes) in weights.iter().zip([&input_bytes[..], bytes]) {
        cpu.write_weight(id, bytes)?;
    }
    cpu.kv_reserve(1)?;
    let rows: Vec<Row> = (0..N_INPUTS as u32).map(|t| Row::token(t, t, 0)).collect();
    let mut outputs = vec![];
    for rows in [&rows[..1], &rows[1..]] {
        let wanted: Vec<u32> = (0..rows.len() as u32).collect();
        let step = Step {
            rows,
            outputs: &wanted,
            sequences: &[&[PageId(0)]],
            memories: &[],
            embeddings: &[],
            want: Want::All,
        };
        cpu.begin(slot, &step)?;
        while cpu.advance(usize::MAX)? != Progress::Complete {}
        for o in 0..rows.len() {
            outputs.extend_from_slice(cpu.output(o)?);
        }
    }
    Ok(outputs)
}
