//! Reproducibility: a generation with everything in it (chunks, choices, penalties, scores of prompt and output) is written
//! down as one number per executor, and has to be the same natively and in WebAssembly, with any number of threads.

mod common;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use common::{
    generate::{Answer, devices, load, run},
    tiny_llama::{TinyConfig, tiny_llama},
};
use kinglet::{
    engine::{Device, Options},
    kv::KvFormat,
    quant::Format,
    sample::SamplingParams,
    session::Request,
};

/// FNV-1a over the tokens and the bit patterns of their log-probabilities.
fn digest(answer: &Answer) -> u64 {
    let fold = |hash: u64, word: u64| {
        word.to_le_bytes().iter().fold(hash, |h, byte| (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    };
    let echo = answer.echo.iter().flat_map(|e| e.logprobs.iter().flatten().map(|l| l.to_bits()));
    let choices = answer.choices.iter().flat_map(|c| c.tokens.iter().map(|t| u64::from(*t)).chain(c.logprobs.clone()));
    echo.chain(choices).fold(0xcbf2_9ce4_8422_2325, fold)
}

/// Three choices with every sampling step in use, behind a prompt that is scored; then one behind a prompt in chunks.
fn digests(device: &Device, format: Format, kv_format: KvFormat) -> [u64; 2] {
    let config = TinyConfig { format, ..TinyConfig::default() };
    // Heads of a whole block, or of a part of it.
    let head_size = if kv_format == KvFormat::Q8_0 { 32 } else { config.head_size };
    let file = tiny_llama(&TinyConfig { head_size, ..config }, 11).build();
    let mut session = load(&file, Options { kv_format, ..Options::new(device.clone()) }, 10_000).unwrap().session;
    let scored = Request {
        prompt: (0..70).map(|i| 3 + i * 37 % 300).collect(),
        max_tokens: Some(12),
        n: 3,
        echo: true,
        ignore_eos: true,
        logprobs: Some(1),
        sampling: SamplingParams {
            seed: 42,
            temperature: 1.3,
            repeat_penalty: 1.1,
            frequency_penalty: 0.2,
            logit_bias: vec![(7, 0.5)],
            ..SamplingParams::default()
        },
        ..Request::default()
    };
    let chunked = Request { n: 1, echo: false, prompt: (0..130).map(|i| 3 + i * 41 % 300).collect(), ..scored.clone() };
    [scored, chunked].map(|request| digest(&run(&mut session, &request, 17).unwrap()))
}

/// The numbers are found by running the test: whoever changes a kernel so that it rounds otherwise writes the new ones here.
fn check(format: Format, kv_format: KvFormat, reference: [u64; 2], cpu: [u64; 2]) {
    let of = |device: &Device| if matches!(device, Device::Reference) { reference } else { cpu };
    let found: Vec<(Device, [u64; 2])> =
        devices().into_iter().map(|d| (d.clone(), digests(&d, format, kv_format))).collect();
    assert!(found.iter().all(|(device, digests)| of(device) == *digests), "{format:?} {kv_format:?}: {found:#x?}");
}

#[test]
fn q4_1_with_f16_keys_and_values() {
    check(
        Format::Q4_1,
        KvFormat::F16,
        [0x7ba9_b3da_038b_af33, 0xe501_bee8_473c_d150],
        [0x1c58_50dc_d624_821f, 0x3a13_c323_f7d1_1f9f],
    );
}

#[test]
fn q8_0_with_f32_keys_and_values() {
    check(
        Format::Q8_0,
        KvFormat::F32,
        [0xbe5d_2e40_d197_535c, 0xfe1d_9de2_17b1_bbf2],
        [0x8313_5369_9b80_d297, 0xaf0a_4400_eb83_57ea],
    );
}

#[test]
fn q4_1_with_q8_0_keys_and_values() {
    check(
        Format::Q4_1,
        KvFormat::Q8_0,
        [0x91bf_28f3_2492_a166, 0x91df_8c46_beb7_7d02],
        [0xa121_ecdb_3e65_72b6, 0x9c1b_9c97_3366_03d9],
    );
}

#[test]
fn one_bit_of_difference_is_seen() {
    let mut answer = Answer::new(1);
    answer.choices[0].logprobs = vec![(-0.5f64).to_bits()];
    let before = digest(&answer);
    answer.choices[0].logprobs[0] += 1;
    assert_ne!(digest(&answer), before);
}
