#!/usr/bin/env python3
"""Writes checkpoints/*: random models as transformers' save_pretrained publishes them, for www/pkg/test/checkpoint.test.ts,
tests/checkpoints.rs and tests/e2e/checkpoints.test.mjs.

    make_tiny_checkpoints.py <llama.cpp's folder> [<name>...]

Beside each model expected.json says what others make of it:
* `metadata` and `tensors`: what llama.cpp's convert_hf_to_gguf.py writes with --outtype f32 (keys of the architecture; shape, outermost
  first, and FNV-1a of the f32 values, little-endian; of those that are computed the values). Its vocabulary is not compared: tests/golden/tokenizer is about that.
* `tokens`, `logits` (decoders): transformers' logits of the last four, f32 as hexadecimal, attention "eager", one pass, of the weights
  as they are stored.

Versions: torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, safetensors of pip; llama.cpp as in llama-cpp-python 0.3.36. Seeds are
fixed. `node write_headers.mjs` then writes header.bin beside each.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

FOLDER = Path(__file__).parent / "checkpoints"
LLAMA_CPP = Path(sys.argv[1])
sys.path[:0] = [str(LLAMA_CPP), str(LLAMA_CPP / "gguf-py")]
import gguf  # noqa: E402
from conversion import ModelBase, get_model_class  # noqa: E402
from conversion.base import TextModel  # noqa: E402

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ t", "h e", "i n", "Ġ a", "r e", "o n", "Ġt he", "a t", "e r", "Ġ s", "n d", "i s", "o r", "Ġ w", "e n"]
MERGES += ["in g", "Ġ b", "o u", "Ġa nd", "Ġ c", "Ġ o", "l l", "e s", "i t", "Ġ f", "e d", "Ġ h", "a n", "l e"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
N_VOCAB = 288
N_LOGITS = 4

WIDE = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, vocab_size=N_VOCAB, bos_token_id=1, eos_token_id=2, pad_token_id=0)
GROUPED = dict(WIDE, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
FULL = dict(WIDE, num_attention_heads=2, max_position_embeddings=128)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
T5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=1, num_heads=4, relative_attention_num_buckets=8, decoder_start_token_id=0)
BERT = dict(FULL, type_vocab_size=2)

# name: config class, model class, its parameters, number format, parts, tokenizer
MODELS = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", dict(GROUPED, tie_word_embeddings=True), "float32"),
    "llama-sharded": ("LlamaConfig", "LlamaForCausalLM", dict(GROUPED, rope_parameters=LLAMA3, attention_bias=True, num_hidden_layers=3), "bfloat16"),
    "llama-f16": ("LlamaConfig", "LlamaForCausalLM", dict(GROUPED, head_dim=16, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}), "float16"),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", dict(GROUPED, tie_word_embeddings=True), "bfloat16"),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", dict(GROUPED, head_dim=16, tie_word_embeddings=True), "bfloat16"),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", dict(GROUPED, num_key_value_heads=1, head_dim=16), "bfloat16"),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", dict(GROUPED, head_dim=16, sliding_window=8, query_pre_attn_scalar=16), "bfloat16"),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", dict(GROUPED, head_dim=16, sliding_window=8, num_hidden_layers=6, query_pre_attn_scalar=16), "bfloat16"),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", dict(n_embd=32, n_layer=2, n_head=2, n_positions=128, n_ctx=128, vocab_size=N_VOCAB, bos_token_id=0, eos_token_id=0), "float32"),
    "gptneox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", dict(FULL), "float16"),
    "phi": ("PhiConfig", "PhiForCausalLM", dict(FULL, intermediate_size=128), "float16"),
    "phi3": ("Phi3Config", "Phi3ForCausalLM", dict(GROUPED, sliding_window=8, original_max_position_embeddings=128), "bfloat16"),
    "olmo2": ("Olmo2Config", "Olmo2ForCausalLM", dict(GROUPED), "bfloat16"),
    "granite": ("GraniteConfig", "GraniteForCausalLM", dict(GROUPED, attention_multiplier=0.25, embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0), "bfloat16"),
    "smollm3": ("SmolLM3Config", "SmolLM3ForCausalLM", dict(GROUPED, num_hidden_layers=4, tie_word_embeddings=True), "bfloat16"),
    "stablelm": ("StableLmConfig", "StableLmForCausalLM", dict(GROUPED, use_qkv_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}), "float16"),
    "starcoder2": ("Starcoder2Config", "Starcoder2ForCausalLM", dict(GROUPED, sliding_window=8), "bfloat16"),
    "lfm2": ("Lfm2Config", "Lfm2ForCausalLM", dict(GROUPED, num_hidden_layers=3, conv_L_cache=3, block_auto_adjust_ff_dim=False, layer_types=["conv", "full_attention", "conv"], block_ff_dim=64), "bfloat16"),
    "bert": ("BertConfig", "BertModel", dict(BERT), "float32"),
    "distilbert": ("DistilBertConfig", "DistilBertModel", dict(dim=32, hidden_dim=64, n_layers=2, n_heads=2, vocab_size=N_VOCAB, max_position_embeddings=64), "float32"),
    "modernbert": ("ModernBertConfig", "ModernBertModel", dict(FULL, num_hidden_layers=3, local_attention=8, global_attn_every_n_layers=3, cls_token_id=1, sep_token_id=2), "float32"),
    "t5": ("T5Config", "T5ForConditionalGeneration", dict(T5, vocab_size=N_VOCAB), "bfloat16"),
    "flan-t5": ("T5Config", "T5ForConditionalGeneration", dict(T5, vocab_size=N_VOCAB, feed_forward_proj="gated-gelu"), "bfloat16"),
}  # fmt: skip
SHARDED = {"llama-sharded": "40KB"}
# What published files say and today's transformers writes elsewhere; llama.cpp's converter looks for it there.
PUBLISHED = {"gptneox": {"rotary_pct": 0.25}, "flan-t5": {"tie_word_embeddings": False, "scale_decoder_outputs": False}}


def byte_to_unicode():
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) if b in printable else chr(256 + others.index(b)) for b in range(256)}


def byte_level():
    """Every byte, a few merges, three special tokens: 288 pieces, which any text can be made of."""
    pieces = SPECIAL + list(byte_to_unicode().values()) + [m.replace(" ", "") for m in MERGES]
    assert len(set(pieces)) == N_VOCAB
    merges = [tuple(m.split(" ")) for m in MERGES]
    tokenizer = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def word_piece():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces += letters + ["##" + c for c in letters if c.isalnum()] + ["the", "and", "##ing", "##ed", "hello", "world"]
    pieces += [f"word{i}" for i in range(N_VOCAB - len(pieces))]
    tokenizer = Tokenizer(models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(pieces[:5])
    return tokenizer


def unigram():
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(chr(c), -5.0 - c / 100) for c in range(33, 127)] + [("▁the", -3.0), ("▁a", -3.5), ("ing", -4.0)]
    pieces += [(f"▁word{i}", -9.0) for i in range(N_VOCAB - len(pieces))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    return tokenizer


def tokenizer_files(name, folder):
    if "t5" in name:
        tokenizer, config = unigram(), {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    elif "bert" in name:
        tokenizer, config = word_piece(), {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    else:
        tokenizer, config = byte_level(), {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    if name == "llama":
        config["chat_template"] = TEMPLATE
    if name == "qwen3":
        (folder / "chat_template.jinja").write_text(TEMPLATE)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def random_model(config_class, model_class, parameters, seed):
    torch.manual_seed(seed)
    config = getattr(hf, config_class)(**parameters, attn_implementation="eager")
    model = getattr(hf, model_class)(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                # Gemma adds 1 itself.
                centre = 1.0 if "norm" in name.lower() and name.endswith("weight") and "Gemma" not in config_class else 0.0
                p.copy_(centre + 0.1 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.5 if "embed" in name or "shared" in name else 1.5 / p.shape[-1] ** 0.5))
    model.tie_weights()
    return model.eval()


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{h:016x}"


def converted(folder):
    """What llama.cpp's converter writes, without a vocabulary."""
    hparams = ModelBase.load_hparams(folder, False) | PUBLISHED.get(folder.name, {})
    model_class = get_model_class(hparams["architectures"][0])
    model_class.set_vocab = lambda self: None
    with tempfile.TemporaryDirectory() as out, torch.inference_mode():
        path = Path(out) / "model.gguf"
        model = model_class(folder, gguf.LlamaFileType.ALL_F32, path, hparams=hparams)
        model.write()
        reader = gguf.GGUFReader(path)
        metadata = {}
        for key, field in reader.fields.items():
            if key.startswith(("GGUF.", "general.", "tokenizer.")):
                continue
            metadata[key] = field.contents()
        tensors = {}
        for t in reader.tensors:
            assert t.tensor_type == gguf.GGMLQuantizationType.F32, t.name
            shape = [int(n) for n in reversed(t.shape)]
            data = np.asarray(t.data, dtype="<f4")
            tensors[t.name] = [shape, data.tolist() if t.name.startswith("rope_") else fnv(data.tobytes())]
        architecture = reader.fields["general.architecture"].contents()
    return {"architecture": architecture, "metadata": metadata, "tensors": tensors}


