//! The random numbers: not a stream with a state, but a function of where one is. Token 17 of choice 2 has the same number
//! whether it is drawn in one go, after a crash, or next to other choices.

/// SplitMix64's output function (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
pub const fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number in [0, 1) with 53 random bits, for token `position` (0 is the first that is generated) of `choice`.
pub const fn unit(seed: u64, choice: u32, position: u64) -> f64 {
    let bits = mix(mix(mix(seed) ^ choice as u64) ^ position);
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
