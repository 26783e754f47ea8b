//! A GPU for tests: natively whatever Vulkan finds (`VK_DRIVER_FILES` names a driver), in a browser what the page is granted. A
//! test without an adapter fails; every test says which one it had.

use std::rc::Rc;

use kinglet::gpu::{Context, Request};

use super::gpu_route::NO_ADAPTER;

/// A device as asked for.
pub async fn open(request: &Request) -> Rc<Context> {
    match Context::request(request).await {
        Ok(context) => context,
        Err(error) => panic!("{NO_ADAPTER} ({error})"),
    }
}

/// [`open`], natively.
#[cfg(not(target_arch = "wasm32"))]
pub fn context(request: &Request) -> Rc<Context> {
    let context = super::task::block_on(open(request));
    println!("adapter: {:?}", context.facts());
    context
}

/// The same with zones behind everything that shaders write: ask `check_zones` after each run.
#[cfg(not(target_arch = "wasm32"))]
pub fn watched(request: &Request) -> Rc<Context> {
    let context = context(request);
    context.watch_zones();
    context
}
