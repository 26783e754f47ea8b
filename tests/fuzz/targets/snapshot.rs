//! A good snapshot of a conversation with things wrong in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::snapshot::run(data));
