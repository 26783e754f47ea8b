#!/usr/bin/env python3
"""Writes tiny_*.gguf and tiny_*.json: random Llama models made by HF transformers and their logits, for tests/models.rs.

    make_tiny_llama.py [<output folder>]

Each model stresses something else of the architecture (see MODELS). Weights are F32; the vocabulary is byte-level BPE
with every byte, a few merges and three special tokens, so any text can be encoded. Logits are HF's, f32, attention
"eager", one pass over all positions. Where llama-cpp-python is installed its logits are compared and printed.
Versions: see llama_gguf.py; numpy 2.4.6. Seeds are fixed: a second run gives the same files up to the last bits of torch's
matrix products on another machine.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import llama_gguf

MERGES = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "a t", "e r", "Ġ s", "n d", "i s", "o r", "Ġ w", "e n"]
MERGES += ["in g", "Ġ b", "o u", "Ġa nd", "Ġ c", "Ġ o", "l l", "e s", "i t", "Ġ f", "e d", "Ġ h", "a n", "l e"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Small widths with heads of 32 or 64: H · K is not D, which a file says with `attention.key_length`.
MODELS = {
    "grouped": dict(seed=1, hidden=32, heads=4, kv_heads=2, head_size=32, ff=48, layers=2, tied=True, positions=24),
    "full": dict(seed=2, hidden=32, heads=2, kv_heads=2, head_size=64, ff=56, layers=1, tied=False, positions=24),
    "llama3": dict(
        seed=3, hidden=48, heads=2, kv_heads=1, head_size=64, ff=40, layers=1, tied=True, positions=80,
        rope={"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    ),
    "linear": dict(
        seed=4, hidden=48, heads=3, kv_heads=1, head_size=32, ff=40, layers=2, tied=True, positions=24, bias=True,
        rope={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    ),
}  # fmt: skip


def vocabulary():
    tokens = SPECIAL + list(llama_gguf.byte_to_unicode().values()) + [m.replace(" ", "") for m in MERGES]
    types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    assert len(set(tokens)) == len(tokens) == 288
    return tokens, types


def random_model(spec):
    torch.manual_seed(spec["seed"])
    config = LlamaConfig(
        vocab_size=288,
        hidden_size=spec["hidden"],
        intermediate_size=spec["ff"],
        num_hidden_layers=spec["layers"],
        num_attention_heads=spec["heads"],
        num_key_value_heads=spec["kv_heads"],
        head_dim=spec["head_size"],
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=spec["tied"],
        attention_bias=spec.get("bias", False),
        mlp_bias=spec.get("bias", False),
        rope_parameters=spec.get("rope", {"rope_type": "default", "rope_theta": 10000.0}),
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                p.normal_(0, 0.3)
            else:  # scores and logits of a few units, as in trained models
                p.normal_(0, 1.2 / p.shape[-1] ** 0.5)
    return model


def write_gguf(path, name, model, spec):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"tiny random llama, {name}")
    writer.add_context_length(512)
    writer.add_embedding_length(spec["hidden"])
    writer.add_feed_forward_length(spec["ff"])
    writer.add_block_count(spec["layers"])
    writer.add_head_count(spec["heads"])
    writer.add_head_count_kv(spec["kv_heads"])
    writer.add_key_length(spec["head_size"])
    writer.add_value_length(spec["head_size"])
    writer.add_rope_dimension_count(spec["head_size"])
    writer.add_layer_norm_rms_eps(1e-5)
    rope = model.config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    tokens, types = vocabulary()
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    if rope["rope_type"] == "llama3":
        plain = 1.0 / rope["rope_theta"] ** (np.arange(0, spec["head_size"], 2) / spec["head_size"])
        factors = plain / model.model.rotary_emb.inv_freq.double().numpy()
        assert factors.min() > 0.999 and factors.max() < 8.001 and len(set(factors.round(3))) > 3
        writer.add_tensor("rope_freqs.weight", factors.astype(np.float32))
    for hf_name, p in model.state_dict().items():
        if hf_name == "lm_head.weight" and spec["tied"]:
            continue
        weight = p.numpy()
        if ".q_proj." in hf_name:
            weight = llama_gguf.permute(weight, spec["heads"])
        if ".k_proj." in hf_name:
            weight = llama_gguf.permute(weight, spec["kv_heads"])
        writer.add_tensor(llama_gguf.gguf_name(hf_name), np.ascontiguousarray(weight, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def compare_with_llama_cpp(path, ids, golden):
    try:
        other = llama_gguf.LlamaCpp(path, 256, exact=True)
    except ImportError:
        return "llama-cpp-python is not installed"
    return f"llama.cpp {other.version()} differs by at most {np.abs(other.logits(ids) - golden).max():.2e}"


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    for name, spec in MODELS.items():
        model = random_model(spec)
        path = folder / f"tiny_{name}.gguf"
        write_gguf(path, name, model, spec)
        ids = np.random.default_rng(spec["seed"]).integers(0, 288, spec["positions"]).tolist()
        golden = llama_gguf.logits(model, ids).astype("<f4")
        out = {"versions": llama_gguf.versions() | {"gguf": "0.19.0"}, "vocabulary": 288, "tokens": ids, "logits": golden.tobytes().hex()}
        (folder / f"tiny_{name}.json").write_text(json.dumps(out) + "\n")
        print(f"{name}: {path.stat().st_size} bytes, largest logit {np.abs(golden).max():.2f}, {compare_with_llama_cpp(path, ids, golden)}")


if __name__ == "__main__":
    main()
