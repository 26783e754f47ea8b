#!/usr/bin/env python3
"""Writes GGUF files that have the shape of a published model and random weights: for measurements of load, memory and speed, which
do not depend on what the weights are.

    random_models.py <folder> [--format FORMAT] [--embedding-format FORMAT] [<names>...]        FORMAT: F16, Q4_0, Q8_0, Q4_K or Q6_K

Names: pythia-160m, qwen3-0.6b, gemma-3-270m, phi-2, llama-1.1b (TinyLlama's shape), llama-15m (that of stories15M), and llama-small,
qwen3-small and gemma-3-small (for scripts/split/record.mjs); all without any. Matrices are random blocks of the format, norms and biases
F32; the table of tokens and the head are of the embedding format (as files of llama-quantize are finer there). The size of the
numbers is such that activations keep theirs through all layers. The vocabulary is a byte-level BPE of the model's size: 256 bytes,
then pairs and triples of bytes, so any text can be encoded (to few tokens: every pair is one). Written tensor by tensor, in pieces:
a file larger than memory is no problem.

Needs numpy and gguf 0.19.0. Seeds are fixed: the same call gives the same bytes.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np

PIECE_BLOCKS = 1 << 19

# What the architecture's converter writes; the sizes are those of the published config.json.
MODELS = {
    "pythia-160m": dict(arch="gptneox", embd=768, layers=12, ff=3072, heads=12, kv_heads=12, context=2048, vocabulary=50304, rope_dims=16),
    "qwen3-0.6b": dict(arch="qwen3", embd=1024, layers=28, ff=3072, heads=16, kv_heads=8, head_size=128, context=40960, vocabulary=151936, base=1e6),
    "gemma-3-270m": dict(arch="gemma3", embd=640, layers=18, ff=2048, heads=4, kv_heads=1, head_size=256, context=32768, vocabulary=262144, base=1e6, window=512),
    "phi-2": dict(arch="phi2", embd=2560, layers=32, ff=10240, heads=32, kv_heads=32, context=2048, vocabulary=51200, rope_dims=32),
    "llama-1.1b": dict(arch="llama", embd=2048, layers=22, ff=5632, heads=32, kv_heads=4, context=2048, vocabulary=32000, base=1e4, has_head=True),
    "llama-15m": dict(arch="llama", embd=288, layers=6, ff=768, heads=6, kv_heads=6, context=2048, vocabulary=32000, base=1e4),
    "llama-small": dict(arch="llama", embd=256, layers=2, ff=512, heads=4, kv_heads=2, context=2048, vocabulary=4096, base=1e4, has_head=True),
    "qwen3-small": dict(arch="qwen3", embd=256, layers=2, ff=512, heads=4, kv_heads=2, head_size=64, context=2048, vocabulary=4096, base=1e6),
    "gemma-3-small": dict(arch="gemma3", embd=256, layers=6, ff=512, heads=4, kv_heads=1, head_size=64, context=2048, vocabulary=4096, base=1e6, window=512),
}  # fmt: skip

# Weights of a block, its bytes, where its scales stand, and the root mean square of its weights at a scale of 1: of whole numbers that
# are all equally likely, times those of the scales of parts, where there are some.
FORMATS = {
    "F16": (gguf.GGMLQuantizationType.F16, 1, 2, [], 1.0),
    "Q4_0": (gguf.GGMLQuantizationType.Q4_0, 32, 18, [0], 21.5**0.5),
    "Q8_0": (gguf.GGMLQuantizationType.Q8_0, 32, 34, [0], 5461.5**0.5),
    "Q4_K": (gguf.GGMLQuantizationType.Q4_K, 256, 144, [0, 2], 340.0),
    "Q6_K": (gguf.GGMLQuantizationType.Q6_K, 256, 210, [208], 1365.0),
}


def byte_chars():
    """GPT-2's printable stand-in for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    chars = {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}
    return [chars[b] for b in range(256)]


def vocabulary(n):
    """n tokens, their types, and the merges that make them."""
    special, chars = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], byte_chars()
    pairs = [(a, b) for a in chars for b in chars]
    merges = (pairs + [(a + b, c) for a, b in pairs for c in chars[:4]])[: n - len(special) - len(chars)]
    tokens = special + chars + [a + b for a, b in merges]
    assert len(tokens) == n == len(set(tokens)), len(tokens)
    types = [gguf.TokenType.CONTROL] * len(special) + [gguf.TokenType.NORMAL] * (n - len(special))
    return tokens, types, [f"{a} {b}" for a, b in merges]


