//! The part of the module that is fetched later (scripts/split): what is in it is called through stubs, which call this first.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Returns when that part has been instantiated; throws where it cannot be had. The worker's global (www/pkg/src/later.ts), which
    /// may have two binaries.
    #[wasm_bindgen(js_name = kingletLater)]
    fn instantiate_later(is_gpu: bool);
}

/// For the stubs alone.
#[wasm_bindgen(skip_typescript)]
pub fn load_later() {
    instantiate_later(cfg!(feature = "gpu"));
}
