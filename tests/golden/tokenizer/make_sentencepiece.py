"""Writes sentencepiece.json: two small vocabularies and what the sentencepiece library makes of many texts with them.

python3 make_sentencepiece.py tok512.model (the tokenizer of stories260K, MIT licence: byte fallback,
space prefix, extra white space removed). The second
vocabulary is trained here, on short_text.txt: no byte fallback, no space prefix, white space kept.
Needs sentencepiece 0.2.1 and protobuf 6.33.1.
"""

import io
import json
import random
import sys
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

HERE = Path(__file__).parent
PROSE = "Once upon a time, there was a little girl named Lily. She didn't like the big, scary dog; it said \"woof\" 1234 times!"
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABC xyz 0123456789 .,;:!?'\"-()",
    "    \t\n\r",
    "aaaa  eee",
    "äöüßéèçñ ▁ ſ Σσς",
    "日本語中文한국어 ไทย हिन्दी العربية",
    "😀👩‍👩‍👧‍👦🏳️‍🌈é\u0301\u0300",
    "<s></s><unk><0x0A>[INST]",
]


def texts():
    draw = random.Random(20)
    yield from ["", " ", "  ", "a", " a", "a ", "  a  b  ", "\n", "\0", "▁", "▁▁a", "a" * 300, PROSE, "<0x41>", "e\u0301" * 50]
    yield from (PROSE[i : i + draw.randint(1, 40)] for i in range(0, len(PROSE), 3))
    for _ in range(400):
        parts = (draw.choice(draw.choice(ALPHABETS)) for _ in range(draw.randint(1, 30)))
        yield "".join(parts)
    for _ in range(100):
        yield "".join(chr(draw.choice([draw.randint(1, 0xD7FF), draw.randint(0xE000, 0x10FFFF)])) for _ in range(draw.randint(1, 8)))


def vocabulary(name, model):
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    assert proto.normalizer_spec.name == "identity" and proto.trainer_spec.model_type == 2
    return {
        "name": name,
        "tokens": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "types": [piece.type for piece in proto.pieces],
        "add_space_prefix": proto.normalizer_spec.add_dummy_prefix,
        "remove_extra_whitespaces": proto.normalizer_spec.remove_extra_whitespaces,
        "cases": [[text, processor.encode(text), processor.decode(processor.encode(text))] for text in texts()],
    }


def train():
    model = io.BytesIO()
    text = (HERE.parent / "short_text.txt").read_text()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in text.split("\n") if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=300,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


def main():
    vocabularies = [vocabulary("tok512", Path(sys.argv[1]).read_bytes()), vocabulary("no bytes", train())]
    (HERE / "sentencepiece.json").write_text(json.dumps(vocabularies, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
