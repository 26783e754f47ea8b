//! Every operation of a plan on the CPU executor against the reference executor: the table of cases of `common::cases`.
//! And against itself: thread counts, splits of the rows, kernel flavours and platforms must not change a bit.
//! Runs natively and in a browser.

mod common;

use common::{
    case::{Case, EXACT, HASH_START, QUANTIZED, ROUNDED, Results, SUMMED, Tolerance, hash},
    cases,
    formats::{a_code_byte, halves, not_finite, whole},
};
use kinglet::{
    cpu::{Cpu, Flavour, Kernels, pool::Pool},
    error::Error,
    kv::KvGeometry,
    plan::Executor,
    quant::{Format, repack::Arrangement},
    reference::Reference,
    weights::{WeightId, WeightSpec},
};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn run_cpu(case: &Case, threads: usize, rows: usize, kernels: impl Into<Kernels>) -> Results {
    let mut cpu = Cpu::with_kernels(case.geometry, Pool::new(threads), kernels).expect("an executor");
    case.run(&mut cpu, rows).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

fn run_reference(case: &Case) -> Results {
    case.run(&mut Reference::new(case.geometry), usize::MAX).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

fn bits(results: &Results) -> Vec<Vec<u32>> {
    results.iter().map(|(_, values)| values.iter().map(|x| x.to_bits()).collect()).collect()
}

#[test]
fn every_case_agrees_with_the_reference() {
    let complaints: Vec<String> = cases::all()
        .iter()
        .filter_map(|case| {
            let actual = run_cpu(case, 1, usize::MAX, Flavour::BUILD);
            case.check(&actual, &run_reference(case)).err()
        })
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn threads_splits_and_flavours_change_no_bit() {
    for case in cases::all().iter().filter(|c| c.n_weights() < 1 << 20) {
        let expected = bits(&run_cpu(case, 1, usize::MAX, Flavour::Plain));
        let of_bytes = |flavour, arrangement| Kernels { flavour, arrangement };
        for (threads, rows, kernels) in [
            (2, usize::MAX, Flavour::Madd.into()),
            (1, 1, Flavour::Madd.into()),
            (2, usize::MAX, Flavour::DotAdd.into()),
            (1, 1, Flavour::DotAdd.into()),
            (2, 3, Flavour::Plain.into()),
            (4, usize::MAX, Flavour::Plain.into()),
            (1, usize::MAX, of_bytes(Flavour::DotAdd, Arrangement::SignedFours)),
            (2, 1, of_bytes(Flavour::Madd, Arrangement::SignedFours)),
            (2, usize::MAX, of_bytes(Flavour::Madd, Arrangement::UnsignedFours)),
            (1, 3, of_bytes(Flavour::Plain, Arrangement::UnsignedFours)),
        ] {
            let actual = bits(&run_cpu(case, threads, rows, kernels));
            for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
                let differs = a.iter().zip(e).position(|(a, e)| a != e);
                assert!(
                    a.len() == e.len() && differs.is_none(),
                    "{}: buffer {i}, value {differs:?} of {}: {threads} threads, {rows} rows, {kernels:?} {:x?}",
                    case.name,
                    e.len(),
                    differs.map(|d| (a[d], e[d]))
                );
            }
        }
    }
}

#[test]
fn keys_and_values_in_q8_0_agree_with_the_reference() {
    for case in cases::attentions_q8_0() {
        let expected = run_cpu(&case, 1, usize::MAX, Flavour::Plain);
        if let Err(complaint) = case.check(&expected, &run_reference(&case)) {
            panic!("{complaint}");
        }
        for (threads, rows, flavour) in
            [(2, 1, Flavour::Madd), (1, 3, Flavour::DotAdd), (4, usize::MAX, Flavour::Plain)]
        {
            let actual = run_cpu(&case, threads, rows, flavour);
            assert!(bits(&actual) == bits(&expected), "{}: {threads} threads, {rows} rows", case.name);
        }
    }
}

#[test]
fn heads_that_are_no_whole_blocks_are_refused() {
    let mut case = cases::attentions_q8_0().remove(0);
    case.geometry.head_size = 40;
    let mut cpu = Cpu::new(case.geometry, Pool::new(1)).expect("an executor");
    match case.announce(&mut cpu) {
        Err(Error::UnsupportedFeature { what }) => assert!(what.contains("heads of 40"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// What activations of 12 bits lose is a sixteenth of what those of 8 bits lose.
const FINE: Tolerance = Tolerance { name: "fine", abs: 0.003, rel: 0.002, outliers: 1e-3, nmse: 1e-6 };

#[test]
fn fine_activations_are_nearer_to_the_reference() {
    let mut n = 0;
    for mut case in cases::all().into_iter().filter(|c| c.tolerance.name == QUANTIZED.name && c.n_weights() < 1 << 20) {
        case.tolerance = FINE;
        let fine = run_cpu(&case, 1, usize::MAX, Flavour::Fine);
        if let Err(complaint) = case.check(&fine, &run_reference(&case)) {
            panic!("{complaint}");
        }
        for arrangement in [Arrangement::Pairs, Arrangement::SignedFours, Arrangement::UnsignedFours] {
            let kernels = Kernels { flavour: Flavour::Fine, arrangement };
            assert_eq!(bits(&run_cpu(&case, 3, 3, kernels)), bits(&fine), "{}", case.name);
        }
        n += 1;
    }
    assert!(n > 20, "{n} cases");
}

#[test]
fn the_bits_are_the_same_on_every_platform() {
    let mut complaints = vec![];
    for (name, group, expected) in cases::golden() {
        for flavour in Flavour::EQUAL {
            let actual = group.iter().fold(HASH_START, |h, c| hash(&run_cpu(c, 1, usize::MAX, flavour), h));
            if actual != expected {
                complaints.push(format!("{name}, {flavour:?}: {actual:#018x}, expected {expected:#018x}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn the_checks_see_what_they_should() {
    let expected: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
    for tolerance in [EXACT, ROUNDED, SUMMED, QUANTIZED] {
        assert_eq!(tolerance.check(&expected, &expected), Ok(()));
        for damage in [f32::NAN, f32::INFINITY, 1.0, -0.5] {
            let mut actual = expected.clone();
            actual[77] += damage;
            assert!(tolerance.check(&actual, &expected).is_err(), "{} misses {damage}", tolerance.name);
        }
        assert!(tolerance.check(&expected[1..], &expected).is_err(), "{} misses a length", tolerance.name);
        let shifted: Vec<f32> = expected.iter().map(|x| x + 0.02).collect();
        assert!(tolerance.check(&shifted, &expected).is_err(), "{} misses a small error everywhere", tolerance.name);
    }
    let case = cases::product(Format::Q4_1, 7, 576, 3);
    let results = run_reference(&case);
    for buffer in 0..results.len() {
        let mut damaged = results.clone();
        damaged[buffer].1[4] += 0.25;
        assert!(case.check(&damaged, &results).is_err(), "damage to {} goes unseen", results[buffer].0);
        assert_ne!(hash(&damaged, HASH_START), hash(&results, HASH_START));
    }
}

/// One wrong bit in one quant of one weight is seen in every row that was computed from it.
#[test]
fn one_flipped_bit_is_seen() {
    for format in Format::ALL {
        for rows in [1, 5] {
            let mut case = cases::product(format, 7, whole(format, 576), rows);
            let expected = run_reference(&case);
            case.flip_bit("w.weight", a_code_byte(format), 0x40);
            let damaged = run_cpu(&case, 1, usize::MAX, Flavour::BUILD);
            assert!(case.check(&damaged, &expected).is_err(), "{format:?}, {rows} rows");
        }
    }
}

/// f16 scales that are subnormal (kept as f32), negative, and zero give the reference's values too; in the first panel and after
/// panels that were packed already.
#[test]
fn unusual_scales() {
    let places = |format: Format| match format {
        Format::Q4_0 | Format::Q4_1 | Format::Q8_0 => vec![0],
        _ => halves(format).iter().map(|(at, _)| *at).collect(),
    };
    for (format, place) in Format::ALL.into_iter().flat_map(|f| places(f).into_iter().map(move |p| (f, p))) {
        for rows in [1, 5] {
            let k = whole(format, 576);
            let mut case = cases::product(format, 20, k, rows);
            let row_bytes = format.row_bytes(k).expect("whole blocks");
            for (row, scale) in [(3, 0x0000_u16), (9, 0x03ff), (9, 0x0001), (17, 0x8011), (1, 0xa800)] {
                case.set_bytes("w.weight", row * row_bytes + place, &scale.to_le_bytes());
                let expected = run_reference(&case);
                for flavour in Flavour::EQUAL {
                    let actual = run_cpu(&case, 1, usize::MAX, flavour);
                    assert_eq!(case.check(&actual, &expected), Ok(()), "{format:?}, row {row}, scale {scale:#x}");
                }
            }
        }
    }
}

/// F16 weights that are subnormal or too large to be raised (then the matrix is kept in F32), in the first panel and after panels
/// that were packed already.
#[test]
fn unusual_halves() {
    for rows in [1, 5] {
        let mut case = cases::product(Format::F16, 20, 576, rows);
        // The largest that is raised comes before the least that is not.
        for (row, k, weight) in
            [(3, 1, 0x0000_u16), (9, 7, 0x03ff), (1, 2, 0x8001), (5, 5, 0x53ff), (17, 9, 0xd400), (2, 3, 0x7bff)]
        {
            case.set_bytes("w.weight", (576 * row + k) * 2, &weight.to_le_bytes());
            let actual = run_cpu(&case, 1, usize::MAX, Flavour::BUILD);
            assert_eq!(case.check(&actual, &run_reference(&case)), Ok(()), "row {row}, weight {weight:#x}");
        }
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for format in Format::ALL {
        let (at, bad) = not_finite(format);
        let mut case = cases::product(format, 20, whole(format, 576), 1);
        let row_bytes = format.row_bytes(whole(format, 576)).expect("whole blocks");
        case.set_bytes("w.weight", 19 * row_bytes + at, bad);
        for chunk_bytes in [1, 777, usize::MAX] {
            let mut cpu = Cpu::new(case.geometry, Pool::new(1)).expect("an executor");
            match case.load(&mut cpu, chunk_bytes) {
                Err(Error::FileFormat { what, .. }) => {
                    assert!(what.contains("w.weight") && what.contains("19"), "{what}")
                }
                other => panic!("{format:?}: {other:?}"),
            }
        }
    }
}

/// Weights that came in chunks of any size are the same weights.
#[test]
fn chunks_of_any_size() {
    for format in Format::ALL {
        let case = cases::product(format, 20, whole(format, 576), 2);
        let expected = bits(&run_cpu(&case, 1, usize::MAX, Flavour::BUILD));
        for chunk_bytes in [1, 33, 4096, usize::MAX] {
            let mut cpu = Cpu::new(case.geometry, Pool::new(1)).expect("an executor");
            let results = case.run_in_chunks(&mut cpu, usize::MAX, chunk_bytes).expect("it runs");
            assert!(bits(&results) == expected, "{format:?}, chunks of {chunk_bytes}");
        }
    }
}

/// What was written to the cache can be taken out and put back, on this executor and on the reference, to the same bytes.
#[test]
fn pages_can_be_read_and_written() {
    let cases = cases::all().into_iter().chain(cases::attentions_q8_0());
    for case in cases.filter(|c| c.name.contains("attention pages")) {
        let mut cpu = Cpu::new(case.geometry, Pool::new(1)).expect("an executor");
        let mut reference = Reference::new(case.geometry);
        case.run(&mut cpu, usize::MAX).expect("it runs");
        case.run(&mut reference, usize::MAX).expect("it runs");
        let page = case.pages()[0];
        let other = case.pages()[1];
        let read = |e: &mut dyn Executor, page, n| {
            let mut bytes = vec![];
            e.kv_read(&[(page, n)], &mut bytes).expect("it reads");
            bytes
        };
        let bytes = read(&mut cpu, page, 64);
        assert_eq!(bytes.len(), read(&mut reference, page, 64).len());
        assert!(bytes.iter().any(|b| *b != 0));
        for n in [1, 8, 13, 64] {
            cpu.kv_copy(page, other, n).expect("it copies");
            let copied = read(&mut cpu, other, n);
            assert!(copied == read(&mut cpu, page, n), "{}: copy of {n}", case.name);
            cpu.kv_write(other, n, &vec![0; copied.len()]).expect("it writes");
            assert!(read(&mut cpu, other, n).iter().all(|b| *b == 0));
            cpu.kv_write(other, n, &copied).expect("it writes");
            assert!(read(&mut cpu, other, n) == copied, "{}: write of {n}", case.name);
        }
        assert!(cpu.kv_write(other, 2, &[0; 3]).is_err(), "a wrong length goes unseen");
        assert!(cpu.kv_read(&[(page, 65)], &mut vec![]).is_err(), "positions past the page");
    }
}

/// Calls out of order are errors, not panics.
#[test]
fn calls_out_of_order() {
    let case = cases::product(Format::Q8_0, 7, 576, 2);
    let mut cpu = Cpu::new(case.geometry, Pool::new(2)).expect("an executor");
    assert!(cpu.advance(1).is_err() && cpu.output(0).is_err());
    assert!(cpu.write_weight(WeightId(3), &[0]).is_err());
    let spec = WeightSpec { name: "w".into(), shape: vec![2, 32], format: Format::Q8_0 };
    cpu.create_weight(WeightId(9), &spec).expect("room");
    cpu.write_weight(WeightId(9), &[0; 68]).expect("all its bytes");
    assert!(cpu.write_weight(WeightId(9), &[0]).is_err(), "a byte too many");
    let geometry = KvGeometry { layers: 1, ..case.geometry };
    let mut cpu = Cpu::new(geometry, Pool::new(1)).expect("an executor");
    let error = case.run_unloaded(&mut cpu).expect_err("weights are missing");
    assert_eq!(error.code(), "E_INTERNAL");
}