def write(name, seed):
    config_class, model_class, parameters, dtype = MODELS[name]
    folder = FOLDER / name
    header = (folder / "header.bin").read_bytes() if (folder / "header.bin").exists() else None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = random_model(config_class, model_class, parameters, seed).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=SHARDED.get(name, "10MB"))
    if name == "flan-t5":  # transformers 5 leaves out the head of a new model
        tensors = load_file(folder / "model.safetensors")
        head = torch.randn(N_VOCAB, T5["d_model"], generator=torch.Generator().manual_seed(seed))
        save_file(tensors | {"lm_head.weight": head.to(getattr(torch, dtype))}, folder / "model.safetensors", {"format": "pt"})
    tokenizer_files(name, folder)
    config = json.loads((folder / "config.json").read_text()) | PUBLISHED.get(name, {})
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    expected = converted(folder)
    if "CausalLM" in model_class or "LMHead" in model_class:
        whole = getattr(hf, model_class).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        tokens = torch.randint(3, N_VOCAB, (1, 12), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            logits = whole(tokens).logits[0, -N_LOGITS:].float().numpy()
        expected |= {"tokens": tokens[0].tolist(), "vocabulary": N_VOCAB, "logits": logits.astype("<f4").tobytes().hex()}
        print(f"{name}: logits up to {np.abs(logits).max():.2f}")
    (folder / "expected.json").write_text(json.dumps(expected))
    if header is not None:
        (folder / "header.bin").write_bytes(header)


TextModel.set_vocab = lambda self: None
for i, name in enumerate(MODELS):
    if len(sys.argv) < 3 or name in sys.argv[2:]:
        write(name, 1 + i)
