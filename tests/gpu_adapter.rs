//! That there is a Vulkan adapter, which one, and that it computes: the first thing to look at when tests on a GPU fail.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::{gpu_route, task::block_on};

#[test]
fn an_adapter_computes() {
    let adapter = block_on(gpu_route::adapter());
    let name = gpu_route::describe(&adapter);
    println!("{name}");
    if let Ok(expected) = std::env::var("KINGLET_EXPECT_ADAPTER") {
        assert!(name.contains(&expected), "{name}, expected {expected}");
    }
    block_on(gpu_route::prove(&adapter));
}
