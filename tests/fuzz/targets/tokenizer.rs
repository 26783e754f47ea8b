//! Any text for every tokenizer, and any vocabulary.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::tokenizer::run(data));
