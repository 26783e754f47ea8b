//! The GPU in a browser, against the reference by the same table of cases as natively. `./build.sh test gpu` runs this in Chromium
//! on SwiftShader (subgroups, no f16) and in Firefox on lavapipe (f16, no subgroups).
#![cfg(target_arch = "wasm32")]

mod common;

use std::{collections::BTreeSet, rc::Rc};

use common::{case::Case, cases, gpu, gpu_route};
use js_sys::{Array, Function, Promise, futures::JsFuture};
use kinglet::{
    gpu::{
        Context, Gpu, Request, Subgroups,
        shader::{Dialect, SUBGROUPS},
    },
    plan::PlanSlot,
    reference::Reference,
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// The package's shim in small, and the browser's own words about a shader, which wgpu keeps to itself.
#[wasm_bindgen(inline_js = "
const { requestDevice } = GPUAdapter.prototype;
export async function grant_subgroups(on) {
  GPUAdapter.prototype.requestDevice = requestDevice;
  const { features, info } = await navigator.gpu.requestAdapter();
  if (!on || !features.has('subgroups')) return undefined;
  GPUAdapter.prototype.requestDevice = function (wanted = {}) {
    return requestDevice.call(this, { ...wanted, requiredFeatures: [...(wanted.requiredFeatures ?? []), 'subgroups'] });
  };
  return [info.subgroupMinSize, info.subgroupMaxSize];
}
const devices = new Map();
export async function compile(code, subgroups) {
  if (!devices.has(subgroups)) {
    const adapter = await navigator.gpu.requestAdapter();
    devices.set(subgroups, await adapter.requestDevice({ requiredFeatures: subgroups ? ['subgroups'] : [] }));
  }
  const device = devices.get(subgroups);
  device.pushErrorScope('validation');
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  const error = await device.popErrorScope();
  const all = messages.map(({ type, lineNum, linePos, message }) => `${type} ${lineNum}:${linePos} ${message}`);
  return error && all.length === 0 ? [error.message] : all;
}
export function is_firefox() {
  return navigator.userAgent.includes('Firefox');
}
")]
extern "C" {
    fn grant_subgroups(on: bool) -> Promise;
    fn compile(code: &str, subgroups: bool) -> Promise;
    fn is_firefox() -> bool;
}

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setInterval)]
    fn set_interval(callback: &Function, ms: u32) -> i32;
    #[wasm_bindgen(js_name = clearInterval)]
    fn clear_interval(id: i32);
}

async fn awaited(promise: Promise) -> JsValue {
    JsFuture::from(promise).await.unwrap_or_else(|thrown| panic!("{thrown:?}"))
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

/// Asks for a device, in a browser with subgroups through the same kind of shim as the package's.
async fn open(request: Request) -> Rc<Context> {
    let context = if request.without_subgroups {
        gpu::open(&request).await
    } else {
        let sizes = awaited(grant_subgroups(true)).await.dyn_into::<Array>().ok();
        let size = |sizes: &Array, i| sizes.get(i).as_f64().expect("a subgroup size") as u32;
        let subgroups = sizes.map(|s| Subgroups { min: size(&s, 0), max: size(&s, 1) });
        let context = gpu::open(&Request { subgroups, ..request }).await;
        awaited(grant_subgroups(false)).await;
        assert!(subgroups.is_some() || is_firefox(), "Chromium on SwiftShader has subgroups");
        context
    };
    console_log!("adapter: {:?}", context.facts());
    context
}

/// Of the table all, or where pipelines take long to make (SwiftShader) each third case from `first` on: the rest is for soak.
fn cases_from(first: usize) -> Vec<Case> {
    let is_all = is_firefox() || option_env!("KINGLET_LONG") == Some("1");
    let (first, step) = if is_all { (0, 1) } else { (first, 3) };
    cases::on_gpu().into_iter().skip(first).step_by(step).collect()
}

/// Runs the table on one device, then has the browser compile every text that was used and asks for its messages.
async fn compare(request: Request, cases: &[Case]) {
    let context = open(request).await;
    let _nudge = Nudge::new(&context);
    let mut complaints = vec![];
    let mut shaders = BTreeSet::new();
    for case in cases {
        let mut gpu = Gpu::new(context.clone(), case.geometry);
        let expected = case.run(&mut Reference::new(case.geometry), usize::MAX).expect("the reference runs");
        match case.run_awaiting(&mut gpu, usize::MAX).await {
            Ok(actual) => complaints.extend(case.check(&actual, &expected).err()),
            Err(error) => complaints.push(format!("{}: {error}", case.name)),
        }
        let lowered = gpu.lowered(PlanSlot(0)).expect("its one plan");
        shaders.extend(lowered.all().map(|d| d.shader.clone()));
    }
    complaints.extend(context.settled().await.err().map(|e| e.to_string()));
    for shader in &shaders {
        complaints.extend(messages(&shader.compose(Dialect::Browser), shader.has(SUBGROUPS)).await);
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let with_subgroups = shaders.iter().filter(|s| s.has(SUBGROUPS)).count();
    console_log!("{} texts compiled without a message, {with_subgroups} with subgroups", shaders.len());
    assert_eq!(with_subgroups > 0, context.facts().subgroups.is_some());
}

/// What the browser says of a text, if anything.
async fn messages(text: &str, subgroups: bool) -> Vec<String> {
    let all = awaited(compile(text, subgroups)).await.dyn_into::<Array>().expect("a list");
    all.iter().filter_map(|m| m.as_string()).map(|m| format!("{m}\n{text}")).collect()
}

#[wasm_bindgen_test]
async fn every_case_agrees_with_the_reference() {
    compare(Request::default(), &cases_from(0)).await;
}

#[wasm_bindgen_test]
async fn every_case_agrees_without_subgroups_at_default_limits() {
    let request = Request { without_subgroups: true, default_limits: true, ..Request::default() };
    compare(request, &cases_from(1)).await;
}

#[wasm_bindgen_test]
async fn what_does_not_compile_is_told() {
    const GOOD: &str = "@compute @workgroup_size(1) fn main() {}";
    assert_eq!(messages(GOOD, false).await, Vec::<String>::new());
    assert!(messages("@compute @workgroup_size(1) fn main() { x = 1; }", false).await[0].contains("error 1:"));
    let enabled = format!("enable subgroups;\n{GOOD}");
    assert!(messages(&enabled, false).await.iter().any(|m| m.contains("subgroups")), "the feature was not asked for");
}
