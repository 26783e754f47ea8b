//! The tokenizer on vocabularies made by hand: rules at special tokens, refusals, streams, sizes.

#![cfg(not(target_arch = "wasm32"))]

mod common;

use common::gguf_builder::{string, strings};
use kinglet::error::Error;
use kinglet::gguf::{Array, Metadata, Value};
use kinglet::tokenizer::{EncodeOptions, StreamDecoder, Tokenizer};

const PLAIN: EncodeOptions = EncodeOptions { add_special: false, parse_special: false, joiner: None };
const PARSE: EncodeOptions = EncodeOptions { parse_special: true, ..PLAIN };
const SPECIAL: EncodeOptions = EncodeOptions { add_special: true, ..PLAIN };
const JOINER: char = '\u{FDD0}';
const BROKEN: EncodeOptions = EncodeOptions { joiner: Some(JOINER), ..PARSE };

const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// A vocabulary that tests change; `metadata` turns it into what a file would say.
#[derive(Clone)]
struct Vocabulary {
    tokens: Vec<Vec<u8>>,
    types: Vec<i32>,
    more: Vec<(&'static str, Value)>,
}

impl Vocabulary {
    /// The 256 bytes, then a piece per merge.
    fn byte_level(pre: &str, merges: &[&str]) -> Self {
        let printable = |b: &u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
        let others = (0..256).filter(|b| !printable(b)).zip(0x100..);
        let mut bytes: Vec<(u32, u32)> = (0..256).filter(printable).map(|b| (b, b)).chain(others).collect();
        bytes.sort_unstable();
        let tokens = bytes.iter().map(|(_, c)| char::from_u32(*c).unwrap().to_string());
        let tokens: Vec<_> = tokens.chain(merges.iter().map(|merge| merge.replace(' ', ""))).map(Vec::from).collect();
        let more = vec![("model", string("gpt2")), ("pre", string(pre)), ("merges", strings(merges))];
        Self { types: vec![1; tokens.len()], tokens, more }
    }

    /// Unknown, beginning, end, the 256 bytes, then pieces with falling scores.
    fn sentence_piece(pieces: &[&str]) -> Self {
        let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let tokens = special.into_iter().chain(bytes).chain(pieces.iter().map(|piece| (*piece).to_owned()));
        let tokens: Vec<_> = tokens.map(Vec::from).collect();
        let mut types = vec![1; tokens.len()];
        types[..3].copy_from_slice(&[UNKNOWN, CONTROL, CONTROL]);
        types[3..259].fill(BYTE);
        let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
        Self { tokens, types, more: vec![("model", string("llama")), ("scores", Value::Array(Array::F32(scores)))] }
    }

    /// Padding, end, unknown, then pieces with their scores.
    fn unigram(pieces: &[(&str, f32)]) -> Self {
        let (names, scores): (Vec<_>, Vec<_>) =
            [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)].iter().chain(pieces).copied().unzip();
        let mut types = vec![1; names.len()];
        types[..3].copy_from_slice(&[CONTROL, CONTROL, UNKNOWN]);
        let more = vec![("model", string("t5")), ("scores", Value::Array(Array::F32(scores)))];
        Self { tokens: names.into_iter().map(Vec::from).collect(), types, more }
    }

    /// Unknown, beginning and end, then pieces.
    fn word_piece(pieces: &[&str]) -> Self {
        let tokens: Vec<_> = ["[UNK]", "[CLS]", "[SEP]"].iter().chain(pieces).map(|piece| Vec::from(*piece)).collect();
        let mut types = vec![1; tokens.len()];
        types[..3].fill(CONTROL);
        let ids = [("unknown_token_id", 0), ("cls_token_id", 1), ("seperator_token_id", 2)];
        let ids = ids.map(|(key, id)| (key, Value::U32(id)));
        Self { tokens, types, more: [vec![("model", string("bert"))], ids.to_vec()].concat() }
    }

    fn with(mut self, key: &'static str, value: Value) -> Self {
        self.more.retain(|(other, _)| *other != key);
        self.more.push((key, value));
        self
    }

