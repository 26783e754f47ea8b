//! The pre-tokenizers by their names in `tokenizer.ggml.pre`. Called by `pretokenize`.
//!
//! Names and rules are llama.cpp's (`llama-vocab.cpp`). The expressions are those of the models' tokenizer.json where llama.cpp
//! quotes them, for it has to rewrite them for its own matcher: there case, marks and Han are told apart less finely. Which
//! models' tokenizer.json asks for NFC, llama.cpp does not say and does not do; here it is done for those of which it is known
//! (not for qwen35: llama.cpp's vectors for it keep marks apart).

macro_rules! contractions {
    () => {
        "'s|'t|'re|'ve|'m|'ll|'d"
    };
}
macro_rules! any_case_contractions {
    () => {
        concat!("(?i:", contractions!(), ")")
    };
}
/// The end of most expressions: white space, the last character of which goes with what follows.
macro_rules! white_space {
    () => {
        r"\s*[\r\n]+|\s+(?!\S)|\s+"
    };
}
/// tiktoken's cl100k with another rule for numbers.
macro_rules! cl100k {
    ($number:literal) => {
        concat!(
            any_case_contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $number,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|",
            white_space!()
        )
    };
}
/// tiktoken's o200k: capital letters before small ones. `$han` takes Han out, `$tail` goes with a word, `$end` with punctuation.
macro_rules! o200k {
    ($han:literal, $tail:expr, $number:literal, $end:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $han,
            r"]*[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $han,
            "]+",
            $tail,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}",
            $han,
            r"]+[\p{Ll}\p{Lm}\p{Lo}\p{M}",
            $han,
            "]*",
            $tail,
            "|",
            $number,
            r"| ?[^\s\p{L}\p{N}]+",
            $end,
            "*|",
            white_space!()
        )
    };
}
macro_rules! with_contractions {
    () => {
        concat!(any_case_contractions!(), "?")
    };
}
/// DeepSeek 3's last expression.
macro_rules! deepseek_words {
    ($after_punctuation:literal) => {
        concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"##,
            $after_punctuation
        )
    };
}

/// GPT-2's expression, which is also what `ByteLevel` of tokenizer.json cuts by.
pub(super) const GPT_2: &str = concat!(contractions!(), r"| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+");
const LLAMA_3: &str = cl100k!(r"\p{N}{1,3}");
const QWEN_2: &str = cl100k!(r"\p{N}");
const O200K: &str = o200k!("", with_contractions!(), r"\p{N}{1,3}", r"[\r\n/]");
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const CJK_WORDS: &str = r"[一-龥぀-ゟ゠-ヿ]+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LINES: &str = r"[^\n]+|[\n]+";
const DEEPSEEK_3: &str = deepseek_words!(r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");
const DEEPSEEK_LETTERS: &str = concat!(
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1F7D}ᾀ-ᾴᾶ-ᾼ\u{1FBE}ῂ-ῄῆ-ῌῐ-\u{1FD3}ῖ-\u{1FDB}ῠ-Ῥῲ-ῴῶ-ῼ",
    "ℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212A}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
);

/// A word that is a piece as a whole is not built by merges (`ignore_merges` in tokenizer.json).
pub(super) const WHOLE_WORDS: u8 = 1;
/// A beginning-of-sequence token is put first where the file does not say.
pub(super) const ADD_BOS: u8 = 2;
/// Text is brought into Unicode's form NFC first.
pub(super) const NFC: u8 = 4;
/// Symbols are characters, with `▁` for a space, and bytes only where a character has no piece: no byte-level pieces.
pub(super) const CHARACTERS: u8 = 8;

/// Names that mean the same, what they mean, and the expressions by which text is cut, one after the other.
pub(super) type Preset = (&'static [&'static str], u8, &'static [&'static str]);

