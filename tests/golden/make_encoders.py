#!/usr/bin/env python3
"""Writes encoders/*.gguf and encoders/*.json: random encoders made by HF transformers and what they give, for tests/encoders.rs.

    make_encoders.py [<output folder>]

One body per family with every head on it, in a file by llama.cpp's names (heads that it has no names for: src/arch/head.rs), and
one with a classifier of tokens, which is another kind of file. Weights are F16, and the HF model computes with just these values
in f32, attention "eager". The tokenizer of each is a small one of Hugging Face's tokenizers, which gives ids and offsets.
Versions: see llama_gguf.py; gguf 0.19.0, numpy 2.4.6. Seeds are fixed.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers as hf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

import llama_gguf

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["the", "cat", "sat", "on", "mat", "house", "is", "wonder", "and", "of", "naive", "cafe"]
MERGES = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "a t", "e r", "Ġ s", "n d", "i s", "o r", "Ġ w", "e n", "Ġ c", "Ġc at"]
TEXTS = [
    "The cat sat on the mat.",
    "a",
    "Naïve Café, the HOUSE is wonderful!",
    "日本 cats — of the 2 houses; and mats and hats (on the wonder)",
    "the the the the the the the the the the the the the the the the the the the the the the the the the the the the the the",
]
PAIRS = [["the cat", "sat on the mat"], ["Is the house wonderful?", "naïve"], ["of", "the mat and the house and the cat"]]
MASKED = ["the [MASK] sat on the [MASK].", "[MASK]", "cats and [MASK]"]
N_POSITIONS = 80


def word_piece():
    pieces = SPECIAL + list(LETTERS + "0123456789.,;:!?()-'—本") + ["##" + c for c in LETTERS] + WORDS + ["##s", "##ful", "##at"]
    pieces = list(dict.fromkeys(pieces))
    tokenizer = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return with_ends(tokenizer, True), pieces


def byte_pairs():
    pieces = SPECIAL + list(llama_gguf.byte_to_unicode().values()) + [m.replace(" ", "") for m in MERGES]
    merges = [tuple(m.split(" ")) for m in MERGES]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return with_ends(tokenizer, False), pieces


def with_ends(tokenizer, has_kinds):
    tokenizer.add_special_tokens([AddedToken(t, lstrip=t == "[MASK]" and not has_kinds, special=True) for t in SPECIAL])
    second = "$B:1 [SEP]:1" if has_kinds else "$B:0 [SEP]:0"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] {second}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def randomize(model, seed):
    """Weights of a few units' effect, as f16 has them."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1 and not name.endswith("bias"):
                p.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                p.normal_(0, 0.3)
            else:
                p.normal_(0, 1.2 / p.shape[-1] ** 0.5)
            p.copy_(p.half().float())
    return model.eval()


def bert_config(**more):
    return hf.BertConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, max_position_embeddings=N_POSITIONS,
        attn_implementation="eager", **more,
    )  # fmt: skip


def distilbert_config(**more):
    return hf.DistilBertConfig(
        dim=32, n_layers=3, n_heads=1, hidden_dim=48, max_position_embeddings=N_POSITIONS, attn_implementation="eager", **more
    )


def modernbert_config(**more):
    return hf.ModernBertConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=1, intermediate_size=40, max_position_embeddings=N_POSITIONS,
        local_attention=8, global_attn_every_n_layers=3, norm_eps=1e-5, attn_implementation="eager", pad_token_id=0, bos_token_id=2,
        eos_token_id=3, cls_token_id=2, sep_token_id=3, classifier_pooling="cls", **more,
    )  # fmt: skip


def nomic_config(**more):
    return hf.NomicBertConfig(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, max_position_embeddings=N_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, hidden_act="silu", attn_implementation="eager", **more,
    )  # fmt: skip