    fn piece(mut self, piece: impl Into<Vec<u8>>, kind: i32) -> Self {
        self.tokens.push(piece.into());
        self.types.push(kind);
        self
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::default();
        let types = Value::Array(Array::I32(self.types.clone()));
        let pairs = [("tokens", strings(&self.tokens)), ("token_type", types)];
        for (key, value) in self.more.iter().cloned().chain(pairs) {
            if metadata.get(&format!("tokenizer.ggml.{key}")).is_none() {
                metadata.insert(format!("tokenizer.ggml.{key}"), value).unwrap();
            }
        }
        metadata
    }

    fn build(&self) -> Tokenizer {
        Tokenizer::from_metadata(&self.metadata()).unwrap()
    }

    /// The error, which has to name the key.
    fn refused(&self, code: &str, names: &str) {
        let error = Tokenizer::from_metadata(&self.metadata()).map(|_| ()).expect_err(names);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(names), "{error} does not name {names}");
    }
}

fn gpt2() -> Vocabulary {
    Vocabulary::byte_level("gpt-2", &["l l", "h e", "he ll", "Ġ h"])
}

#[test]
fn merges_go_by_rank_inside_words() {
    let tokenizer = gpt2().build();
    assert_eq!(tokenizer.encode("hello hello", &PLAIN), [258, 111, 32, 258, 111]);
    assert_eq!(tokenizer.encode("hi he h", &PLAIN), [104, 105, 32, 257, 259]);
    assert_eq!(tokenizer.decode(&[258, 111, 32, 258, 111], true), "hello hello");
    assert_eq!(tokenizer.encode("", &PLAIN), [0; 0]);
    assert_eq!(tokenizer.token_bytes(259).as_deref(), Some(&b" h"[..]));
    assert_eq!((tokenizer.token_bytes(260), tokenizer.n_vocab()), (None, 260));
}

#[test]
fn llama_bpe_takes_whole_words_that_no_merge_makes() {
    let whole = Vocabulary::byte_level("llama-bpe", &["l l"]).piece("hello", 1);
    assert_eq!(whole.build().encode("hello", &PLAIN), [257]);
    assert_eq!(whole.with("pre", string("gpt-2")).build().encode("hello", &PLAIN), [104, 101, 256, 111]);
}

#[test]
fn control_tokens_are_found_only_when_asked_for_and_never_when_broken() {
    let tokenizer = gpt2().piece("<|im_start|>", CONTROL).piece("<|im_end|>", CONTROL).piece("\u{1}", CONTROL).build();
    let forged = "hello<|im_start|>b";
    let plain = tokenizer.encode(forged, &PLAIN);
    assert_eq!(tokenizer.encode(forged, &PARSE), [258, 111, 260, 98]);
    assert!(!plain.contains(&260));
    let broken = forged.replace("<|im_start|>", &format!("<{JOINER}|im_start|>"));
    assert_eq!(tokenizer.encode(&broken, &BROKEN), plain);
    assert_eq!(tokenizer.encode(&format!("he{JOINER}llo"), &BROKEN), [258, 111], "words see no joiner");
    assert_eq!(tokenizer.encode(&JOINER.to_string(), &BROKEN), [0; 0]);
    assert_eq!(tokenizer.encode(&format!("a{JOINER}<|im_end|>"), &BROKEN), [97, 261], "the template's own token");
    assert_eq!(tokenizer.encode("\u{1}", &PARSE), [262]);
    assert_eq!(tokenizer.encode("\u{1}", &BROKEN), [1], "a token of one character cannot be broken");
    assert_eq!(tokenizer.special_strings().count(), 3);
    assert_eq!(tokenizer.end_of_generation(), [261]);
}

#[test]
fn user_defined_tokens_are_always_found_leftmost_then_longest() {
    let spaces = gpt2().piece("  ", USER_DEFINED).piece("    ", USER_DEFINED).piece(" x", USER_DEFINED);
    let tokenizer = spaces.piece("<think>", USER_DEFINED).build();
    assert_eq!(tokenizer.encode("a  b    c     x", &PLAIN), [97, 260, 98, 261, 99, 261, 262]);
    assert_eq!(tokenizer.encode("   ", &PLAIN), [260, 32]);
    assert_eq!(tokenizer.decode(&[97, 261, 260], true), "a      ");
    assert_eq!(tokenizer.special_strings().collect::<Vec<_>>(), [(263, "<think>")], "spaces forge nothing");
}

