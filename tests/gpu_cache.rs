//! Keys and values on the GPU: taken out and put back in canonical order, copied, kept when the cache grows; rounded to f16 and
//! to blocks of Q8_0 as the CPU rounds.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{
    case::{N_TOKENS, maker},
    cases,
    gpu::context,
    rng::Rng,
};
use kinglet::{
    error::Error,
    gpu::{Gpu, Request},
    kv::{KvFormat, KvGeometry, PageId},
    plan::{Executor, Progress},
    quant::{Format, f16_to_f32, f32_to_f16, q8_0},
    reference::Reference,
};

fn read(executor: &mut dyn Executor, pages: &[(PageId, usize)]) -> Vec<u8> {
    let mut bytes = vec![7];
    while executor.kv_read(pages, &mut bytes).expect("it reads") != Progress::Complete {
        assert_eq!(bytes, [7], "nothing is there before all is");
    }
    bytes.split_off(1)
}

/// The elements as f32.
fn values(bytes: &[u8], format: KvFormat) -> Vec<f32> {
    match format {
        KvFormat::F16 => bytes.chunks(2).map(|b| f16_to_f32(u16::from_le_bytes([b[0], b[1]]))).collect(),
        KvFormat::F32 => bytes.chunks(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        KvFormat::Q8_0 => bytes
            .as_chunks()
            .0
            .iter()
            .map(q8_0::parts)
            .flat_map(|(d, q)| q.map(|q| f32::from(q) * f16_to_f32(d)))
            .collect(),
    }
}

#[test]
fn pages_can_be_read_and_written() {
    let context = context(&Request::default());
    for case in cases::on_gpu().iter().filter(|c| c.name.starts_with("attention pages")) {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        let mut reference = Reference::new(case.geometry);
        case.run(&mut gpu, usize::MAX).expect("it runs");
        case.run(&mut reference, usize::MAX).expect("it runs");
        let (page, other) = (case.pages()[0], case.pages()[1]);
        let both = [(page, 64), (other, 5)];
        let (actual, expected) = (read(&mut gpu, &both), read(&mut reference, &both));
        assert_eq!(actual.len(), expected.len());
        let format = case.geometry.format;
        // An element may be rounded the other way; no more.
        let step = match format {
            KvFormat::F16 => 1e-3,
            KvFormat::F32 => 1e-6,
            KvFormat::Q8_0 => 1e-2,
        };
        for (i, (a, e)) in values(&actual, format).iter().zip(values(&expected, format)).enumerate() {
            assert!((a - e).abs() <= step * (1.0 + e.abs()), "{}: [{i}] is {a}, expected {e}", case.name);
        }
        for n in [1, 8, 13, 64] {
            gpu.kv_copy(page, other, n).expect("it copies");
            let copied = read(&mut gpu, &[(other, n)]);
            assert!(copied == read(&mut gpu, &[(page, n)]), "{}: copy of {n}", case.name);
            gpu.kv_write(other, n, &vec![0; copied.len()]).expect("it writes");
            assert!(read(&mut gpu, &[(other, n)]).iter().all(|b| *b == 0));
            gpu.kv_write(other, n, &copied).expect("it writes");
            assert!(read(&mut gpu, &[(other, n)]) == copied, "{}: write of {n}", case.name);
        }
        // A larger cache has what the smaller one had.
        let before = read(&mut gpu, &[(page, 64)]);
        gpu.kv_reserve(50).expect("room");
        assert!(read(&mut gpu, &[(page, 64)]) == before, "{}: lost when the cache grew", case.name);
        assert!(gpu.kv_write(other, 2, &[0; 3]).is_err(), "a wrong length goes unseen");
        assert!(gpu.kv_read(&[(page, 65)], &mut vec![]).is_err(), "positions past the page");
        assert!(gpu.kv_copy(page, PageId(50), 1).is_err(), "a page that is not there");
    }
}

#[test]
fn a_cache_in_q8_0_has_whole_blocks() {
    let geometry = KvGeometry { layers: 1, kv_heads: 1, head_size: 20, format: KvFormat::Q8_0 };
    let mut case = cases::attentions_q8_0().remove(0);
    case.geometry = geometry;
    match case.announce(&mut Gpu::new(context(&Request::default()), geometry)) {
        Err(Error::UnsupportedFeature { what }) => assert!(what.contains("q8_0"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// What a row [T, 8 · 32] becomes in the cache, keys and values: the blocks of the reference, bit for bit.
#[test]
fn rounding_to_q8_0() {
    let mut rng = Rng(17);
    let mut blocks: Vec<[f32; 32]> = (0..900)
        .map(|i| {
            let scale = ((i % 60) as f32 - 40.0).exp2() * (1.0 + rng.signed() / 3.0);
            std::array::from_fn(|_| scale * rng.signed())
        })
        .collect();
    // Halves, of either sign; nothing; one alone; scales that f16 has no place for.
    blocks.push(std::array::from_fn(|i| if i == 0 { 127.0 } else { i as f32 - 15.5 }));
    blocks.push([0.0; 32]);
    blocks.push(std::array::from_fn(|i| if i == 9 { -3.0 } else { 0.0 }));
    blocks.push(std::array::from_fn(|i| 1e-7 * i as f32));
    blocks.resize(blocks.len().next_multiple_of(8), [1.0; 32]);
    let geometry = KvGeometry { layers: 1, kv_heads: blocks.len() / 8, head_size: 256, format: KvFormat::Q8_0 };
    let bytes = written(geometry, blocks.as_flattened());
    let (found, rest) = bytes.as_chunks::<34>();
    assert_eq!((found.len(), rest.len()), (2 * blocks.len(), 0));
    for (i, found) in found.iter().enumerate() {
        let block = &blocks[i % blocks.len()];
        assert_eq!(q8_0::parts(found), q8_0::encode(block), "block {i}: {block:?}");
    }
}

/// What the cache holds after these keys, which are the values too, were written to its first position.
fn written(geometry: KvGeometry, row: &[f32]) -> Vec<u8> {
    let (width, bytes) = (row.len(), bytemuck::cast_slice::<_, u8>(row));
    let mut m =
        maker("rounding", common::case::EXACT).tensor("x", &[N_TOKENS, width], Format::F32, bytes.repeat(N_TOKENS));
    m.geometry = geometry;
    let case = m.record(|b| {
        let table = b.weight("x", &[N_TOKENS, width])?;
        let (k, v) = (b.embed(table, 1.0), b.embed(table, 1.0));
        b.kv_write(0, k, v);
        Ok(k)
    });
    let mut gpu = Gpu::new(context(&Request::default()), geometry);
    case.run(&mut gpu, usize::MAX).expect("it runs");
    read(&mut gpu, &[(PageId(0), 1)])
}

/// Every kind of f32 that an f16 cannot hold: ties both ways, subnormal, too small, too large, and all powers of two between.
#[test]
fn rounding_to_f16() {
    let mut numbers: Vec<f32> =
        vec![0.0, -0.0, 65504.0, 65519.996, 65520.0, -70000.0, 1e30, 5.9e-8, 2.98e-8, 2.99e-8, 1e-10];
    for exponent in -26..16 {
        for fraction in [1.0, 1.0 + 1.0 / 2048.0, 1.0 + 3.0 / 2048.0, 1.0 + 1.0 / 2047.0, 1.3333334, 1.9995118, 1.9998]
        {
            let x = fraction * (exponent as f32).exp2();
            numbers.extend([x, -x]);
        }
    }
    let width = 8 * numbers.len().div_ceil(8);
    numbers.resize(width, 1.0);
    let geometry = KvGeometry { layers: 1, kv_heads: width / 8, head_size: 8, format: KvFormat::F16 };
    let bytes = written(geometry, &numbers);
    let halves: Vec<u16> = bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    for (side, halves) in halves.chunks(width).enumerate() {
        for (x, h) in numbers.iter().zip(halves) {
            assert_eq!(*h, f32_to_f16(*x), "{x:e}, side {side}");
        }
    }
}

/// A cache over the limits of the device is refused with numbers.
#[test]
fn too_large_a_cache() {
    let context = context(&Request { binding_limit_bytes: Some(1 << 20), ..Request::default() });
    let geometry = KvGeometry { layers: 2, kv_heads: 2, head_size: 64, format: KvFormat::F16 };
    let mut gpu = Gpu::new(context, geometry);
    assert_eq!(gpu.kv_reserve(32), Ok(()));
    let error = gpu.kv_reserve(33).expect_err("33 pages of 32 KiB in 1 MiB");
    assert_eq!((error.code(), error.details().needed_bytes), ("E_MEMORY", Some(33 << 15)));
    assert_eq!(gpu.kv_reserve(32), Ok(()));
}
