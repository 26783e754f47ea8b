//! The GGUF parser: what it reads, what it refuses and why, in chunks of every size, within bounded memory.

mod common;

use common::tiny_llama::{TinyConfig, tiny_llama};
use kinglet::gguf::{Event, Header, Parser};

#[test]
fn reads_a_tiny_llama() {
    let file = tiny_llama(&TinyConfig::default(), 1);
    let bytes = file.build();
    let mut header: Option<Box<Header>> = None;
    let mut data = vec![vec![]; file.tensors.len()];
    let mut parser = Parser::new();
    parser
        .feed(&bytes, &mut |event| {
            match event {
                Event::Header(h) => header = Some(h),
                Event::Data { tensor, bytes } => data[tensor].extend_from_slice(bytes),
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(parser.finish().unwrap().trailing_bytes, 0);
    assert_eq!(header.unwrap().metadata.str("general.architecture").unwrap(), Some("llama"));
    for (tensor, data) in file.tensors.iter().zip(data) {
        assert_eq!(tensor.data, data);
    }
}
