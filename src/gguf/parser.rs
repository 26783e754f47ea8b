//! The push parser: fed with chunks of any size, it gives out the header once and then the bytes of each tensor in order, as
//! slices of the chunks. It keeps no tensor data. After an error it stays failed: every later call gives the same error.
//! Called by the engine's loader; what the header's bytes mean is in `header.rs`.

use super::{Header, TensorInfo, header::HeaderReader, reader::Reader};
use crate::error::{Error, Result};

/// What the parser has found.
#[derive(Debug)]
pub enum Event<'a> {
    /// The header is complete and has passed every check; comes once, before any data.
    Header(Box<Header>),
    /// The next bytes of a tensor. Tensors come in the order of the directory, each from its first byte to its last, in as
    /// many pieces as the chunks give; a tensor without elements gives none.
    Data {
        /// Position in [`Header::tensors`].
        tensor: usize,
        /// Bytes that follow those given out before; never empty.
        bytes: &'a [u8],
    },
}

/// What is known once the file has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file, bytes.
    pub file_bytes: u64,
    /// Bytes behind the last tensor and its padding: allowed, and no part of the model.
    pub trailing_bytes: u64,
}

/// A GGUF file as it arrives.
#[derive(Debug)]
pub struct Parser {
    reader: Reader,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Header(Box<HeaderReader>),
    Data(Directory),
    Failed(Error),
}

/// What is still needed of the header while the data comes.
#[derive(Debug)]
struct Directory {
    tensors: Vec<TensorInfo>,
    next: usize,
    end_offset: u64,
    alignment: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self { reader: Reader::default(), phase: Phase::Header(Box::default()) }
    }
}

impl Parser {
    /// A parser at the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file and reports what they complete. An error of `on_event` ends the parsing too.
    ///
    /// # Errors
    /// [`Error::FileFormat`], [`Error::FileLimit`], [`Error::UnsupportedQuant`], [`Error::Memory`], and those of `on_event`.
    pub fn feed(&mut self, chunk: &[u8], on_event: &mut impl FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        self.advance(chunk, on_event).inspect_err(|e| self.phase = Phase::Failed(e.clone()))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::FileFormat`] where bytes are missing, naming what they would have been; or the error of an earlier call.
    pub fn finish(&self) -> Result<Summary> {
        let file_bytes = self.reader.position();
        match &self.phase {
            Phase::Failed(error) => Err(error.clone()),
            Phase::Header(header) => Err(Error::FileFormat {
                what: format!(
                    "the file ends too early: {} of {}",
                    match self.reader.n_partial() {
                        0 => "nothing".into(),
                        1 => "1 byte".into(),
                        n => format!("{n} bytes"),
                    },
                    header.waits_for()
                ),
                offset: Some(file_bytes),
            }),
            Phase::Data(directory) => directory.finish(file_bytes),
        }
    }

    fn advance(&mut self, mut chunk: &[u8], on_event: &mut impl FnMut(Event<'_>) -> Result<()>) -> Result<()> {
        if let Phase::Header(header) = &mut self.phase {
            let Some(header) = header.read(&mut self.reader, &mut chunk)? else { return Ok(()) };
            self.reader.release();
            self.phase = Phase::Data(Directory {
                tensors: header.tensors.clone(),
                next: 0,
                end_offset: header.end_offset,
                alignment: header.alignment,
            });
            on_event(Event::Header(Box::new(header)))?;
        }
        match &mut self.phase {
            Phase::Data(directory) => directory.read(&mut self.reader, chunk, on_event),
            Phase::Failed(error) => Err(error.clone()),
            Phase::Header(_) => Ok(()),
        }
    }
}

impl Directory {
    fn read(
        &mut self,
        reader: &mut Reader,
        mut chunk: &[u8],
        on_event: &mut impl FnMut(Event<'_>) -> Result<()>,
    ) -> Result<()> {
        while let Some(tensor) = self.tensors.get(self.next) {
            reader.take_some(&mut chunk, tensor.offset.saturating_sub(reader.position()));
            let end = tensor.offset.saturating_add(tensor.n_bytes);
            if reader.position() < tensor.offset || (chunk.is_empty() && reader.position() < end) {
                return Ok(());
            }
            let bytes = reader.take_some(&mut chunk, end.saturating_sub(reader.position()));
            if !bytes.is_empty() {
                on_event(Event::Data { tensor: self.next, bytes })?;
            }
            if reader.position() < end {
                return Ok(());
            }
            self.next += 1;
        }
        reader.take_some(&mut chunk, u64::MAX);
        Ok(())
    }

    fn finish(&self, file_bytes: u64) -> Result<Summary> {
        // Tensors without elements at the end need no bytes, not even their padding.
        if file_bytes < self.end_offset {
            let what = match self.tensors.iter().skip(self.next).find(|t| t.n_bytes > 0) {
                Some(t) => format!(
                    "the file ends too early: {} of {} bytes of tensor {}; the whole file would be {} bytes or more",
                    file_bytes.saturating_sub(t.offset),
                    t.n_bytes,
                    t.name,
                    self.end_offset
                ),
                None => format!("the file ends too early: it would be {} bytes or more", self.end_offset),
            };
            return Err(Error::FileFormat { what, offset: Some(file_bytes) });
        }
        let padded = self.end_offset.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        Ok(Summary { file_bytes, trailing_bytes: file_bytes.saturating_sub(padded) })
    }
}
