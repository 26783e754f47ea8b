"""Writes json/*.json: small tokenizers of every kind that vocabularyFromTokenizerJson takes, and what Hugging Face's library makes
of many texts with them: { tokenizer: tokenizer.json, config: tokenizer_config.json, cases: [[text, ids with special, ids]] }.

python3 make_tokenizer_json.py. Trained here on ../short_text.txt. Needs tokenizers 0.22.1, sentencepiece 0.2.1 (for a small
character map) and protobuf. `node write_headers.mjs` then writes the header of each, json/*.gguf, which the Rust side reads.
"""

import base64
import io
import json
import random
import unicodedata
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
PROSE = (HERE.parent / "short_text.txt").read_text()
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABC xyz 0123456789 .,;:!?'\"-()_$+",
    "    \t\n\r\u00a0\u3000",
    "äöüßéèçñ ▁ ſ Σσς ½ ﬁ ﬃ Ａ İ",
    "日本語中文한국어 ไทย हिन्दी العربية",
    "😀👩‍👩‍👧‍👦🏳️‍🌈é\u0301\u0300e\u0301 \ufeff\u0007\u200b",
]
MARKS = ["<s>", "</s>", "<unk>", "<|x|>", "[CLS]", "[MASK]", "<0x41>", " the", "'s", "'LL", " 12345"]


def texts():
    draw = random.Random(7)
    yield from ["", " ", "  ", "a", " a", "a ", "  a  b  ", "\n", "\0", "▁", "▁▁a", "a" * 300, "<s>a", "a <|x|> b", " <|x|>"]
    yield from ["e\u0301" * 20, "\ufffd", "a\u0085b\u000bc", "x" * 101 + " y", "ÀÉÎ naïve İstanbul", "½ ﬁsh 12½"]
    for _ in range(60):
        at = draw.randrange(len(PROSE))
        yield PROSE[at : at + draw.randint(1, 60)]
    for _ in range(150):
        parts = (draw.choice(MARKS) if draw.random() < 0.1 else draw.choice(draw.choice(ALPHABETS)) for _ in range(draw.randint(1, 25)))
        yield "".join(parts)


def lines():
    return [line for line in PROSE.split("\n") if line]


def template(before, after, ids):
    special = [(token, ids[token]) for token in (before, after) if token]
    return processors.TemplateProcessing(single=" ".join(filter(None, [before, "$A", after])), special_tokens=special)


def byte_level(pre, normalizer, add_bos):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(lines(), trainers.BpeTrainer(vocab_size=450, special_tokens=special, initial_alphabet=alphabet, show_progress=False))
    tokenizer.add_special_tokens([AddedToken("<|x|>", rstrip=True, normalized=False), AddedToken("[MASK]", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("  ", normalized=False)])
    if add_bos:
        tokenizer.post_processor = template("<s>", None, {"<s>": 0})
    return tokenizer


def characters(normalizer, pre, decoder):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=480, special_tokens=special + bytes_, show_progress=False)
    tokenizer.train_from_iterator(lines(), trainer)
    # Bytes are pieces, not added tokens.
    plain = json.loads(tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.post_processor = template("<s>", "</s>", {"<s>": 1, "</s>": 2})
    return tokenizer


def small_charsmap():
    rules = HERE / "rules.tsv"
    mapped = {"½": "1/2", "ﬁ": "fi", "ﬃ": "ffi", "Ａ": "A", "\t": " ", "\n": " ", "\u00a0": " ", "\u3000": " ", "e\u0301": "é", "\u200b": " "}
    hexes = lambda s: " ".join(f"{ord(c):X}" for c in s)
    rules.write_text("".join(f"{hexes(a)}\t{hexes(b)}\n" for a, b in mapped.items()))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines()), model_writer=model, model_type="unigram", vocab_size=100,
        normalization_rule_tsv=str(rules), minloglevel=2,
    )
    rules.unlink()
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def unigram(normalizer, pre, byte_fallback, after):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(lines(), trainer)
    if byte_fallback:
        plain = json.loads(tokenizer.to_str())
        plain["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        plain["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(plain))
    tokenizer.post_processor = template(None, after, {"</s>": 1})
    return tokenizer


def word_piece(**options):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*lines(), "Ａrger ärger é ü 日 本 , . ! ½"], trainer)
    tokenizer.post_processor = template("[CLS]", "[SEP]", {"[CLS]": 2, "[SEP]": 3})
    return tokenizer


def tokenizers():
    split = pre_tokenizers.Split(Regex(LLAMA_3), behavior="isolated")
    by_itself = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    yield "bpe-nfc", byte_level(by_itself, normalizers.NFC(), True)
    yield "bpe-digits", byte_level(digits, None, False)
    yield "bpe-prefix", byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True), None, False)
    llama = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "bpe-llama", characters(llama, None, llama_decoder)
    yield "bpe-metaspace", characters(None, pre_tokenizers.Metaspace(prepend_scheme="first"), decoders.Metaspace(prepend_scheme="first"))
    charsmap = small_charsmap()
    one_space = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")])
    yield "unigram-t5", unigram(one_space, pre_tokenizers.Metaspace(), False, "</s>")
    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    yield "unigram-words", unigram(None, words, True, None)
    yield "wordpiece-uncased", word_piece(lowercase=True)
    yield "wordpiece-cased", word_piece(lowercase=False)
    yield "wordpiece-accents", word_piece(lowercase=True, strip_accents=False)


def is_plain(text):
    """Without what makes a user-perceived character of several: there the character map is applied in another way."""
    return not any(unicodedata.combining(c) or c in "\u200d\ufe0f\u200b" or "\U0001f3fb" <= c <= "\U0001f3ff" or "\u0e31" <= c <= "\u0e4e" or unicodedata.category(c).startswith("M") for c in text) and "\r\n" not in text


def is_compared(name, text):
    """The library lets a text that spells a byte piece of a Unigram model become that byte; here (and in SentencePiece) it stays text."""
    return is_plain(text) if name == "unigram-t5" else name != "unigram-words" or "<0x" not in text


def main():
    folder = HERE / "json"
    folder.mkdir(exist_ok=True)
    for name, tokenizer in tokenizers():
        chosen = [text for text in texts() if is_compared(name, text)]
        cases = [[text, tokenizer.encode(text).ids, tokenizer.encode(text, add_special_tokens=False).ids] for text in chosen]
        out = {"tokenizer": json.loads(tokenizer.to_str()), "config": {"bos_token": "<s>", "eos_token": {"content": "</s>"}}, "cases": cases}
        (folder / f"{name}.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")
        print(name, len(cases))


main()
