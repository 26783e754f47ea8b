#!/usr/bin/env python3
"""Makes a GGUF file of gpt-nano-sort, and a JSON file of its activations, for tests/tools/activations.rs.

    make_gpt_nano_sort.py <folder with gpt-nano-sort-model.json and gpt-nano-sort-t0-partials.json> FOLDER

The model is a minGPT of 3 layers that sorts letters, with every intermediate activation of 3 sequences of 11 tokens, computed by its
author in PyTorch: github.com/bbycroft/llm-viz at 9da93742382f1bf36c020c38a1ace454e82c4490, `public/` (MIT). gpt_nano_sort.gguf has
llama.cpp's names for GPT-2 and the weights as they are, F32; its vocabulary is "0", "1" and "2". gpt_nano_sort.json has the activations as
rows of [sequence, token], heads beside each other.

Versions: Python 3.11.7, gguf 0.19.0, numpy 2.4.6.
"""

import base64
import json
import sys
from pathlib import Path

import gguf
import numpy as np

EPSILON = 1e-5  # torch's LayerNorm
FIXED = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm", "lm_head": "output"}
LAYER = {
    "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def read(path):
    array = lambda v: np.frombuffer(base64.b64decode(v["data"]), "<f4").reshape(v["shape"])
    return {name: array(v) if "data" in v else v for name, v in json.loads(path.read_text()).items()}


def gguf_name(name):
    module, kind = name.rsplit(".", 1)
    if module in FIXED:
        return f"{FIXED[module]}.{kind}"
    _, _, layer, part = module.split(".", 3)
    return f"blk.{layer}.{LAYER[part]}.{kind}"


def write_gguf(path, weights):
    config = weights.pop("config")
    width = config["n_embd"]
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_name("gpt-nano-sort")
    writer.add_license("mit")
    writer.add_context_length(config["block_size"])
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(4 * width)
    writer.add_block_count(config["n_layer"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([str(i) for i in range(config["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * config["vocab_size"])
    writer.add_token_merges([])
    for name, weight in weights.items():
        if not name.endswith(".attn.bias"):  # the causal mask
            writer.add_tensor(gguf_name(name), np.ascontiguousarray(weight, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def by_token(found):
    """[B, T, …] as it is, [B, heads, T, …] with the heads of a token beside each other."""
    found = np.broadcast_to(found, (3, *found.shape[1:]))
    found = found if found.ndim == 3 else found.swapaxes(1, 2)
    return found.reshape(33, -1)


def main(source, target):
    write_gguf(target / "gpt_nano_sort.gguf", read(source / "gpt-nano-sort-model.json"))
    partials = read(source / "gpt-nano-sort-t0-partials.json")
    del partials["config"], partials["pos_emb"]  # rows of a weight
    tokens = partials.pop("idx").astype(int).tolist()
    kept = {name: by_token(found) for name, found in partials.items()}
    kept = {name: {"width": rows.shape[1], "rows": rows.astype("<f4").tobytes().hex()} for name, rows in kept.items()}
    (target / "gpt_nano_sort.json").write_text(json.dumps({"tokens": tokens, "activations": kept}) + "\n")
    print(f"{len(kept)} activations of {tokens}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
