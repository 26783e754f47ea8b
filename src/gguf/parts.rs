//! A model in several files, as llama.cpp's gguf-split and gguf-py write it:
//!
//! ```text
//! name-00001-of-00003.gguf   split.no 0   split.count 3   split.tensors.count n   all other metadata, some tensors or none
//! name-00002-of-00003.gguf   split.no 1   split.count 3   split.tensors.count n   the next tensors
//! name-00003-of-00003.gguf   split.no 2   split.count 3   split.tensors.count n   the last tensors
//! ```
//! The headers of all files are read first and joined into the one of a whole model; then the files are read from their
//! beginnings. What a file calls itself decides about its place, not its name: that stands in messages only. Each file has an
//! alignment of its own. Called by the engine's loader.

use super::{Event, Header, Metadata, Parser, directory::name_of, limits::MAX_TENSORS, quoted};
use crate::{
    error::{Error, Result},
    hash::Fnv,
    table::Names,
};

/// Most files of a model.
pub const MAX_PARTS: u64 = 1000;

/// The headers of a model's files, as they arrive in any order.
#[derive(Debug, Default)]
pub struct Parts {
    parser: Parser,
    /// Name of the file whose header is being read.
    reading: Option<String>,
    complete: Vec<(String, Header)>,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What the caller calls it.
    pub name: String,
    /// The how manieth of the headers it was, from 0.
    pub place: usize,
    /// Number of its first tensor in the whole model.
    pub first_tensor: usize,
    /// As it was read first, without its metadata.
    header: Header,
}

impl Parts {
    /// Begins with the header of another file. One that was begun and did not end is forgotten, so a file may be begun again.
    pub fn begin(&mut self, name: &str) {
        self.parser = Parser::new();
        self.reading = Some(name.into());
    }

    /// Takes the next bytes of the file that was begun. Once its header is complete: how many files the model has by it, 1 for
    /// a file that is no part.
    ///
    /// # Errors
    /// Those of [`Parser::feed`], with the file's name.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<u64>> {
        let Self { parser, reading, complete } = self;
        let Some(name) = reading else { return Err(Error::internal("no file was begun")) };
        let mut header = None;
        let mut keep = |event: Event<'_>| {
            if let Event::Header(h) = event {
                header = Some(*h);
            }
            Ok(())
        };
        parser.feed(bytes, &mut keep).map_err(|e| in_file(name, e))?;
        let Some(header) = header else { return Ok(None) };
        let count = count(&header).map_err(|e| in_file(name, e))?;
        complete.push((std::mem::take(name), header));
        *reading = None;
        Ok(Some(count))
    }

    /// Ends the file that was begun; to be called where it ends before its header is complete.
    ///
    /// # Errors
    /// [`Error::FileFormat`], saying what is missing.
    pub fn end(&self) -> Result<()> {
        let Some(name) = &self.reading else { return Ok(()) };
        self.parser.finish().map(|_| ()).map_err(|e| in_file(name, e))
    }

    /// The header of the whole model, and its files in the order in which they are to be read. Tensors are numbered over all
    /// files; each one's `offset` counts from the beginning of its file, `end_offset` is the least length of all files together.
    ///
    /// # Errors
    /// [`Error::FileFormat`] where a header is not complete, a part is missing or too many, or the parts contradict each other.
    pub fn join(self) -> Result<(Header, Vec<Part>)> {
        self.end()?;
        let files = in_order(self.complete)?;
        let mut files = files.into_iter();
        let Some((place, name, mut whole)) = files.next() else { return Err(Error::internal("no file was read")) };
        let mut parts = vec![Part { name, place, first_tensor: 0, header: directory(&whole) }];
        let mut names = Names::default();
        for (i, tensor) in whole.tensors.iter().enumerate() {
            names.insert(&tensor.name, &|other| name_of(whole.tensors.get(..i).unwrap_or_default(), other))?;
        }
        for (place, name, header) in files {
            let error = |what: String| Err(in_file(&name, Error::file(what)));
            let architecture = header.metadata.str(ARCHITECTURE).map_err(|e| in_file(&name, e))?;
            let expected = whole.metadata.str(ARCHITECTURE)?;
            if architecture.is_some() && architecture != expected {
                let [found, expected] = [architecture, expected].map(|name| name.unwrap_or("none"));
                return error(format!("architecture {found}, expected {expected} as in the first part"));
            }
            let (first_tensor, directory) = (whole.tensors.len(), directory(&header));
            for tensor in header.tensors {
                if !names.insert(&tensor.name, &|i| name_of(&whole.tensors, i))? {
                    return error(format!("tensor {} stands in another part too", quoted(&tensor.name)));
                }
                whole.tensors.push(tensor);
            }
            parts.push(Part { name, place, first_tensor, header: directory });
            whole.end_offset = whole.end_offset.saturating_add(header.end_offset);
            let mut both = Fnv::default();
            both.write(&whole.fingerprint.to_le_bytes());
            both.write(&header.fingerprint.to_le_bytes());
            whole.fingerprint = both.finish();
        }
        check_total(&whole, parts.len())?;
        Ok((whole, parts))
    }
}

impl Part {
    /// Refuses a file that is not the one whose header was read first; [`Self::error`] adds the name.
    pub fn check_again(&self, header: &Header) -> Result<()> {
        if directory(header) == self.header {
            return Ok(());
        }
        let what = "it has changed: its header was another one when it was read first";
        Err(Error::Integrity { what: what.into() })
    }

