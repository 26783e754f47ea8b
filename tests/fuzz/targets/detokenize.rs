//! Any ids as text, in two parts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::detokenize::run(data));
