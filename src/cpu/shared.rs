//! Memory that the threads of a job share and write to in disjoint parts, between barriers. The only place where a slice is
//! made from shared memory; who may call it, and why the parts are disjoint, is said at each call in `run`.

#![expect(unsafe_code, reason = "threads write to disjoint parts of one allocation")]

use std::{cell::UnsafeCell, ops::Range};

use crate::error::{Result, try_vec};

/// A fixed allocation of T.
pub(crate) struct Shared<T> {
    cells: Vec<UnsafeCell<T>>,
}

// SAFETY: access from several threads goes through `slice` and `slice_mut` alone, whose callers promise that no part is written
// by one thread while another reads or writes it.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// `n` times `value`.
    pub(crate) fn new(n: usize, value: T, what: &str) -> Result<Self> {
        let mut cells = try_vec(n, what)?;
        cells.extend((0..n).map(|_| UnsafeCell::new(value)));
        Ok(Self { cells })
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(self.cells.as_slice()) as u64
    }

    /// All of it, for the owner.
    pub(crate) fn get_mut(&mut self) -> &mut [T] {
        // SAFETY: UnsafeCell<T> is laid out as T, and &mut self excludes every other access.
        unsafe { &mut *(std::ptr::from_mut(self.cells.as_mut_slice()) as *mut [T]) }
    }

    /// A part, to read, between jobs: the executor lends its `Shared` to a job only while it waits for the job.
    pub(crate) fn read(&self, range: Range<usize>) -> &[T] {
        // SAFETY: writers exist only within `Pool::run`, which the executor's owner cannot be outside of at the same time.
        unsafe { self.slice(range) }
    }

    /// A part, to read.
    ///
    /// # Safety
    /// Nobody writes to the part while the slice lives.
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &[T] {
        // SAFETY: UnsafeCell<T> is laid out as T; the caller excludes writers.
        unsafe { &*(std::ptr::from_ref(&self.cells[range]) as *const [T]) }
    }

    /// A part, to write.
    ///
    /// # Safety
    /// Nobody else reads or writes the part while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "the cells are UnsafeCell; the caller promises exclusive use")]
    pub(crate) unsafe fn slice_mut(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.cells[range];
        // SAFETY: writing through UnsafeCell is allowed; the caller excludes every other access.
        unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(cells.as_ptr()), cells.len()) }
    }
}
