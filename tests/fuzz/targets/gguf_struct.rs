//! A good model file with things wrong in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::gguf_struct::run(data));
