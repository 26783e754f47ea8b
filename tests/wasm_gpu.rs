//! The GPU in a browser, against the reference by the same table of cases as natively. `./build.sh test gpu` runs this in Chromium
//! on SwiftShader (subgroups, no f16) and in Firefox on lavapipe (f16, no subgroups).
#![cfg(target_arch = "wasm32")]

mod common;

use std::rc::Rc;

use common::{cases, gpu, gpu_route};
use kinglet::{
    gpu::{Context, Gpu, Request},
    reference::Reference,
};
use wasm_bindgen::{JsCast, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setInterval)]
    fn set_interval(callback: &js_sys::Function, ms: u32) -> i32;
    #[wasm_bindgen(js_name = clearInterval)]
    fn clear_interval(id: i32);
}

/// While it exists, submits nothing every few milliseconds: Firefox looks for finished work only every 100 ms, or when something
/// is submitted.
struct Nudge {
    id: i32,
    _callback: Closure<dyn FnMut()>,
}

impl Nudge {
    fn new(context: &Rc<Context>) -> Self {
        let context = context.clone();
        let callback: Closure<dyn FnMut()> = Closure::new(move || context.nudge());
        Self { id: set_interval(callback.as_ref().unchecked_ref(), 4), _callback: callback }
    }
}

impl Drop for Nudge {
    fn drop(&mut self) {
        clear_interval(self.id);
    }
}

#[wasm_bindgen_test]
async fn an_adapter_computes() {
    let adapter = gpu_route::adapter().await;
    console_log!("{}", gpu_route::describe(&adapter));
    gpu_route::prove(&adapter).await;
}

/// Runs the whole table on one device.
async fn compare(request: &Request) {
    let context = gpu::open(request).await;
    console_log!("adapter: {:?}", context.facts());
    let _nudge = Nudge::new(&context);
    let mut complaints = vec![];
    for case in &cases::all() {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
        match case.run_awaiting(&mut gpu, usize::MAX).await {
            Ok(actual) => complaints.extend(case.check(&actual, &expected).err()),
            Err(error) => complaints.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[wasm_bindgen_test]
async fn every_case_agrees_with_the_reference() {
    compare(&Request::default()).await;
}

#[wasm_bindgen_test]
async fn every_case_agrees_at_default_limits() {
    compare(&Request { default_limits: true, ..Request::default() }).await;
}
