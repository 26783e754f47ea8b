//! That there is a Vulkan adapter, which one, and that it computes: the first thing to look at when tests on a GPU fail.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{gpu_route, task::block_on};

#[test]
fn an_adapter_computes() {
    let adapter = block_on(gpu_route::adapter());
    println!("{}", gpu_route::describe(&adapter));
    block_on(gpu_route::prove(&adapter));
}