    /// An error of this file, with its name.
    pub fn error(&self, error: Error) -> Error {
        in_file(&self.name, error)
    }
}

/// Refuses a file that was given alone and is only a part.
pub fn refuse_part(header: &Header) -> Result<()> {
    let n = count(header)?;
    if n == 1 {
        return Ok(());
    }
    let no =
        header.metadata.u64("split.no")?.map_or_else(|| "one".into(), |no| format!("part {}", no.saturating_add(1)));
    let what = format!("this file is {no} of {n} parts of a model; the others are missing");
    Err(Error::MissingParts { what, n_parts: n })
}

const ARCHITECTURE: &str = "general.architecture";

/// A header without its metadata: what has to be the same when the file is read again.
fn directory(header: &Header) -> Header {
    let Header { version, alignment, data_offset, end_offset, fingerprint, .. } = *header;
    Header {
        version,
        metadata: Metadata::default(),
        tensors: header.tensors.clone(),
        alignment,
        data_offset,
        end_offset,
        fingerprint,
    }
}

/// A file's place among those given, its name, its header.
type Placed = (usize, String, Header);

/// `split.count`, 1 for a file that is no part.
fn count(header: &Header) -> Result<u64> {
    match header.metadata.u64("split.count")? {
        None | Some(0) => Ok(1),
        Some(n) if n > MAX_PARTS => {
            Err(Error::FileLimit { what: "split.count".into(), found: n, limit: MAX_PARTS, offset: None })
        }
        Some(n) => Ok(n),
    }
}

/// The files by `split.no`: every number once, and as many as each of them says.
fn in_order(files: Vec<(String, Header)>) -> Result<Vec<Placed>> {
    let Some((first, expected)) = files.first().map(|(name, header)| (name.clone(), count(header))) else {
        return Ok(vec![]);
    };
    let expected = expected?;
    let mut slots: Vec<Option<Placed>> = (0..expected).map(|_| None).collect();
    for (place, (name, header)) in files.into_iter().enumerate() {
        let found = count(&header)?;
        if found != expected || (found == 1 && place > 0) {
            let one = |name: &str, n| {
                if n == 1 { format!("{name} is a whole model") } else { format!("{name} is one of {n} parts") }
            };
            let what = format!("these files are not one model: {}, {}", one(&first, expected), one(&name, found));
            return Err(Error::file(what));
        }
        let no = header.metadata.u64("split.no").map_err(|e| in_file(&name, e))?;
        let no = no.unwrap_or(if expected == 1 { 0 } else { u64::MAX });
        match usize::try_from(no).ok().and_then(|no| slots.get_mut(no)) {
            Some(Some((_, other, _))) => {
                return Err(Error::file(format!("{other} and {name} are both part {} of {expected}", no + 1)));
            }
            Some(slot) => *slot = Some((place, name, header)),
            None => return Err(in_file(&name, Error::file(format!("split.no is missing or not below {expected}")))),
        }
    }
    let missing: Vec<u64> = (0..expected).zip(&slots).filter(|(_, slot)| slot.is_none()).map(|(no, _)| no).collect();
    if missing.is_empty() { Ok(slots.into_iter().flatten().collect()) } else { Err(missing_parts(&slots, &missing)) }
}

/// Names the parts that are missing, by file name where the others' names show how they are called.
fn missing_parts(slots: &[Option<Placed>], missing: &[u64]) -> Error {
    const MAX_NAMED: usize = 5;
    let n = slots.len();
    let suffix = |no: u64| format!("-{:05}-of-{n:05}.gguf", no + 1);
    let stem = (0..).zip(slots).find_map(|(no, slot)| slot.as_ref()?.1.strip_suffix(&suffix(no)));
    let name = |no: &u64| match stem {
        Some(stem) => format!("{stem}{}", suffix(*no)),
        None => format!("part {}", no + 1),
    };
    let mut list = missing.iter().take(MAX_NAMED).map(name).collect::<Vec<_>>().join(", ");
    if missing.len() > MAX_NAMED {
        list += &format!(" and {} more", missing.len() - MAX_NAMED);
    }
    let what = format!("this model has {n} parts, of which {} are missing: {list}", missing.len());
    Error::MissingParts { what, n_parts: n as u64 }
}

fn check_total(whole: &Header, n_parts: usize) -> Result<()> {
    let n = whole.tensors.len() as u64;
    if n > MAX_TENSORS {
        return Err(Error::FileLimit {
            what: "number of tensors of all parts".into(),
            found: n,
            limit: MAX_TENSORS,
            offset: None,
        });
    }
    match whole.metadata.u64("split.tensors.count")? {
        Some(expected) if n != expected => {
            Err(Error::file(format!("the parts have {n} tensors together, expected split.tensors.count, {expected}")))
        }
        None if n_parts > 1 => Err(Error::file("metadata key split.tensors.count is missing")),
        _ => Ok(()),
    }
}

/// An error with the name of the file in which it was found.
fn in_file(name: &str, error: Error) -> Error {
    let named = |what: String| format!("{}: {what}", quoted(name));
    match error {
        Error::FileFormat { what, offset } => Error::FileFormat { what: named(what), offset },
        Error::FileLimit { what, found, limit, offset } => Error::FileLimit { what: named(what), found, limit, offset },
        Error::Integrity { what } => Error::Integrity { what: named(what) },
        other => other,
    }
}