#[test]
fn a_merge_cannot_make_a_control_token() {
    let forging = Vocabulary::byte_level("gpt-2", &["a b", "ab c"]);
    assert_eq!(forging.build().encode("abc", &PLAIN), [257]);
    let control = Vocabulary { types: [vec![1; 257], vec![CONTROL]].concat(), ..forging };
    assert_eq!(control.build().encode("abc", &PLAIN), [256, 99]);
    let spm = Vocabulary::sentence_piece(&["▁", "<", "s", ">", "s>", "0", "x", "4", "1", "<0", "x4", "1>", "x41>"]);
    assert!(spm.build().encode("<s><0x41>", &PLAIN).iter().all(|id| *id > 258));
}

#[test]
fn sentencepiece_puts_a_space_at_the_start_and_after_special_tokens() {
    let spm = Vocabulary::sentence_piece(&["▁", "a", "▁a", "b"]);
    let tokenizer = spm.build();
    assert_eq!(tokenizer.encode("a b", &SPECIAL), [1, 261, 259, 262]);
    assert_eq!(tokenizer.encode("a</s>a", &PARSE), [261, 2, 261]);
    assert_eq!(tokenizer.encode("é", &PLAIN), [259, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(tokenizer.decode(&[1, 261, 259, 262], true), "a b");
    assert_eq!(tokenizer.decode(&[1, 261, 2], false), "<s> a</s>");
    let mut stream = StreamDecoder::continuing(true);
    assert_eq!(stream.push(&tokenizer, 261), " a", "in the middle of a text the space is one");
    let bare = spm.with("add_space_prefix", Value::Bool(false)).with("add_eos_token", Value::Bool(true));
    assert_eq!(bare.build().encode("a b", &SPECIAL), [1, 260, 259, 262, 2]);
    assert_eq!(bare.build().decode(&[261], true), " a");
}

#[test]
fn sentencepiece_without_bytes_uses_the_unknown_token_once_for_a_run() {
    let mut spm = Vocabulary::sentence_piece(&["▁", "a"]);
    spm.tokens.drain(3..259);
    spm.types.drain(3..259);
    let spm = spm.with("scores", Value::Array(Array::I32(vec![0, 0, 0, -1, -2])));
    assert_eq!(spm.build().encode("aéüaé", &PLAIN), [3, 4, 0, 4, 0]);
    let mut no_unknown = spm;
    no_unknown.tokens[0] = b"x".to_vec();
    no_unknown.types[0] = BYTE;
    no_unknown.refused("E_FILE_FORMAT", "tokenizer.ggml.tokens");
    no_unknown.tokens[0] = b"<0x00>".to_vec();
    no_unknown.refused("E_FILE_FORMAT", "256 byte pieces");
}

#[test]
fn a_stream_gives_whole_characters_however_the_tokens_come() {
    let tokenizer = gpt2().build();
    let mut stream = StreamDecoder::new(true);
    let parts: Vec<String> = "é€".bytes().map(|b| stream.push(&tokenizer, u32::from(b))).collect();
    assert_eq!(parts, ["", "é", "", "", "€"]);
    // The cases of the Unicode standard's table 3-8, and a character that never ends.
    for bytes in [
        &b"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82A"[..],
        b"\xED\xA0\x80\xF4\x91\x92\x93\xFFA",
        b"a\xF0\x9F\x98",
        b"\xE2\x82\xE2\x82\xAC",
    ] {
        let mut stream = StreamDecoder::new(true);
        let mut text: String = bytes.iter().map(|b| stream.push(&tokenizer, u32::from(*b))).collect();
        text.push_str(&stream.finish());
        assert_eq!(text, String::from_utf8_lossy(bytes));
        assert!(!stream.has_pending());
    }
}

#[test]
fn ends_of_texts_and_generations_are_those_of_llama_cpp() {
    let chat = gpt2()
        .piece("</s>", 1)
        .piece("<|endoftext|>", CONTROL)
        .piece("[PAD]", USER_DEFINED)
        .piece("<|fim_pad|>", CONTROL);
    let tokenizer = chat.build();
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()),
        (None, None, false),
        "11 is no control token here"
    );
    assert_eq!(tokenizer.end_of_generation(), [260, 261, 263]);
    assert!(tokenizer.is_control(260), "made a control token, as it ends a generation");
    assert!(tokenizer.is_end_of_generation(261) && !tokenizer.is_end_of_generation(262));
    let keyed = chat.with("eos_token_id", Value::U32(5)).with("fim_pad_token_id", Value::U32(262));
    assert_eq!(keyed.build().end_of_generation(), [5, 260, 261, 262]);
    let llama3 = Vocabulary::byte_level("llama-bpe", &[]).with("bos_token_id", Value::U32(7)).build();
    assert_eq!(llama3.encode("a", &SPECIAL), [7, 97], "llama-bpe begins with it unless the file says no");
}

