//! A GPU for tests: natively whatever Vulkan finds (`VK_DRIVER_FILES` names a driver), in a browser what the page is granted. A
//! test without an adapter fails; every test says which one it had.

use std::rc::Rc;

use kinglet::gpu::{Context, Request};
#[cfg(not(target_arch = "wasm32"))]
use kinglet::{error::Result, gpu::context::block_on, session};

#[cfg(not(target_arch = "wasm32"))]
use super::generate::Answer;
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

/// Runs a request to its end, waiting as the worker does; how often it waited.
#[cfg(not(target_arch = "wasm32"))]
pub fn finish(
    session: &mut session::Session,
    context: &Context,
    request: &session::Request,
) -> Result<(Answer, usize)> {
    session.start(request.clone())?;
    let (mut answer, mut n_waits) = (Answer::new(request.n), 0);
    while !answer.add(session.advance(usize::MAX)?) {
        if let Some(signal) = session.waiting() {
            block_on(Some(context), signal);
            n_waits += 1;
        }
    }
    Ok((answer, n_waits))
}
