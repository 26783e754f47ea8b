//! Any bits as blocks of every format.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kinglet_fuzz::bodies::dequantize::run(data));
