//! Runs a future to its end where there is nothing else to run it.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

/// Polls until it is done. Natively a GPU's futures need no waking: what they wait for happens while a device is polled, which
/// the code that waits does itself. In a browser nothing can happen before this returns, so there it must not have to wait.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending if cfg!(target_arch = "wasm32") => panic!("a browser's event loop has to run: await this"),
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