/// All of llama.cpp's but `whitespace`, which belongs to a tokenizer of its own.
#[rustfmt::skip]
pub(super) const PRESETS: [Preset; 37] = [
    (&["default"], 0, &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", THREE_DIGITS]),
    (&["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "jina-v1-en",
       "jina-v2-code", "roberta-bpe", "jais", "trillion", "granite-docling", "exaone4"], 0, &[GPT_2]),
    (&["mpt", "olmo", "modern-bert"], NFC, &[GPT_2]),
    (&["starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"], 0, &[r"\p{N}", GPT_2]),
    (&["command-r"], NFC, &[r"\p{N}", GPT_2]),
    (&["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        WHOLE_WORDS | ADD_BOS, &[LLAMA_3]),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], 0, &[LLAMA_3]),
    (&["glm4", "glm5"], WHOLE_WORDS, &[LLAMA_3]),
    (&["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"], NFC, &[QWEN_2]),
    (&["kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"], 0, &[QWEN_2]),
    (&["qwen35"], 0, &[concat!(any_case_contractions!(),
        r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|", white_space!())]),
    (&["laguna"], 0, &[LINES, QWEN_2]),
    (&["minicpm5"], WHOLE_WORDS, &[r"\p{N}{1,3}", cl100k!(r"\p{N}+")]),
    (&["jais-2"], 0, &[concat!(any_case_contractions!(),
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)",
        r"|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}")]),
    (&["seed-coder"], 0, &[concat!(any_case_contractions!(),
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|", white_space!())]),
    (&["ufakzeka"], 0, &[concat!(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|", white_space!())]),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], 0, &[
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"]),
    (&["exaone-moe"], 0, &[concat!(any_case_contractions!(),
        r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+")]),
    (&["tekken"], WHOLE_WORDS | ADD_BOS, &[o200k!("", "", r"\p{N}", r"[\r\n/]")]),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], 0, &[O200K]),
    (&["granite-embed-multi-97m"], WHOLE_WORDS, &[O200K]),
    (&["tiny_aya", "cohere2moe"], NFC, &[r"\d{1,3}(?3w)", O200K]),
    (&["kimi-k2"], 0, &[concat!(r"[\p{Han}]+|",
        o200k!(r"&&[^\p{Han}]", with_contractions!(), r"\p{N}{1,3}", r"[\r\n]"))]),
    (&["youtu"], WHOLE_WORDS, &["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
        o200k!("", with_contractions!(), r"\p{N}", r"[\r\n/]")]),
    (&["deepseek-llm"], 0, &[r"[\r\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+", r"\s+$", "[一-龥ࠀ-一가-\u{d7ff}]+",
        r"\p{N}+"]),
    (&["deepseek-coder"], 0, &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+", r"\p{N}"]),
    (&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], 0, &[r"\p{N}{1,3}", CJK_WORDS, DEEPSEEK_3]),
    (&["spark2_5"], 0, &[r"\p{N}{1,3}", CJK_WORDS, deepseek_words!(r"|[\r\n]|\s+(?!\S)|\s+"), r"\p{N}"]),
    (&["afmoe"], 0, &[r"\p{N}{1,3}(?3N)",
        "[一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+", DEEPSEEK_3]),
    (&["falcon"], 0, &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, THREE_DIGITS]),
    (&["poro-chat", "bloom", "gpt3-finnish"], 0, &[BLOOM]),
    (&["viking"], 0, &[BLOOM, r"\p{N}"]),
    (&["superbpe"], 0, &[r"\p{N}+", r"(?=\d)(?3)"]),
    (&["chameleon"], ADD_BOS, &["<sentinel:[0-9]+>", "(IMGIMG)([A-I]{1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]", GPT_2]),
    (&["gemma4", "granite-embed-multi-311m"], CHARACTERS | ADD_BOS, &[LINES]),
    (&["sarvam-moe"], CHARACTERS, &[LINES]),
    // Metaspace of tokenizer.json, which has no name.
    (&[], CHARACTERS, &["▁?[^▁]+|▁"]),
];
