"""Writes llama_cpp.json: llama.cpp's own tokenizer vectors with vocabularies cut down to what their texts can touch.

python3 make_llama_cpp.py FOLDER, where FOLDER is models/ of a llama.cpp source tree (the sdist llama-cpp-python 0.3.36 has it
under vendor/llama.cpp/; MIT licence). Needs gguf 0.19.0.

Only a piece that is part of a text can come up while that text is encoded, so dropping all others (and the merges that make
them) changes no result. Ids are renumbered in order. `tests/tokenizer_vectors.rs` has the whole vocabularies.
"""

import json
import sys
from pathlib import Path

from gguf import GGUFReader

NAMES = ["gpt-2", "llama-bpe", "qwen2", "command-r", "mpt", "llama-spm", "phi-3"]
SEPARATOR = "\n__ggml_vocab_test__\n"


def byte_characters():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def cut_down(folder, name):
    path = Path(folder) / f"ggml-vocab-{name}.gguf"
    fields = GGUFReader(path).fields
    get = lambda key: fields[f"tokenizer.ggml.{key}"].contents() if f"tokenizer.ggml.{key}" in fields else None
    texts = Path(f"{path}.inp").read_text().removesuffix(SEPARATOR).split(SEPARATOR)
    ids = [[int(id) for id in line.split()] for line in Path(f"{path}.out").read_text().split("\n")][: len(texts)]
    assert len(texts) == len(ids)
    tokens, types, scores = get("tokens"), get("token_type"), get("scores")
    if get("model") == "gpt2":
        characters = byte_characters()
        encoded = ["".join(characters[byte] for byte in text.encode()) for text in texts]
        always = lambda id: len(tokens[id]) == 1
    else:
        encoded = [("▁" + text).replace(" ", "▁") for text in texts]
        always = lambda id: id < 3 or types[id] == 6
    all_text = "\0".join(encoded + texts)
    kept = [id for id, token in enumerate(tokens) if always(id) or token in all_text]
    new_id = {id: i for i, id in enumerate(kept)}
    is_kept = set(tokens[id] for id in kept)
    merges = [merge for merge in get("merges") or [] if merge.replace(" ", "") in is_kept]
    vocabulary = {
        "name": name,
        "model": get("model"),
        "pre": get("pre"),
        "tokens": [tokens[id] for id in kept],
        "types": [int(types[id]) for id in kept],
        "ids": [[new_id[id] for id in line] for line in ids],
    }
    if get("model") == "gpt2":
        vocabulary["merges"] = merges
    else:
        vocabulary["scores"] = [float(scores[id]) for id in kept]
    return texts, vocabulary


def main():
    cut = [cut_down(sys.argv[1], name) for name in NAMES]
    assert all(texts == cut[0][0] for texts, _ in cut)
    out = {"texts": cut[0][0], "vocabularies": [vocabulary for _, vocabulary in cut]}
    Path(__file__).with_name("llama_cpp.json").write_text(json.dumps(out, ensure_ascii=False, separators=(",", ":")) + "\n")


main()
