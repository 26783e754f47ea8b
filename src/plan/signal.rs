//! An event that happens once: how an executor whose work is done elsewhere says that it can go on.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Becomes raised once and stays so; awaiting it waits for that. Clones are the same signal.
#[derive(Debug, Clone, Default)]
pub struct Signal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    raised: bool,
    wakers: Vec<Waker>,
}

impl Signal {
    /// One that is raised already.
    pub fn raised() -> Self {
        let signal = Self::default();
        signal.raise();
        signal
    }

    /// Wakes everybody who waits.
    pub fn raise(&self) {
        let wakers = {
            let mut state = self.state();
            state.raised = true;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it has happened.
    pub fn is_raised(&self) -> bool {
        self.state().raised
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Signal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.raised {
            return Poll::Ready(());
        }
        if !state.wakers.iter().any(|w| w.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
