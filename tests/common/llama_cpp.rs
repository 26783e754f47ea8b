//! llama.cpp's vocabularies, which build.sh fetches and caches: `ggml-vocab-X.gguf`, most with texts and ids.

use kinglet::gguf::{Event, Metadata, Parser};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Where they are: `llama.cpp/` in the folder in which build.sh keeps what it fetched.
pub fn folder() -> PathBuf {
    env::var_os("KINGLET_CACHE").map_or_else(|| PathBuf::from(".cache"), PathBuf::from).join("llama.cpp")
}

/// The metadata of vocabulary `name`.
pub fn metadata(name: &str) -> Metadata {
    header(&read(&folder().join(format!("ggml-vocab-{name}.gguf"))))
}

/// The texts of vocabulary `name` and the ids that llama.cpp expects of each.
pub fn vectors(name: &str) -> Vec<(String, Vec<u32>)> {
    let text = |suffix: &str| {
        String::from_utf8(read(&folder().join(format!("ggml-vocab-{name}.gguf.{suffix}")))).expect("a text file")
    };
    let (texts, ids) = (text("inp"), text("out"));
    let separator = "\n__ggml_vocab_test__\n";
    let texts: Vec<&str> = texts.strip_suffix(separator).unwrap_or(&texts).split(separator).collect();
    assert_eq!(texts.len(), ids.lines().count(), "as many lines of ids as texts of {name}");
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().expect("an id")).collect());
    texts.into_iter().map(str::to_owned).zip(ids).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| {
        panic!(
            "llama.cpp's vocabulary is not at {} ({error}): run ./build.sh test native, or set KINGLET_CACHE",
            path.display()
        )
    })
}

/// The metadata of a GGUF file.
pub fn header(file: &[u8]) -> Metadata {
    let mut metadata = None;
    let mut keep = |event: Event<'_>| {
        if let Event::Header(header) = event {
            metadata = Some(header.metadata);
        }
        Ok(())
    };
    Parser::new().feed(file, &mut keep).expect("a GGUF file");
    metadata.expect("a whole header")
}
