//! A vocabulary that comes beside the model's file, such as from a tokenizer.json: the header of a GGUF file with the keys
//! `tokenizer.…`, which take the place of the file's own.

use crate::{
    error::{Error, Result},
    gguf::{Array, Event, Metadata, Parser, Value},
};

const TOKENS: &str = "tokenizer.ggml.tokens";
/// `tokenizer.ggml.token_type` of a piece that only fills up.
const UNUSED: i32 = 5;

/// The metadata of such a header.
///
/// # Errors
/// Those of the parser; [`Error::FileFormat`] where bytes are missing or there are tensors too.
pub fn read_vocabulary(bytes: &[u8]) -> Result<Metadata> {
    let mut found = None;
    Parser::new().feed(bytes, &mut |event| {
        if let Event::Header(header) = event {
            found = Some(header).filter(|header| header.tensors.is_empty());
        }
        Ok(())
    })?;
    let header =
        found.ok_or_else(|| Error::file("the vocabulary is not the whole header of a GGUF file without tensors"))?;
    Ok(header.metadata)
}

/// The metadata of `file` with the keys of `vocabulary` in place of its own, filled up to the model's `n_vocab` pieces: models
/// may have more rows than there are pieces. What the vocabulary does not name, such as the token that ends a turn, stays.
pub(super) fn with_vocabulary(file: &Metadata, vocabulary: &Metadata, n_vocab: usize) -> Result<Metadata> {
    let mut merged = Metadata::default();
    for (key, value) in file.iter() {
        let stays =
            !key.starts_with("tokenizer.") || key.ends_with("_token_id") || key.starts_with("tokenizer.chat_template");
        if stays && vocabulary.get(key).is_none() {
            merged.insert(key.to_owned(), value.clone())?;
        }
    }
    let n = vocabulary.strings(TOKENS)?.map_or(0, |tokens| tokens.len());
    if n > n_vocab {
        let what = format!("the vocabulary has {n} pieces, but the model {n_vocab}: it belongs to another model");
        return Err(Error::file(what));
    }
    for (key, value) in vocabulary.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        merged.insert(key.to_owned(), filled(key, value.clone(), n..n_vocab)?)?;
    }
    Ok(merged)
}

/// A value with entries for the pieces `missing`, where it has one for each piece.
fn filled(key: &str, mut value: Value, missing: std::ops::Range<usize>) -> Result<Value> {
    match (key, &mut value) {
        (TOKENS, Value::Array(Array::String(tokens))) => {
            for id in missing {
                tokens.push(format!("[PAD{id}]").as_bytes())?;
            }
        }
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(types))) => types.extend(missing.map(|_| UNUSED)),
        ("tokenizer.ggml.scores", Value::Array(Array::F64(scores))) => scores.extend(missing.map(|_| 0.0)),
        ("tokenizer.ggml.scores", Value::Array(Array::F32(scores))) => scores.extend(missing.map(|_| 0.0)),
        _ => {}
    }
    Ok(value)
}
