//! What every malformed file of the list costs, as a table: `cargo run --release --example bad_files`. Each goes through the whole
//! engine on one thread: the code of the error, milliseconds until it is there (the least of three), and the most bytes that were
//! held at once beyond the file itself. `tests/bad_files.rs` holds the engine to the codes and to the bytes.

#[path = "../common/mod.rs"]
mod common;

use std::{sync::Arc, time::Instant};

use common::{
    bad_files,
    counting::{Counting, peak_bytes},
    generate::{load, options},
};
use kinglet::{cpu::pool::Pool, engine::Device};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    println!("| row | file | file bytes | code | ms | bytes held | at the header |\n|---|---|---|---|---|---|---|");
    let (mut slowest_ms, mut most_bytes) = (0f64, 0);
    for file in bad_files::all() {
        let mut least_ms = f64::MAX;
        let mut outcome = ("accepted", 0);
        for _ in 0..3 {
            let options = options(Device::Cpu(Arc::new(Pool::new(1))));
            let start = Instant::now();
            let (loaded, n_bytes) = peak_bytes(|| load(&file.bytes, options, usize::MAX));
            least_ms = least_ms.min(start.elapsed().as_secs_f64() * 1000.0);
            outcome = (loaded.err().map_or("accepted", |error| error.code()), n_bytes);
        }
        let (code, n_bytes) = outcome;
        let at_header = if file.at_header { "yes" } else { "no" };
        println!(
            "| {} | {} | {} | {code} | {least_ms:.3} | {n_bytes} | {at_header} |",
            file.row,
            file.name,
            file.bytes.len()
        );
        slowest_ms = slowest_ms.max(least_ms);
        if file.at_header {
            most_bytes = most_bytes.max(n_bytes);
        }
    }
    println!("\nslowest {slowest_ms:.1} ms; most bytes held by one that is refused at its header: {most_bytes}");
}
