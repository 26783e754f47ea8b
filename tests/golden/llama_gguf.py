"""What the golden scripts share: GGUF files of the llama architecture to and from HF transformers, byte-level BPE
vocabularies, and llama.cpp as a second opinion. Imported by make_*.py; not a program.

Python 3.11.7, torch 2.15.0, transformers 5.23.0, gguf 0.19.0, tokenizers 0.23.3, llama-cpp-python 0.3.36.
"""

import ctypes
import platform

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

# GGUF name -> HF name, inside a layer.
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def versions():
    import tokenizers
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }


def gguf_name(hf_name):
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`"""
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if hf_name in fixed:
        return fixed[hf_name]
    _, _, layer, rest = hf_name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    short = {hf: name for name, hf in LAYER_TENSORS.items()}[module]
    return f"blk.{layer}.{short}.{kind}"


def permute(weight, n_head):
    """HF's rotary pairs (i, i + K/2) to GGUF's (2i, 2i + 1): rows of each head are interleaved."""
    rows = weight.shape[0] // n_head
    return weight.reshape(n_head, 2, rows // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def unpermute(weight, n_head):
    """The inverse of `permute`."""
    rows = weight.shape[0] // n_head
    return weight.reshape(n_head, rows // 2, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def read_field(reader, key, default=None):
    field = reader.get_field(key)
    return default if field is None else field.contents()


def load_llama(path):
    """A GGUF file as HF's f32 model: every tensor dequantized by PyPI gguf. Returns (model, reader)."""
    reader = gguf.GGUFReader(path)
    meta = lambda key, default=None: read_field(reader, f"llama.{key}", default)
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    n_head, n_head_kv = meta("attention.head_count"), meta("attention.head_count_kv")
    config = LlamaConfig(
        vocab_size=len(read_field(reader, "tokenizer.ggml.tokens")),
        hidden_size=meta("embedding_length"),
        intermediate_size=meta("feed_forward_length"),
        num_hidden_layers=meta("block_count"),
        num_attention_heads=n_head,
        num_key_value_heads=n_head_kv,
        max_position_embeddings=meta("context_length"),
        rms_norm_eps=meta("attention.layer_norm_rms_epsilon"),
        tie_word_embeddings="output.weight" not in tensors,
        rope_parameters={"rope_type": "default", "rope_theta": meta("rope.freq_base", 10000.0)},
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).eval()
    state, used = {}, set()
    for name in model.state_dict():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        source = gguf_name(name)
        weight = tensors[source]
        if ".attn_q." in source:
            weight = unpermute(weight, n_head)
        if ".attn_k." in source:
            weight = unpermute(weight, n_head_kv)
        state[name] = torch.tensor(np.ascontiguousarray(weight, np.float32))
        used.add(source)
    assert used == set(tensors), set(tensors) - used
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model, reader


@torch.no_grad()
def logits(model, ids):
    """[positions, V] f32 of one sequence."""
    return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def byte_to_unicode():
    """GPT-2's printable stand-in for every byte (openai/gpt-2, encoder.py)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


class LlamaCpp:
    """llama.cpp's own logits, for comparison: its defaults (f16 cache, two threads), or as exact as it can be made. With `pooling`
    (llama.cpp's number) it gives what it makes of the last layer instead of logits."""

    def __init__(self, path, n_ctx, exact=False, pooling=None):
        import llama_cpp

        self.lib = llama_cpp
        llama_cpp.llama_backend_init()
        self.errors = []
        keep = lambda level, text, _: self.errors.append(text.decode().strip()) if level == 4 else None  # GGML_LOG_LEVEL_ERROR
        self.quiet = llama_cpp.llama_log_callback(keep)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        assert self.model, f"llama.cpp does not load it: {self.errors[0]}"
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = n_ctx
        params.n_threads = params.n_threads_batch = 2
        if exact:
            params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
            params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if pooling is not None:
            params.embeddings, params.pooling_type = True, pooling
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context, f"llama.cpp makes no context: {self.errors}"
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.n_vocab = llama_cpp.llama_vocab_n_tokens(self.vocab)

    def version(self):
        return self.lib.__version__

    def _run(self, function, ids):
        """One sequence as one batch, every row asked for."""
        lib = self.lib
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
        assert function(self.context, batch) == 0, self.errors
        lib.llama_batch_free(batch)

    def logits(self, ids):
        """[positions, V] f32 of one sequence, decoded as one batch."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        self._run(self.lib.llama_decode, ids)
        return self._rows(self.lib.llama_get_logits_ith, len(ids), self.n_vocab)

    def _rows(self, get, n, width):
        return np.array([np.ctypeslib.as_array(get(self.context, i), (width,)).copy() for i in range(n)])

    def encode(self, ids):
        """Encodes a sequence for the decoder, if there is one."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)
        self._run(self.lib.llama_encode, ids)

    def rows(self, ids):
        """[positions, D] f32: an encoder's last layer; asks for pooling 0."""
        self.encode(ids)
        return self._rows(self.lib.llama_get_embeddings_ith, len(ids), self.lib.llama_model_n_embd(self.model))

    def pooled(self, ids, width):
        """[width] f32: what pooling or a classifier makes of a sequence."""
        self.encode(ids)
        return np.ctypeslib.as_array(self.lib.llama_get_embeddings_seq(self.context, 0), (width,)).copy()

    def tokenize(self, text, add_special, parse_special):
        data = text.encode()
        ids = (self.lib.llama_token * (len(data) + 8))()
        n = self.lib.llama_tokenize(self.vocab, data, len(data), ids, len(ids), add_special, parse_special)
        assert n >= 0
        return list(ids[:n])