#[test]
fn contradictions_in_a_file_are_refused_by_name() {
    let base = gpt2;
    base().with("tokens", strings::<&str>([])).refused("E_FILE_FORMAT", "tokenizer.ggml.tokens");
    base().piece("hell", 1).refused("E_FILE_FORMAT", "pieces 258 and 260");
    base().piece(vec![b'a'; 1 << 20], 1).refused("E_FILE_LIMIT", "tokenizer.ggml.tokens");
    base().piece("<0x-1>", BYTE).refused("E_FILE_FORMAT", "<0x-1>");
    base().piece("<0x0a>", BYTE).refused("E_FILE_FORMAT", "<0x0a>");
    base().piece("x y", 7).refused("E_FILE_FORMAT", "tokenizer.ggml.token_type");
    base()
        .with("token_type", Value::Array(Array::I32(vec![1; 3])))
        .refused("E_FILE_FORMAT", "tokenizer.ggml.token_type");
    base().with("token_type", string("1")).refused("E_FILE_FORMAT", "tokenizer.ggml.token_type");
    for key in ["bos_token_id", "eos_token_id", "eot_token_id", "fim_sep_token_id"] {
        base().with(key, Value::U32(260)).refused("E_FILE_FORMAT", key);
        base().with(key, Value::I32(-1)).refused("E_FILE_FORMAT", key);
    }
    base().with("add_bos_token", Value::Bool(true)).refused("E_FILE_FORMAT", "add_bos_token");
    base().with("merges", strings(["l l", "h x"])).refused("E_FILE_FORMAT", "tokenizer.ggml.merges: entry 1");
    base().with("merges", strings(["ll"])).refused("E_FILE_FORMAT", "tokenizer.ggml.merges: entry 0");
    base().with("merges", strings([""])).refused("E_FILE_FORMAT", "tokenizer.ggml.merges: entry 0");
    base().with("pre", string("qwen9")).refused("E_UNSUPPORTED_FEATURE", "\"qwen9\"");
    for model in ["rwkv", "plamo2", "hybriddna", "whitespace", "none", ""] {
        base().with("model", string(model)).refused("E_UNSUPPORTED_FEATURE", &format!("{model:?}"));
    }
    let spm = || Vocabulary::sentence_piece(&["▁"]);
    spm().with("scores", Value::Array(Array::F32(vec![0.0; 259]))).refused("E_FILE_FORMAT", "tokenizer.ggml.scores");
    spm()
        .with("scores", Value::Array(Array::F32(vec![f32::NAN; 260])))
        .refused("E_FILE_FORMAT", "tokenizer.ggml.scores");
    spm().with("unknown_token_id", Value::U32(260)).refused("E_FILE_FORMAT", "unknown_token_id");
    spm().with("scores", Value::Bool(true)).refused("E_FILE_FORMAT", "tokenizer.ggml.scores");
}

#[test]
fn unigram_takes_the_best_sum_and_the_unknown_token_once_for_a_run() {
    let pieces = [("▁", -2.0), ("a", -3.0), ("b", -3.0), ("ab", -5.0), ("▁a", -4.5), ("abb", -7.0)];
    let unigram = Vocabulary::unigram(&pieces);
    let tokenizer = unigram.build();
    assert_eq!(tokenizer.encode("abb", &SPECIAL), [3, 8, 1], "-9 is more than -10.5 and -11");
    assert_eq!(tokenizer.encode("a", &PLAIN), [7]);
    assert_eq!(tokenizer.encode("a", &PARSE), [7]);
    assert_eq!(tokenizer.encode("aéüa é", &PLAIN), [7, 2, 4, 3, 2]);
    assert_eq!(tokenizer.encode("  a ", &PLAIN), [3, 3, 7, 3]);
    assert_eq!(tokenizer.encode("", &SPECIAL), [1]);
    assert_eq!(tokenizer.decode(&[7, 3, 5, 1], true), "a b");
    let removing = unigram.clone().with("remove_extra_whitespaces", Value::Bool(true)).build();
    assert_eq!(removing.encode("  a   a ", &PLAIN), [7, 7]);
    let bare = unigram.clone().with("add_space_prefix", Value::Bool(false)).build();
    assert_eq!(bare.encode("ab", &PLAIN), [6]);
    let mut defined = Vocabulary::unigram(&[&pieces[..], &[("a b", 0.0)]].concat());
    defined.types[9] = USER_DEFINED;
    assert_eq!(defined.build().encode("ba b", &PLAIN), [3, 5, 9]);
}

