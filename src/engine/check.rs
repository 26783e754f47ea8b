//! Whether the device that a model loads on is trusted. Shared by the loader and the check's future, which outlives any
//! borrow of the loader.

use std::cell::RefCell;

use crate::error::{Error, Result};

/// What is known of a device.
#[derive(Debug)]
pub(super) struct Verdict(RefCell<State>);

#[derive(Debug)]
enum State {
    Trusted,
    NotChecked,
    Failed(Error),
}

impl Verdict {
    /// Nothing is known until a check has ended.
    pub(super) fn needed() -> Self {
        Self(RefCell::new(State::NotChecked))
    }

    /// A device that computes as the build's tests have shown.
    pub(super) fn not_needed() -> Self {
        Self(RefCell::new(State::Trusted))
    }

    /// A check has ended. A failure is never taken back.
    pub(super) fn set(&self, outcome: Result<()>) -> Result<()> {
        let mut state = self.0.borrow_mut();
        *state = match (std::mem::replace(&mut *state, State::NotChecked), outcome) {
            (State::Failed(error), _) | (_, Err(error)) => State::Failed(error),
            (_, Ok(())) => State::Trusted,
        };
        drop(state);
        self.fault()
    }

    /// The failure, if there was one.
    pub(super) fn fault(&self) -> Result<()> {
        match &*self.0.borrow() {
            State::Failed(error) => Err(error.clone()),
            State::Trusted | State::NotChecked => Ok(()),
        }
    }

    /// An error unless the device is trusted.
    pub(super) fn trusted(&self) -> Result<()> {
        match &*self.0.borrow() {
            State::Trusted => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::NotChecked => Err(Error::internal("the device was not checked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_trusted_once_a_check_has_passed_and_never_after_one_has_failed() {
        let verdict = Verdict::needed();
        assert_eq!(verdict.trusted().unwrap_err().to_string(), "the device was not checked");
        assert_eq!(verdict.fault(), Ok(()), "data may come while it is checked");
        verdict.set(Ok(())).unwrap();
        assert_eq!(verdict.trusted(), Ok(()));
        let wrong = Error::GpuWrong { what: "add".into() };
        for outcome in [Err(wrong.clone()), Ok(()), Err(Error::internal("another"))] {
            assert_eq!(verdict.set(outcome), Err(wrong.clone()));
            assert_eq!((verdict.trusted(), verdict.fault()), (Err(wrong.clone()), Err(wrong.clone())));
        }
        assert_eq!(Verdict::not_needed().trusted(), Ok(()));
    }
}