# HF's names to llama.cpp's; {} is the layer.
BERT = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "encoder.layer.{}.attention.self.query": "attn_q", "encoder.layer.{}.attention.self.key": "attn_k",
    "encoder.layer.{}.attention.self.value": "attn_v", "encoder.layer.{}.attention.output.dense": "attn_output",
    "encoder.layer.{}.attention.output.LayerNorm": "attn_output_norm", "encoder.layer.{}.intermediate.dense": "ffn_up",
    "encoder.layer.{}.output.dense": "ffn_down", "encoder.layer.{}.output.LayerNorm": "layer_output_norm",
}  # fmt: skip
DISTILBERT = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd", "embeddings.LayerNorm": "token_embd_norm",
    "transformer.layer.{}.attention.q_lin": "attn_q", "transformer.layer.{}.attention.k_lin": "attn_k",
    "transformer.layer.{}.attention.v_lin": "attn_v", "transformer.layer.{}.attention.out_lin": "attn_output",
    "transformer.layer.{}.sa_layer_norm": "attn_output_norm", "transformer.layer.{}.ffn.lin1": "ffn_up",
    "transformer.layer.{}.ffn.lin2": "ffn_down", "transformer.layer.{}.output_layer_norm": "layer_output_norm",
}  # fmt: skip
MODERNBERT = {
    "embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm", "final_norm": "output_norm",
    "layers.{}.attn_norm": "attn_norm", "layers.{}.attn.Wqkv": "attn_qkv", "layers.{}.attn.Wo": "attn_output",
    "layers.{}.mlp_norm": "ffn_norm", "layers.{}.mlp.Wi": "ffn_up", "layers.{}.mlp.Wo": "ffn_down",
}  # fmt: skip
NOMIC = {
    "embeddings.word_embeddings": "token_embd", "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "layers.{}.self_attn.q_proj": "attn_q", "layers.{}.self_attn.k_proj": "attn_k", "layers.{}.self_attn.v_proj": "attn_v",
    "layers.{}.self_attn.o_proj": "attn_output", "layers.{}.post_attention_layernorm": "attn_output_norm",
    "layers.{}.mlp.gate_proj": "ffn_gate", "layers.{}.mlp.up_proj": "ffn_up", "layers.{}.mlp.down_proj": "ffn_down",
    "layers.{}.post_mlp_layernorm": "layer_output_norm",
}  # fmt: skip
BERT_HEADS = {
    "cls.predictions.transform.dense": "mlm.dense", "cls.predictions.transform.LayerNorm": "mlm.norm",
    "cls.predictions.transform.layer_norm": "mlm.norm", "cls.predictions": "mlm.output",
    "cls.predictions.decoder": "mlm.output", "pooler.dense": "cls", "classifier": "cls.output",
}  # fmt: skip
HEADS = {
    "bert": BERT_HEADS,
    "nomic-bert": BERT_HEADS,
    "distilbert": {
        "vocab_transform": "mlm.dense", "vocab_layer_norm": "mlm.norm", "vocab_projector": "mlm.output",
        "pre_classifier": "cls", "classifier": "cls.output",
    },
    "modern-bert": {"decoder": "mlm.output", "classifier": "cls.output"},
}  # fmt: skip
MODERN_HEAD = {"mlm": {"head.dense": "mlm.dense", "head.norm": "mlm.norm"}, "cls": {"head.dense": "cls", "head.norm": "cls.norm"}}
BODIES = {"bert": BERT, "distilbert": DISTILBERT, "modern-bert": MODERNBERT, "nomic-bert": NOMIC}
PREFIXES = ("bert.", "distilbert.", "model.", "nomic_bert.")


def tensors(family, model, kind):
    """GGUF name to array; `kind`: which head the model has."""
    body, heads = BODIES[family], HEADS[family] | MODERN_HEAD.get(kind, {})
    for name, p in model.state_dict().items():
        stem, _, ending = name.rpartition(".")
        for prefix in PREFIXES:
            stem = stem.removeprefix(prefix) if not stem.startswith("cls.") else stem
        parts = stem.split(".")
        layer = next((part for part in parts if part.isdigit()), None)
        general = ".".join("{}" if part.isdigit() else part for part in parts)
        if general in body:
            known = body[general]
            yield (f"blk.{layer}.{known}" if layer else known) + "." + ending, p.numpy()
        elif general in heads and not (heads[general] == "mlm.output" and ending == "weight"):
            yield heads[general] + "." + ending, p.numpy()
        else:
            assert heads.get(general) == "mlm.output" or "position_ids" in name, name


def write_gguf(path, family, config, found, pieces, labels, pooling):
    arch = "bert" if family == "distilbert" else family
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(f"tiny random {family}")
    get = lambda *names: next(getattr(config, n) for n in names if hasattr(config, n))
    writer.add_context_length(N_POSITIONS)
    writer.add_embedding_length(get("hidden_size", "dim"))
    writer.add_feed_forward_length(get("intermediate_size", "hidden_dim"))
    writer.add_block_count(get("num_hidden_layers", "n_layers"))
    writer.add_head_count(get("num_attention_heads", "n_heads"))
    writer.add_layer_norm_eps(getattr(config, "layer_norm_eps", getattr(config, "norm_eps", 1e-12)))
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    if family == "nomic-bert":
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if family == "modern-bert":
        writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
        writer.add_float32("modern-bert.rope.freq_base_swa", config.rope_parameters["sliding_attention"]["rope_theta"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        writer.add_sliding_window(config.local_attention)
        writer.add_sliding_window_pattern(config.global_attn_every_n_layers)
    if family == "modern-bert":
        writer.add_uint32("modern-bert.classifier.pooling_type", {"mean": 1, "cls": 2}[config.classifier_pooling])
    if labels:
        writer.add_classifier_output_labels(labels)
    types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(pieces) - len(SPECIAL))
    if family == "modern-bert":
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("modern-bert")
        writer.add_token_merges(MERGES)
        writer.add_array("tokenizer.kinglet.lstrip", [4])
    else:
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("default")
        writer.add_token_type_count(getattr(config, "type_vocab_size", 1))
        pieces = pieces[: len(SPECIAL)] + [p[2:] if p.startswith("##") else "\u2581" + p for p in pieces[len(SPECIAL) :]]
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    if pooling != gguf.PoolingType.NONE:  # as gguf-py's SpecialVocab has it since 2025
        writer.add_bos_token_id(2)
        writer.add_eos_token_id(3)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)
        writer.add_add_sep_token(False)
    else:  # and as it had it before
        writer.add_uint32("tokenizer.ggml.cls_token_id", 2)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    writer.add_pad_token_id(0)
    for name, weight in found.items():
        exact = np.float16 if weight.ndim > 1 else np.float32
        writer.add_tensor(name, np.ascontiguousarray(weight, exact))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.no_grad()