#[test]
fn word_piece_takes_the_longest_piece_or_gives_up_the_word() {
    let bert = Vocabulary::word_piece(&["▁un", "▁unb", "aff", "able", "▁!", "▁日", "▁", "x"]);
    let tokenizer = bert.build();
    assert_eq!(tokenizer.encode("UNaffable!", &SPECIAL), [1, 3, 5, 6, 7, 2]);
    assert_eq!(tokenizer.encode("unàffable 日un日", &PLAIN), [3, 5, 6, 8, 3, 8]);
    assert_eq!(tokenizer.encode("unbe x", &PLAIN), [0, 0], "what goes on does not begin a word");
    assert_eq!(tokenizer.encode(&format!("un{} un", "x".repeat(99)), &PLAIN), [0, 3]);
    assert_eq!(tokenizer.encode(&format!("un{}", "x".repeat(98)), &PLAIN).len(), 99);
    assert_eq!(tokenizer.encode("[SEP]un[SEP]", &PARSE), [2, 3, 2]);
    assert_eq!(tokenizer.decode(&[1, 3, 5, 7, 2], true), "unaff !");
    assert_eq!((tokenizer.eos(), tokenizer.end_of_generation()), (None, &[][..]));
    let cased = bert.with("normalizer.lowercase", Value::Bool(false)).build();
    assert_eq!(cased.encode("unaff UN unàff", &PLAIN), [3, 5, 0, 0]);
}

#[test]
fn vocabularies_of_characters_with_merges_write_spaces_and_bytes() {
    let mut gemma = Vocabulary::sentence_piece(&["▁", "a", "b", "ab", "▁ab", "\n", "\n\n"]);
    gemma = gemma.with("model", string("gemma4")).with("merges", strings(["a b", "▁ ab", "\n \n"]));
    let tokenizer = gemma.with("bos_token_id", Value::U32(1)).build();
    assert_eq!(tokenizer.encode("ab ab\n\n\nb", &SPECIAL), [1, 262, 263, 265, 264, 261]);
    assert_eq!(tokenizer.encode("é", &PLAIN), [3 + 0xC3, 3 + 0xA9]);
    assert_eq!(tokenizer.decode(&[263, 262, 3 + 0xC3, 3 + 0xA9], true), " ababé");
}

#[test]
fn bad_values_of_the_newer_models_are_refused_by_name() {
    let unigram = || Vocabulary::unigram(&[("▁", -2.0), ("a", -3.0)]);
    let map = |bytes: &[u8]| Value::Array(Array::U8(bytes.to_vec()));
    let key = "precompiled_charsmap";
    unigram().with(key, map(&[1, 0])).refused("E_FILE_FORMAT", key);
    unigram().with(key, map(&[8, 0, 0, 0, 1, 2, 3, 4])).refused("E_FILE_FORMAT", key);
    unigram().with(key, map(&[255; 64])).refused("E_FILE_FORMAT", key);
    unigram().with(key, map(&[&[0, 0, 0, 0][..], &[b'x'; 300]].concat())).refused("E_FILE_LIMIT", key);
    unigram().with(key, Value::Bool(true)).refused("E_FILE_FORMAT", key);
    unigram().with("scores", Value::Array(Array::F32(vec![f32::NAN; 5]))).refused("E_FILE_FORMAT", "scores");
    unigram().with("scores", Value::Array(Array::F64(vec![0.0; 4]))).refused("E_FILE_FORMAT", "scores");
    unigram().with("unknown_token_id", Value::U32(5)).refused("E_FILE_FORMAT", "unknown_token_id");
    unigram().with("add_bos_token", Value::Bool(true)).refused("E_FILE_FORMAT", "add_bos_token");
    let bert = || Vocabulary::word_piece(&["▁a"]);
    bert().with("seperator_token_id", Value::U32(4)).refused("E_FILE_FORMAT", "seperator_token_id");
    bert().with("normalizer.lowercase", Value::U32(1)).refused("E_FILE_FORMAT", "normalizer.lowercase");
    let mut no_unknown = bert();
    no_unknown.more.retain(|(key, _)| *key != "unknown_token_id");
    no_unknown.refused("E_FILE_FORMAT", "unknown token");
}

