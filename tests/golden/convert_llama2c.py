#!/usr/bin/env python3
"""Converts a llama2.c checkpoint and tokenizer to one GGUF file of the llama architecture.

    convert_llama2c.py <model.bin> <tokenizer.bin> <output.gguf> [--type f32|f16] [--name <name>] [--source <text>]

tests/models/stories260K.gguf was made with `--type f16 --name stories260K` from karpathy/tinyllamas (see the LICENSE
beside it). Checkpoint (llama2.c, run.c, version 0): seven i32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size,
seq_len; a negative vocabulary means an own head), then f32: token_embd, attn_norm, wq, wk, wv, wo, ffn_norm, w1, w2, w3, final
norm, two tables of rotary frequencies, and the head where it has one. Rotary pairs are (2i, 2i + 1) already, as GGUF wants.

Tokenizer (llama2.c, tokenizer.py): i32 longest piece, then for each token f32 score, i32 length, bytes. SentencePiece's ▁ was
written as a space there and is put back. Vectors stay f32. Python 3.11.7, numpy 2.4.6, gguf 0.19.0.
"""

import argparse
import struct
from pathlib import Path

import gguf
import numpy as np

UNKNOWN, BOS, EOS = 0, 1, 2


def read_tokenizer(data, n_vocab):
    """[(piece, score, type)]"""
    tokens, at = [], 4
    for i in range(n_vocab):
        score, length = struct.unpack_from("<fi", data, at)
        piece = data[at + 8 : at + 8 + length]
        at += 8 + length
        if i == UNKNOWN:
            tokens.append((b"<unk>", 0.0, gguf.TokenType.UNKNOWN))
        elif i in (BOS, EOS):
            tokens.append((b"<s>" if i == BOS else b"</s>", 0.0, gguf.TokenType.CONTROL))
        elif i < 259:
            assert piece == f"<0x{i - 3:02X}>".encode(), (i, piece)
            tokens.append((piece, 0.0, gguf.TokenType.BYTE))
        else:
            tokens.append((piece.replace(b" ", "▁".encode()), score, gguf.TokenType.NORMAL))
    assert at == len(data), (at, len(data))
    return tokens


def read_checkpoint(data):
    """(hyper-parameters, {GGUF name: weights})"""
    names = ["dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context"]
    h = dict(zip(names, struct.unpack_from("<7i", data)))
    tied, h["vocab"] = h["vocab"] > 0, abs(h["vocab"])
    head_size = h["dim"] // h["heads"]
    kv_dim = h["kv_heads"] * head_size
    weights, at = np.frombuffer(data, "<f4", offset=28), 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return weights[at - n : at].reshape(shape)

    tensors = {"token_embd.weight": take(h["vocab"], h["dim"])}
    per_layer = [
        ("attn_norm", (h["dim"],)),
        ("attn_q", (h["dim"], h["dim"])),
        ("attn_k", (kv_dim, h["dim"])),
        ("attn_v", (kv_dim, h["dim"])),
        ("attn_output", (h["dim"], h["dim"])),
        ("ffn_norm", (h["dim"],)),
        ("ffn_gate", (h["hidden"], h["dim"])),
        ("ffn_down", (h["dim"], h["hidden"])),
        ("ffn_up", (h["hidden"], h["dim"])),
    ]
    for name, shape in per_layer:
        for layer in range(h["layers"]):
            tensors[f"blk.{layer}.{name}.weight"] = take(*shape)
    tensors["output_norm.weight"] = take(h["dim"])
    take(2, h["context"], head_size // 2)
    if not tied:
        tensors["output.weight"] = take(h["vocab"], h["dim"])
    assert at == weights.size, (at, weights.size)
    return h, tensors


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--type", choices=["f32", "f16"], default="f32")
    parser.add_argument("--name", default="llama2.c")
    parser.add_argument("--source", default="https://huggingface.co/karpathy/tinyllamas")
    args = parser.parse_args()
    h, tensors = read_checkpoint(args.model.read_bytes())
    tokens = read_tokenizer(args.tokenizer.read_bytes(), h["vocab"])

    writer = gguf.GGUFWriter(args.output, "llama")
    writer.add_name(args.name)
    writer.add_license("mit")
    writer.add_source_url(args.source)
    writer.add_context_length(h["context"])
    writer.add_embedding_length(h["dim"])
    writer.add_feed_forward_length(h["hidden"])
    writer.add_block_count(h["layers"])
    writer.add_head_count(h["heads"])
    writer.add_head_count_kv(h["kv_heads"])
    writer.add_rope_dimension_count(h["dim"] // h["heads"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if args.type == "f32" else gguf.LlamaFileType.MOSTLY_F16)
    writer.add_vocab_size(h["vocab"])
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece for piece, _, _ in tokens])
    writer.add_token_scores([score for _, score, _ in tokens])
    writer.add_token_types([kind for _, _, kind in tokens])
    writer.add_bos_token_id(BOS)
    # llama2.c ends a story with the beginning of the next one.
    writer.add_eos_token_id(BOS)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    for name, weight in tensors.items():
        dtype = np.float16 if args.type == "f16" and weight.ndim == 2 else np.float32
        writer.add_tensor(name, np.ascontiguousarray(weight.astype(dtype)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{args.output}: {args.output.stat().st_size} bytes, {h}")


if __name__ == "__main__":
    main()
