//! Any logits, parameters and masks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::sampler::run(data));
