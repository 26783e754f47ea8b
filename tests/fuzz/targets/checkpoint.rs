//! Any pieces and data as a checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::checkpoint::run(data));