def tensors(m):
    """(name, shape) of every tensor, outermost dimension first."""
    head_size = m.get("head_size", m["embd"] // m["heads"])
    embd, ff, q, kv = m["embd"], m["ff"], m["heads"] * head_size, m["kv_heads"] * head_size
    has_biases = m["arch"] in ("gptneox", "phi2")
    biased = lambda name, *shape: [(f"{name}.weight", shape)] + ([(f"{name}.bias", shape[:1])] if has_biases else [])
    yield "token_embd.weight", (m["vocabulary"], embd)
    for i in range(m["layers"]):
        block = lambda name, *shape: biased(f"blk.{i}.{name}", *shape)
        yield from block("attn_norm", embd)
        if m["arch"] == "gptneox":
            yield from block("attn_qkv", q + 2 * kv, embd)
        else:
            yield from block("attn_q", q, embd) + block("attn_k", kv, embd) + block("attn_v", kv, embd)
        yield from block("attn_output", embd, q)
        if m["arch"] in ("qwen3", "gemma3"):
            yield from block("attn_q_norm", head_size) + block("attn_k_norm", head_size)
        if m["arch"] in ("llama", "qwen3", "gemma3"):
            yield from block("ffn_gate", ff, embd)
        if m["arch"] == "gemma3":
            yield from block("post_attention_norm", embd) + block("post_ffw_norm", embd)
        if m["arch"] != "phi2":
            yield from block("ffn_norm", embd)
        yield from block("ffn_up", ff, embd) + block("ffn_down", embd, ff)
    yield from biased("output_norm", embd)
    if has_biases or m.get("has_head"):
        yield "output.weight", (m["vocabulary"], embd)
    if m["arch"] == "phi2":
        yield "output.bias", (m["vocabulary"],)


def metadata(writer, name, m):
    writer.add_name(f"{name}, random weights")
    writer.add_context_length(m["context"])
    writer.add_embedding_length(m["embd"])
    writer.add_block_count(m["layers"])
    writer.add_feed_forward_length(m["ff"])
    writer.add_head_count(m["heads"])
    writer.add_head_count_kv(m["kv_heads"])
    if m["arch"] in ("gptneox", "phi2"):
        writer.add_layer_norm_eps(1e-5)
        writer.add_rope_dimension_count(m["rope_dims"])
    else:
        writer.add_layer_norm_rms_eps(1e-6)
        head_size = m.get("head_size", m["embd"] // m["heads"])
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
        writer.add_rope_freq_base(m["base"])
    if m["arch"] == "llama":
        writer.add_rope_dimension_count(head_size)
        writer.add_vocab_size(m["vocabulary"])
    if m["arch"] == "gptneox":
        writer.add_parallel_residual(True)
    if "window" in m:
        writer.add_sliding_window(m["window"])
    tokens, types, merges = vocabulary(m["vocabulary"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def blocks(rng, shape, format):
    """Random blocks, in pieces. Weights have the variance 1 / K."""
    _, n_weights, n_bytes, scales, rms = FORMATS[format]
    n_blocks = shape[0] * shape[1] // n_weights
    if format == "F16":
        for first in range(0, shape[0]):
            yield (rng.standard_normal(shape[1]) / shape[1] ** 0.5).astype("<f2")
        return
    scale = np.frombuffer(np.float16(1 / (rms * shape[1] ** 0.5)).tobytes(), np.uint8)
    for first in range(0, n_blocks, PIECE_BLOCKS):
        n = min(PIECE_BLOCKS, n_blocks - first)
        piece = np.frombuffer(rng.bytes(n * n_bytes), np.uint8).reshape(n, n_bytes).copy()
        for at in scales:
            piece[:, at : at + 2] = scale
        yield piece


def write(path, name, format, embedding_format):
    m = MODELS[name]
    writer = gguf.GGUFWriter(None, m["arch"])
    metadata(writer, name, m)
    kind = lambda tensor: embedding_format if tensor in ("token_embd.weight", "output.weight") else format
    for tensor, shape in tensors(m):
        if len(shape) == 1:
            writer.add_tensor_info(tensor, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            raw, n_weights, n_bytes, _, _ = FORMATS[kind(tensor)]
            row_bytes = shape[1] // n_weights * n_bytes
            writer.add_tensor_info(tensor, (shape[0], row_bytes), np.dtype(np.uint8), shape[0] * row_bytes, raw)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    rng = np.random.default_rng(7)
    pad = lambda file: file.write(bytes(-file.tell() % 32))
    with open(path, "ab") as file:
        pad(file)
        for tensor, shape in tensors(m):
            if len(shape) == 1:
                centre = 0.0 if tensor.endswith(".bias") else 1.0
                file.write((centre + rng.uniform(-0.2, 0.2, shape)).astype("<f4").tobytes())
            else:
                for piece in blocks(rng, shape, kind(tensor)):
                    file.write(piece.tobytes())
            pad(file)
    print(f"{path}: {path.stat().st_size} bytes", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="Q4_0")
    parser.add_argument("--embedding-format", choices=FORMATS, default="Q8_0")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_intermixed_args()
    for name in arguments.names or MODELS:
        path = arguments.folder / f"{name}-random-{arguments.format}.gguf"
        write(path, name, arguments.format, arguments.embedding_format)


if __name__ == "__main__":
    main()