/// A map with arbitrary nodes changes texts somehow, but always ends, within its bounds.
#[test]
fn any_character_map_is_survived() {
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    for n in [0, 4, 64, 1024, 4096_u32] {
        for _ in 0..20 {
            let mut map = n.to_le_bytes().to_vec();
            map.extend((0..n).map(|_| byte()));
            map.extend((0..200).map(|_| byte() % 128));
            let tokenizer = Vocabulary::unigram(&[("▁", -2.0), ("a", -3.0)])
                .with("precompiled_charsmap", Value::Array(Array::U8(map)))
                .build();
            let text: String = (0..300).map(|_| char::from(byte())).collect();
            let n_ids = tokenizer.encode(&text, &PLAIN).len();
            assert!(n_ids <= 300 * 200, "{n_ids}");
        }
    }
}

#[test]
fn a_file_without_a_pre_tokenizer_takes_the_default_and_says_so() {
    let mut vocabulary = gpt2();
    vocabulary.more.retain(|(key, _)| *key != "pre");
    assert!(vocabulary.build().notice().unwrap().contains("tokenizer.ggml.pre"));
    assert!(gpt2().with("pre", string("default")).build().notice().is_none());
    assert_eq!(gpt2().with("pre", string("default")).build().encode("he+1234", &PLAIN), [257, 43, 49, 50, 51, 52]);
}

#[test]
fn missing_keys_are_refused_by_name() {
    for key in ["model", "merges", "tokens"] {
        let mut metadata = Metadata::default();
        for (other, value) in gpt2().metadata().iter().filter(|(other, _)| !other.ends_with(&format!(".{key}"))) {
            metadata.insert(other.to_owned(), value.clone()).unwrap();
        }
        let error = Tokenizer::from_metadata(&metadata).unwrap_err();
        assert_eq!(error, Error::file(format!("metadata key tokenizer.ggml.{key} is missing")));
    }
}

#[test]
fn empty_pieces_and_repeated_merges_are_allowed() {
    let tokenizer =
        gpt2().piece("", 1).piece("", CONTROL).with("merges", strings(["l l", "h e", "l l", "he ll"])).build();
    assert_eq!(tokenizer.encode("hell", &PARSE), [258]);
    assert_eq!(tokenizer.decode(&[260, 261, 104, 9_999_999], false), "h");
}

#[test]
fn a_million_merges_load_and_a_megabyte_of_one_word_is_encoded() {
    let mut vocabulary = gpt2();
    let pieces: Vec<String> = (0..1000).map(|i| char::from_u32(0x4E00 + i).unwrap().to_string()).collect();
    let mut merges = vec!["l l".to_owned(), "a a".to_owned(), "aa aa".to_owned()];
    for (i, left) in pieces.iter().enumerate() {
        vocabulary = vocabulary.piece(left.as_str(), 1);
        merges.extend(pieces.iter().skip(i % 2).map(|right| format!("{left} {right}")));
    }
    let both = merges.iter().map(|merge| merge.replace(' ', "")).skip(1);
    for piece in both {
        vocabulary.tokens.push(piece.into_bytes());
        vocabulary.types.push(1);
    }
    let tokenizer = vocabulary.with("merges", strings(&merges)).build();
    let ids = tokenizer.encode(&"a".repeat(1 << 20), &PLAIN);
    assert_eq!(ids.len(), 1 << 18);
    let marks = "\u{301}".repeat(100_000);
    assert_eq!(tokenizer.decode(&tokenizer.encode(&marks, &PLAIN), true), marks);
    let spm =
        Vocabulary::sentence_piece(&["▁", "a", "aa", "aaaa"]).with("add_space_prefix", Value::Bool(false)).build();
    assert_eq!(spm.encode(&"a".repeat(1 << 20), &PLAIN).len(), 1 << 18);
    assert_eq!(spm.decode(&spm.encode(&marks, &PLAIN), true), marks);
    let all = "<".repeat(1 << 20);
    assert_eq!(tokenizer.encode(&all, &PARSE).len(), 1 << 20);
}
