//! What the fuzz targets share: the bodies, and the modules of the tests that these need.

pub mod bodies;
pub mod common;

/// Counts, so that the bodies can hold the loader to what it may allocate.
#[global_allocator]
static ALLOCATOR: common::counting::Counting = common::counting::Counting;
