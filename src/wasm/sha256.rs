//! SHA-256 of a stream of bytes, for `sha256` in the options of loading: the browser's own digest wants all bytes at once.
//! Called by www/pkg/src/engine-host.ts.

use sha2::Digest;
use wasm_bindgen::prelude::wasm_bindgen;

/// A hash in progress.
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Sha256(sha2::Sha256);

#[wasm_bindgen]
impl Sha256 {
    /// The hash of no bytes yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes so far, 64 hexadecimal digits in lower case; the hash begins anew.
    pub fn hex(&mut self) -> String {
        self.0.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