def run(model, tokenizer, text, **more):
    encoded = tokenizer.encode(*text) if isinstance(text, list) else tokenizer.encode(text)
    inputs = {"input_ids": torch.tensor([encoded.ids])}
    if hasattr(model.config, "type_vocab_size"):
        inputs["token_type_ids"] = torch.tensor([encoded.type_ids])
    return encoded, model(**inputs, **more)


def case(text, encoded, rows, at=None):
    """`at`: which tokens the rows belong to, where there is one for each."""
    rows = np.asarray(rows, "<f4")
    out = {"text": text, "ids": encoded.ids, "kinds": encoded.type_ids, "width": rows.shape[-1], "rows": rows.tobytes().hex()}
    if at is not None:
        out |= {"at": at, "offsets": [list(encoded.offsets[i]) for i in at]}
    return out


def models_of(family, seed, n_labels, vocabulary):
    """The body, and the heads on copies of it."""
    prefix, config = {
        "bert": ("Bert", bert_config), "distilbert": ("DistilBert", distilbert_config),
        "modern-bert": ("ModernBert", modernbert_config), "nomic-bert": ("NomicBert", nomic_config),
    }[family]  # fmt: skip
    config = config(vocab_size=vocabulary, num_labels=n_labels)
    make = lambda kind, s: randomize(getattr(hf, prefix + kind)(config), s)
    base = {"bert": "bert", "distilbert": "distilbert", "modern-bert": "model", "nomic-bert": "nomic_bert"}[family]

    def on_body(model, body):
        own = getattr(model, base)
        own.load_state_dict({k: v for k, v in body.state_dict().items() if k in own.state_dict()}, strict=False)
        model.tie_weights()
        return model

    classify = make("ForSequenceClassification", seed)
    body = getattr(classify, base)
    mlm = on_body(make("ForMaskedLM", seed + 1), body)
    label = on_body(make("ForTokenClassification", seed + 2), body)
    return config, body, mlm, classify, label


def main():
    folder = (Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent) / "encoders"
    folder.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    versions = llama_gguf.versions() | {"gguf": "0.19.0"}
    for seed, (family, n_labels) in enumerate({"bert": 3, "distilbert": 2, "modern-bert": 3, "nomic-bert": 1}.items()):
        tokenizer, pieces = byte_pairs() if family == "modern-bert" else word_piece()
        config, body, mlm, classify, label = models_of(family, 10 * seed, n_labels, len(pieces))
        labels = [f"kind {i}" for i in range(n_labels)]
        cases = {"embed": [], "fill-mask": [], "classify": [], "label": []}
        for text in TEXTS:
            encoded, out = run(body, tokenizer, text)
            cases["embed"].append(case(text, encoded, out.last_hidden_state[0].mean(0, keepdim=True)))
            encoded, out = run(label, tokenizer, text)
            at = [i for i, special in enumerate(encoded.special_tokens_mask) if not special]
            cases["label"].append(case(text, encoded, out.logits[0][at], at))
        for text in TEXTS[:2] + PAIRS:
            encoded, out = run(classify, tokenizer, text)
            cases["classify"].append(case(text, encoded, out.logits))
        for text in MASKED:
            encoded, out = run(mlm, tokenizer, text)
            at = [i for i, token in enumerate(encoded.ids) if token == 4]
            cases["fill-mask"].append(case(text, encoded, out.logits[0][at], at))

        found = dict(tensors(family, mlm, "mlm")) | dict(tensors(family, classify, "cls"))
        path = folder / f"{family}.gguf"
        write_gguf(path, family, config, found, pieces, labels, gguf.PoolingType.MEAN)
        tokens = folder / f"{family}-tokens.gguf"
        write_gguf(tokens, family, config, dict(tensors(family, label, "cls")), pieces, labels, gguf.PoolingType.NONE)
        write = lambda p, tasks: p.with_suffix(".json").write_text(
            json.dumps({"versions": versions, "tasks": {task: cases[task] for task in tasks}}, ensure_ascii=False) + "\n"
        )
        write(path, ["embed", "fill-mask", "classify"])
        write(tokens, ["label"])
        print(f"{family}: {path.stat().st_size} and {tokens.stat().st_size} bytes, {len(found)} tensors")


if __name__ == "__main__":
    main()
