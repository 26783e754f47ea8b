"""What the scripts about T5 share: HF's names of tensors as llama.cpp's, and a checkpoint as a GGUF file of the architecture `t5`.
Imported by make_tiny_t5.py and make_flan_t5.py; not a program.

Python 3.11.7, torch 2.15.0, transformers 5.23.0, gguf 0.19.0. Keys and names as convert_hf_to_gguf.py of llama.cpp writes them.
"""

import gguf
import numpy as np

# HF name -> GGUF name, inside a block: encoder layers are (self-attention, feed-forward), decoder layers have the cross-attention
# between them.
ATTENTION = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_o", "relative_attention_bias": "attn_rel_b"}
FEED_FORWARD = {"wi": "ffn_up", "wi_0": "ffn_gate", "wi_1": "ffn_up", "wo": "ffn_down"}
FIXED = {
    "shared.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "encoder.final_layer_norm.weight": "enc.output_norm.weight",
    "decoder.final_layer_norm.weight": "dec.output_norm.weight",
}


def gguf_name(hf_name):
    """`decoder.block.3.layer.1.EncDecAttention.q.weight` -> `dec.blk.3.cross_attn_q.weight`"""
    if hf_name in FIXED:
        return FIXED[hf_name]
    side, _, block, _, _, module, *rest, kind = hf_name.split(".")
    norms = {"0": "attn_norm", "1": "ffn_norm"} if side == "encoder" else {"0": "attn_norm", "1": "cross_attn_norm", "2": "ffn_norm"}
    layer = hf_name.split(".")[4]
    short = {
        "SelfAttention": lambda: ATTENTION[rest[0]],
        "EncDecAttention": lambda: "cross_" + ATTENTION[rest[0]],
        "DenseReluDense": lambda: FEED_FORWARD[rest[0]],
        "layer_norm": lambda: norms[layer],
    }[module]()
    return f"{side[:3]}.blk.{block}.{short}.{kind}"


def weights(model, tied):
    """(GGUF name, [..] f32) of every tensor; the table once, the head only where it has weights of its own."""
    for name, p in model.state_dict().items():
        if name in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight") or (name == "lm_head.weight" and tied):
            continue
        yield gguf_name(name), np.ascontiguousarray(p.numpy(), np.float32)


def write_header(writer, config, n_positions):
    """The keys `t5.…`."""
    writer.add_context_length(n_positions)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_block_count(config.num_layers)
    if config.num_decoder_layers != config.num_layers:
        writer.add_decoder_block_count(config.num_decoder_layers)
    writer.add_head_count(config.num_heads)
    writer.add_key_length(config.d_kv)
    writer.add_value_length(config.d_kv)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_decoder_start_token_id(config.decoder_start_token_id)


def write_unigram(writer, pieces, charsmap=None):
    """A SentencePiece Unigram vocabulary as T5's; pieces: (bytes, score, gguf.TokenType) by id, the first three T5's own."""
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([piece for piece, _, _ in pieces])
    writer.add_token_scores([score for _, score, _ in pieces])
    writer.add_token_types([int(kind) for _, _, kind in pieces])
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)
    if charsmap:
        writer.add_precompiled_charsmap(charsmap)
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


SPECIAL = [(b"<pad>", 0.0, gguf.TokenType.CONTROL), (b"</s>", 0.0, gguf.TokenType.CONTROL), (b"<unk>", 0.0, gguf.TokenType.UNKNOWN)]
