//! A GPU for native tests: whatever Vulkan finds. A test without an adapter fails; `VK_DRIVER_FILES` names a driver.

use std::rc::Rc;

use kinglet::gpu::{Context, Request, context::block_on};

/// A device as asked for.
pub fn context(request: &Request) -> Rc<Context> {
    match block_on(None, Context::request(request)) {
        Ok(context) => {
            println!("adapter: {:?}", context.facts());
            context
        }
        Err(error) => {
            panic!("no GPU to test on: {error}. Name a driver, such as VK_DRIVER_FILES=…/vk_swiftshader_icd.json")
        }
    }
}
