//! The header of a checkpoint with any pieces, and any data: the converter gives each tensor whole blocks of its length, all finite, or
//! a typed error blames the file; the same for any chunks; for no more memory than its slices and the data warrant.

use kinglet::{
    checkpoint::{Converter, SKIPPED},
    error::Result,
    gguf::{Array, Value},
    quant::{Format, first_non_finite},
};

use super::{
    gguf::{blames_the_file, chunks, is_warranted, seed},
    input::Input,
};
use crate::common::{counting::peak_bytes, gguf_builder::GgufBuilder, rng::Rng};

/// What the converter may take beside a multiple of the data: numbers of a slice, three times, and room to begin a group.
const CONSTANT_BYTES: usize = 1 << 20;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (header, n_bytes) = header(&mut input);
    let mut data: Vec<u8> = (0..n_bytes).map(|i| (i as u8).wrapping_mul(37) & 0xbf).collect();
    for _ in 0..input.below(4) {
        let (at, bytes) = (input.below(data.len() + 1), input.float().to_le_bytes());
        data.splice(at..(at + 4).min(data.len()), bytes);
    }
    if input.below(4) == 1 {
        data.truncate(input.below(data.len() + 1));
    }
    let (whole, n_peak) = peak_bytes(|| convert(&header, std::iter::once(&data[..])));
    is_warranted(n_peak, CONSTANT_BYTES, &[&header[..], &data].concat());
    let mut rng = Rng(seed(&data));
    assert_eq!(whole, convert(&header, chunks(&data, &mut rng)), "chunks change the result");
    if let Err(error) = whole {
        blames_the_file(&error);
    }
}

/// A header, and how much data belongs to it.
fn header(input: &mut Input<'_>) -> (Vec<u8>, usize) {
    let mut file = GgufBuilder::new();
    let mut numbers = vec![];
    let mut n_bytes = 0;
    for i in 0..1 + input.below(4) {
        if input.below(4) == 1 {
            let n = input.below(70);
            numbers.extend([n as u64, SKIPPED, 1, 1, 1, 0]);
            n_bytes += n;
        }
        let from = input.pick(&[Format::F32, Format::F16, Format::BF16]);
        let to = input.pick(&[Format::F32, Format::F16, Format::BF16, Format::Q8_0, Format::Q4_0, Format::Q5_1]);
        let [a, b, c, d] = [1 + input.below(3), 1 + input.below(5), 1 + input.below(5), 32 * (1 + input.below(3))];
        let n = a * b * c * d;
        let shape = if input.bool() { vec![a * b * c, d] } else { vec![n] };
        file = file.tensor(&format!("t{i}"), &shape, to, vec![0; to.row_bytes(n).unwrap()]);
        numbers.extend([(n * from.block_bytes()) as u64, u64::from(from.ggml_type())]);
        numbers.extend([b as u64, c as u64, d as u64, u64::from(input.bool())]);
        n_bytes += n * from.block_bytes();
    }
    for _ in 0..input.below(3) {
        let at = input.below(numbers.len());
        numbers[at] = input.number();
    }
    (file.kv("kinglet.checkpoint.pieces", Value::Array(Array::U64(numbers))).build(), n_bytes)
}

/// The data of every tensor.
fn convert<'a>(header: &[u8], chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>> {
    let (header, mut converter) = Converter::new(header)?;
    let mut tensors: Vec<Vec<u8>> = vec![vec![]; header.tensors.len()];
    let mut last = 0;
    for chunk in chunks {
        converter.feed(chunk, &mut |tensor, bytes| {
            assert!(tensor >= last && !bytes.is_empty(), "data of {tensor} behind {last}");
            last = tensor;
            tensors[tensor].extend_from_slice(bytes);
            Ok(())
        })?;
    }
    converter.finish()?;
    for (info, bytes) in header.tensors.iter().zip(&tensors) {
        assert_eq!(bytes.len() as u64, info.n_bytes, "the length of {}", info.name);
        is_finite_unless_copied(info.format, bytes);
    }
    Ok(tensors)
}

/// Numbers that stay as they are go to the executor as they are, which looks at them; what is made here is finite.
pub fn is_finite_unless_copied(format: Format, bytes: &[u8]) {
    let is_made = !matches!(format, Format::F32 | Format::F16 | Format::BF16);
    assert!(!is_made || first_non_finite(format, bytes).is_none(), "blocks of {} that are not finite", format.name());
}
