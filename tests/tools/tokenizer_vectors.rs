//! Measurement: runs llama.cpp's own tokenizer vectors against whole vocabularies.
//!
//! `cargo run --example tokenizer_vectors -- FOLDER`, where FOLDER is `models/` of a llama.cpp source tree (the sdist of
//! llama-cpp-python has it under `vendor/llama.cpp/`): every `X.gguf` with `X.gguf.inp` and `X.gguf.out`. Fails where a
//! vocabulary that is supported gives other ids than `.out` says, or where none was found.

use kinglet::gguf::{Event, Metadata, Parser};
use kinglet::tokenizer::{EncodeOptions, Tokenizer};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let folder = std::env::args().nth(1).expect("a folder with ggml-vocab-*.gguf");
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "gguf") && path.with_extension("gguf.inp").exists());
    paths.sort();
    let (mut n_right, mut n_wrong) = (0, 0);
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match Tokenizer::from_metadata(&read_metadata(path)) {
            Err(error) => println!("{name}: not supported: {error}"),
            Ok(tokenizer) => {
                let (right, wrong) = run(path, &tokenizer);
                println!("{name}: {right} of {} texts right", right + wrong);
                n_right += right;
                n_wrong += wrong;
            }
        }
    }
    println!("{n_right} right, {n_wrong} wrong");
    if n_right == 0 || n_wrong > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The numbers of texts with the right and with other ids.
fn run(path: &Path, tokenizer: &Tokenizer) -> (usize, usize) {
    let texts = std::fs::read_to_string(path.with_extension("gguf.inp")).expect("the texts");
    let ids = std::fs::read_to_string(path.with_extension("gguf.out")).expect("the ids");
    let separator = "\n__ggml_vocab_test__\n";
    let texts: Vec<&str> = texts.strip_suffix(separator).unwrap_or(&texts).split(separator).collect();
    assert_eq!(texts.len(), ids.lines().count(), "as many lines of ids as texts in {}", path.display());
    let mut wrong = 0;
    for (text, line) in texts.iter().zip(ids.lines()) {
        let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
        let found = tokenizer.encode(text, &EncodeOptions::default());
        if found != expected {
            wrong += 1;
            println!("  {text:?}\n    found    {found:?}\n    expected {expected:?}");
        }
    }
    (texts.len() - wrong, wrong)
}

fn read_metadata(path: &Path) -> Metadata {
    let file = std::fs::read(path).expect("the vocabulary");
    let mut metadata = None;
    let mut keep = |event: Event<'_>| {
        if let Event::Header(header) = event {
            metadata = Some(header.metadata);
        }
        Ok(())
    };
    Parser::new().feed(&file, &mut keep).expect("a GGUF file");
    metadata.expect("a whole header")
}
