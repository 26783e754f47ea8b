//! The default model's file, which build.sh fetches and caches.

use kinglet::gguf::{Event, Metadata, Parser};
use std::{env, fs::File, io::Read, path::PathBuf};

/// Where the file is: `KINGLET_MODEL`, or the folder in which build.sh keeps models.
pub fn path() -> PathBuf {
    let cache = || env::var_os("KINGLET_CACHE").map_or_else(|| PathBuf::from(".cache"), PathBuf::from);
    env::var_os("KINGLET_MODEL").map_or_else(|| cache().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from)
}

/// The metadata of the default model; only the header of the file is read.
pub fn metadata() -> Metadata {
    let path = path();
    let mut file = File::open(&path).unwrap_or_else(|error| {
        panic!(
            "the default model is not at {} ({error}): run ./build.sh test native, or set KINGLET_MODEL",
            path.display()
        )
    });
    let mut metadata = None;
    let mut parser = Parser::new();
    let mut chunk = vec![0; 1 << 20];
    while metadata.is_none() {
        let n = file.read(&mut chunk).expect("the default model can be read");
        assert!(n > 0, "{} ends before its header does", path.display());
        let mut keep = |event: Event<'_>| {
            if let Event::Header(header) = event {
                metadata = Some(header.metadata);
            }
            Ok(())
        };
        parser.feed(&chunk[..n], &mut keep).expect("the default model is a GGUF file");
    }
    metadata.expect("the loop ends with it")
}
