//! The decoder families against somebody else's implementation: a tiny random model of each and of its variants, made and run by
//! HF transformers (tests/golden/make_tiny_decoders.py), through the parser, the architecture, the plan and an executor.

mod common;

use common::{
    decoders::{Decoder, decoders},
    runner::{MAX_ROWS, Runner},
};
use kinglet::{error::Result, kv::KvFormat, reference::Reference};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// The reference executor against transformers, both f32: the largest difference over the largest logit.
const REFERENCE_TOLERANCE: f32 = 1e-4;

fn reference(decoder: &Decoder, format: KvFormat) -> Result<Runner<Reference>> {
    Runner::load(decoder.file, format, decoder.tokens.len(), |geometry| Ok(Reference::new(geometry)))
}

#[test]
fn the_reference_gives_the_logits_of_transformers() {
    let mut wrong = vec![];
    for decoder in decoders() {
        let logits = reference(&decoder, KvFormat::F32).and_then(|mut r| r.append(&decoder.tokens, MAX_ROWS));
        match logits {
            Ok(logits) => {
                let d = decoder.difference(&logits);
                println!("{}: {d:.1e} of the largest logit", decoder.name);
                if !(d <= REFERENCE_TOLERANCE) {
                    wrong.push(format!("{}: {d:.1e}", decoder.name));
                }
            }
            Err(e) => wrong.push(format!("{}: {e}", decoder.name)),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
