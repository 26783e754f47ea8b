//! Futures as JavaScript's promises, on the one thread that an engine lives on.
//!
//! wasm-bindgen's own executor wakes through `Atomics.waitAsync` in a build with shared memory, and where a browser lacks that
//! (Firefox before 145) through a helper worker from a URL that a strict CSP forbids: the promise would never settle. All that
//! wakes here happens on this thread, so a microtask is enough.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

use super::JsResult;
use crate::sorted::SortedMap;

/// A future that has not ended, and what to call then.
struct Task {
    future: Pin<Box<dyn Future<Output = JsResult<JsValue>>>>,
    resolve: Function,
    reject: Function,
}

/// The tasks of this thread.
struct Queue {
    tasks: RefCell<SortedMap<u64, Task>>,
    next_id: Cell<u64>,
    /// What is to be polled in the microtask that is on its way.
    woken: RefCell<Vec<u64>>,
    run: Closure<dyn FnMut(JsValue)>,
}

thread_local! {
    static QUEUE: Queue = Queue {
        tasks: RefCell::default(),
        next_id: Cell::new(0),
        woken: RefCell::default(),
        run: Closure::new(|_| QUEUE.with(Queue::run)),
    };
}

/// Settles as the future ends.
pub(super) fn promise(future: impl Future<Output = JsResult<JsValue>> + 'static) -> Promise {
    let mut future = Some(future);
    Promise::new(&mut |resolve, reject| {
        if let Some(future) = future.take() {
            QUEUE.with(|queue| queue.add(Task { future: Box::pin(future), resolve, reject }));
        }
    })
}

/// Wakes the task of this number. Not itself a part of the queue, because a waker must be free to go to other threads.
struct Alarm(u64);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        QUEUE.with(|queue| queue.wake(self.0));
    }
}

impl Queue {
    fn add(&self, task: Task) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        self.tasks.borrow_mut().insert(id, task);
        self.wake(id);
    }

    /// Never polls at once: who wakes may be in the middle of anything.
    fn wake(&self, id: u64) {
        let is_first = {
            let mut woken = self.woken.borrow_mut();
            woken.push(id);
            woken.len() == 1
        };
        if is_first {
            drop(Promise::resolve(&JsValue::UNDEFINED).then(&self.run));
        }
    }

    fn run(&self) {
        for id in self.woken.take() {
            // Woken twice, or after its end.
            let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { continue };
            let waker = Waker::from(Arc::new(Alarm(id)));
            match task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => drop(self.tasks.borrow_mut().insert(id, task)),
                Poll::Ready(outcome) => {
                    let (settle, value) = match outcome {
                        Ok(value) => (task.resolve, value),
                        Err(error) => (task.reject, error),
                    };
                    // What settles a promise does not throw.
                    drop(settle.call1(&JsValue::UNDEFINED, &value));
                }
            }
        }
    }
}
