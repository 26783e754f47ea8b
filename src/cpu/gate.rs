//! What the threads of a [`super::pool`] wait at: a number, polled for a while, then slept on by a condition variable (a futex on both
//! targets).

use std::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

/// Polls before a waiting thread sleeps. Wasm has no pause instruction: a poll there is one load, about 1 ns.
pub(super) const SPIN_POLLS: u32 = if cfg!(target_arch = "wasm32") { 16_000 } else { 2_000 };
/// The same where others may need the core.
pub(super) const FEW_POLLS: u32 = SPIN_POLLS / 64;

/// A number that threads wait to see changed. Those who poll one do not disturb who writes beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Gate {
    value: AtomicU32,
    sleepers: AtomicU32,
    lock: Mutex<()>,
    woken: Condvar,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Awake,
    Asleep,
}

impl Gate {
    pub(super) fn value(&self) -> u32 {
        self.value.load(Ordering::Acquire)
    }

    /// Changes the number and wakes those who wait. SeqCst orders the change against a waiter's "I sleep".
    pub(super) fn change(&self) {
        self.value.fetch_add(1, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.woken.notify_all();
        }
    }

    /// Returns once the number is not `seen`: polls for a while, then sleeps.
    pub(super) fn wait(&self, seen: u32, spin_polls: u32) -> Waited {
        let mut gap = 1;
        for poll in 0..spin_polls {
            if self.value() != seen {
                return Waited::Awake;
            }
            for _ in 0..gap {
                std::hint::spin_loop();
            }
            if poll % 64 == 63 && gap < 16 {
                gap *= 2;
            }
        }
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.value.load(Ordering::SeqCst) == seen {
            guard = self.woken.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        Waited::Asleep
    }
}
