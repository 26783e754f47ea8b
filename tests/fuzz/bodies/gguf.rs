//! Any bytes as a GGUF file: the parser and the loader, up to where everything is decided. They give a result or a typed error that
//! blames the file; the same for any chunks; for no more memory than the file's length warrants.

use kinglet::{
    engine::{Device, Loader, Options},
    error::{Error, Result},
    gguf::{Event, Header, Parser, Summary},
};

use crate::common::{counting::peak_bytes, rng::Rng};

/// What weights, cache and buffers of a model may take here: a file may ask for as much as there is, and this is what there is.
pub const MEMORY_LIMIT_BYTES: u64 = 1 << 20;
/// What a parser, and a loader, may take beside a multiple of the file.
const CONSTANT_BYTES: usize = 64 << 10;
const DECIDED_BYTES: usize = 1 << 20;
/// A byte of a header may become as many of a name, an index and a directory, twice while a vector grows.
const PER_BYTE: usize = 24;

/// Runs the target.
pub fn run(file: &[u8]) {
    let mut rng = Rng(seed(file));
    let (whole, parsed_bytes) = peak_bytes(|| parse(std::iter::once(file)));
    let chunked = parse(chunks(file, &mut rng));
    assert!(whole.result == chunked.result, "chunks change the result: {:?} {:?}", whole.result, chunked.result);
    // A NaN of the metadata is not equal to itself, but reads the same.
    let is_same = || whole == chunked || format!("{whole:?}") == format!("{chunked:?}");
    assert!(whole.result.is_err() || is_same(), "chunks change what is parsed");
    is_warranted(parsed_bytes, CONSTANT_BYTES, file);
    if let Err(error) = &whole.result {
        blames_the_file(error);
    }
    // What the parser refuses before a header, the loader sees as the parser does.
    if whole.header.is_none() {
        return;
    }
    let (loaded, loaded_bytes) = peak_bytes(|| load(std::iter::once(file)));
    // The loader is slow, and only hands the chunks on.
    if rng.below(8) == 0 {
        assert_eq!(loaded, load(chunks(file, &mut rng)), "chunks change what is loaded");
    }
    is_warranted(loaded_bytes, DECIDED_BYTES + MEMORY_LIMIT_BYTES as usize, file);
    if let Err(error) = loaded {
        blames_the_file(&error);
    }
}

/// Whatever is wrong, it is the file: neither the engine nor its caller.
pub fn blames_the_file(error: &Error) {
    assert!(!matches!(error, Error::Internal { .. } | Error::InvalidArgument { .. }), "blames the engine: {error}");
}

/// Memory grows with the bytes that have come, not with what they claim.
pub fn is_warranted(n_bytes: usize, constant_bytes: usize, file: &[u8]) {
    assert!(n_bytes <= constant_bytes + PER_BYTE * file.len(), "{n_bytes} bytes of memory for {} of file", file.len());
}

/// A number that depends on the file alone.
pub fn seed(file: &[u8]) -> u64 {
    file.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The file in pieces of random sizes, empty ones among them.
pub fn chunks<'a>(file: &'a [u8], rng: &'a mut Rng) -> impl Iterator<Item = &'a [u8]> {
    let longest = [3, 17, 150, 900][rng.below(4)];
    let mut rest = file;
    std::iter::from_fn(move || {
        let (chunk, after) = rest.split_at(rng.below(longest).min(rest.len()));
        let was_empty = rest.is_empty();
        rest = after;
        (!was_empty).then_some(chunk)
    })
}

/// Everything that the parser says.
#[derive(Debug, PartialEq)]
struct Parsed {
    header: Option<Box<Header>>,
    /// All data, and where each tensor's begins in it.
    data: Vec<u8>,
    starts: Vec<(usize, usize)>,
    result: Result<Summary>,
}

fn parse<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Parsed {
    let mut parsed = Parsed { header: None, data: vec![], starts: vec![], result: Err(Error::internal("")) };
    let mut parser = Parser::new();
    for chunk in chunks {
        let fed = parser.feed(chunk, &mut |event| {
            match event {
                Event::Header(header) => {
                    assert!(parsed.header.replace(header).is_none(), "the header came twice");
                }
                Event::Data { tensor, bytes } => {
                    assert!(!bytes.is_empty(), "no bytes");
                    if parsed.starts.last().is_none_or(|(last, _)| *last < tensor) {
                        parsed.starts.push((tensor, parsed.data.len()));
                    }
                    assert_eq!(parsed.starts.last().map(|(last, _)| *last), Some(tensor), "a tensor out of order");
                    parsed.data.extend_from_slice(bytes);
                }
            }
            Ok(())
        });
        if let Err(error) = fed {
            assert_eq!(parser.finish(), Err(error.clone()), "a failed parser stays failed");
            parsed.result = Err(error);
            return parsed;
        }
    }
    parsed.result = parser.finish();
    parsed
}

/// The facts about a model, as its file says them.
fn load<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<String> {
    let options = Options { memory_limit_bytes: MEMORY_LIMIT_BYTES, ..Options::new(Device::Reference) };
    let mut loader = Loader::new(options);
    for chunk in chunks {
        loader.feed(chunk)?;
    }
    Ok(format!("{:?}", loader.finish()?.info))
}
