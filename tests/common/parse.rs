//! Runs the GGUF parser over a file that is in memory.

use kinglet::{
    error::Result,
    gguf::{Event, Header, Parser, Summary},
};

/// Everything that the parser says about a file.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    pub header: Header,
    /// The data of every tensor.
    pub data: Vec<Vec<u8>>,
    pub summary: Summary,
}

/// Parses a file that comes in pieces of these sizes, over and over; an error where the parser gives one.
pub fn parse_in_chunks(file: &[u8], sizes: &[usize]) -> Result<Parsed> {
    let mut header = None;
    let mut data = Vec::new();
    let mut last = 0;
    let mut parser = Parser::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = file;
    while !rest.is_empty() {
        let n = *sizes.next().expect("a size");
        let (chunk, after) = rest.split_at(n.min(rest.len()));
        rest = after;
        parser.feed(chunk, &mut |event| {
            match event {
                Event::Header(h) => {
                    assert!(header.is_none(), "the header came twice");
                    data = vec![vec![]; h.tensors.len()];
                    header = Some(*h);
                }
                Event::Data { tensor, bytes } => {
                    assert!(tensor >= last && !bytes.is_empty(), "data of {tensor} came behind {last}");
                    last = tensor;
                    data[tensor].extend_from_slice(bytes);
                }
            }
            Ok(())
        })?;
    }
    let summary = parser.finish()?;
    Ok(Parsed { header: header.expect("a file that ends well has a header"), data, summary })
}

/// Parses a file that comes in one piece.
pub fn parse(file: &[u8]) -> Result<Parsed> {
    parse_in_chunks(file, &[usize::MAX])
}
