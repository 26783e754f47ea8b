#!/usr/bin/env python3
"""Writes tiny_t5_*.gguf and tiny_t5_*.json: random encoder-decoders made by HF transformers, with what the encoder gives, the logits of
teacher forcing, and greedy and beam-search output, for tests/t5.rs.

    make_tiny_t5.py [<output folder>]

Each model is another kind of the family (see MODELS). Matrices are F16. The vocabulary is a small Unigram, or ByT5's bytes. All numbers
are HF's, f32, attention "eager", one pass. Where llama-cpp-python is installed its logits are compared and printed.
Versions: see t5_gguf.py; numpy 2.4.6. Seeds are fixed: a second run gives the same files up to the last bits of torch's matrix
products on another machine.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration, UMT5Config, UMT5ForConditionalGeneration

import llama_gguf
import t5_gguf

T5, MT5, UMT5 = (T5Config, T5ForConditionalGeneration), (MT5Config, MT5ForConditionalGeneration), (UMT5Config, UMT5ForConditionalGeneration)

# Heads of 32 whose sum is not the width; sources over a page border, one beyond the last bucket's distance (128).
MODELS = {
    "relu": dict(end=0.8, seed=1, family=T5, tied=True, ff="relu", d=32, heads=2, kv=32, d_ff=48, layers=2, decoders=2, sources=[140, 9], targets=[70, 12]),
    "flan": dict(end=0.5, seed=2, family=T5, tied=False, ff="gated-gelu", d=48, heads=2, kv=32, d_ff=32, layers=2, decoders=1, sources=[20, 66], targets=[12, 9]),
    "mt5": dict(end=1.0, seed=3, family=MT5, tied=False, ff="gated-gelu", d=32, heads=3, kv=32, d_ff=32, layers=1, decoders=2, sources=[17], targets=[9]),
    "umt5": dict(end=0.4, seed=4, family=UMT5, tied=False, ff="gated-gelu", d=32, heads=2, kv=32, d_ff=32, layers=2, decoders=2, sources=[40], targets=[11]),
    "byt5": dict(end=2.5, seed=5, family=T5, tied=True, ff="gated-gelu", d=32, heads=2, kv=32, d_ff=32, layers=2, decoders=1, sources=[33], targets=[9], bytes=True),
}  # fmt: skip
# What HF's generate is asked for, beside greedy.
BEAMS = [
    dict(num_beams=4),
    dict(num_beams=4, num_return_sequences=4, length_penalty=0.0),
    dict(num_beams=2, length_penalty=2.0, early_stopping=True),
    dict(num_beams=8, num_return_sequences=3, length_penalty=-1.0, early_stopping="never"),
    dict(num_beams=3, length_penalty=1.5, early_stopping="never", num_return_sequences=3),
]
MAX_NEW_TOKENS = 24
WORDS = "the house is wonderful a b c d e f g h i j k l m n o p q r s t u v w x y z in er on to an of and".split()


def unigram():
    pieces = list(t5_gguf.SPECIAL) + [("▁".encode(), -2.5, gguf.TokenType.NORMAL)]
    for i, word in enumerate(WORDS):
        pieces += [(("▁" + word).encode(), -3.0 - i / 16, gguf.TokenType.NORMAL), (word.encode(), -5.0 - i / 16, gguf.TokenType.NORMAL)]
    assert len({piece for piece, _, _ in pieces}) == len(pieces)
    return pieces


def byte_vocabulary(writer):
    """As kinglet documents it (src/tokenizer/byt5.rs): llama.cpp has no ByT5."""
    tokens = [piece for piece, _, _ in t5_gguf.SPECIAL] + [f"<0x{b:02X}>" for b in range(256)] + [f"<extra_id_{i}>" for i in range(125)]
    types = [kind for _, _, kind in t5_gguf.SPECIAL] + [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.CONTROL] * 125
    writer.add_tokenizer_model("byt5")
    writer.add_token_list(tokens)
    writer.add_token_types([int(kind) for kind in types])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(2)
    return len(tokens)


def random_model(spec, n_vocab):
    torch.manual_seed(spec["seed"])
    Config, Model = spec["family"]
    config = Config(
        vocab_size=n_vocab, d_model=spec["d"], d_kv=spec["kv"], d_ff=spec["d_ff"], num_layers=spec["layers"], num_decoder_layers=spec["decoders"],
        num_heads=spec["heads"], feed_forward_proj=spec["ff"], dropout_rate=0.0, tie_word_embeddings=spec["tied"], decoder_start_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    model = Model(config).eval()
    if not spec["tied"]:
        # The published checkpoints have a head of their own; transformers 5 ties where none is loaded. UMT5's forward asks this flag
        # whether to scale, and transformers 5 sets it for every model: 4.x and the paper's code do not scale here.
        model.lm_head.weight = torch.nn.Parameter(torch.empty(n_vocab, spec["d"]))
        model.config.tie_word_embeddings = False
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.uniform_(0.5, 1.5)
            elif "relative_attention_bias" in name:
                p.normal_(0, 1.5)
            elif name == "shared.weight":
                p.normal_(0, 0.4 if spec["tied"] else 1.0)
            elif name.endswith(".q.weight"):  # scores are not scaled
                p.normal_(0, 1.2 / (p.shape[-1] * spec["kv"]) ** 0.5)
            else:  # scores and logits of a few units, as in trained models
                p.normal_(0, 1.2 / p.shape[-1] ** 0.5)
        if spec["tied"]:
            model.decoder.final_layer_norm.weight *= 8.0
        else:
            model.lm_head.weight *= 2.5
        end_some_sequences(model, spec, n_vocab)
        for p in model.parameters():  # the file has matrices in F16
            p.copy_(p.half().float() if p.dim() == 2 else p)
    assert (model.lm_head.weight is model.shared.weight) == spec["tied"]
    return model


def end_some_sequences(model, spec, n_vocab):
    """Turns the row of the end towards what the decoder gives on average; random rows would hardly ever win."""
    ids = torch.randint(3, n_vocab, (4, 24))
    states = model.decoder(input_ids=ids, encoder_hidden_states=model.encoder(ids).last_hidden_state).last_hidden_state
    mean = states.reshape(-1, spec["d"]).mean(0)
    head = model.lm_head.weight
    head[1] = head[1] * 0.7 + spec["end"] * head.norm(dim=1).mean() * mean / mean.norm()


def write_gguf(path, name, model, spec):
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_name(f"tiny random t5, {name}")
    t5_gguf.write_header(writer, model.config, 512)
    if spec.get("bytes"):
        byte_vocabulary(writer)
    else:
        t5_gguf.write_unigram(writer, unigram())
    for tensor, weight in t5_gguf.weights(model, spec["tied"]):
        writer.add_tensor(tensor, weight.astype(np.float16) if weight.ndim == 2 else weight)
    t5_gguf.finish(writer)


def hexed(tensor):
    return tensor.float().numpy().astype("<f4").tobytes().hex()


@torch.no_grad()
def case(model, source, target):
    ids = torch.tensor([source])
    encoded = model.encoder(ids).last_hidden_state[0]
    logits = model(input_ids=ids, decoder_input_ids=torch.tensor([target]), use_cache=False).logits[0]
    ask = dict(do_sample=False, use_cache=False, max_new_tokens=MAX_NEW_TOKENS, attention_mask=torch.ones_like(ids))
    greedy = model.generate(ids, num_beams=1, **ask)[0, 1:].tolist()
    beams = []
    for options in BEAMS:
        found = model.generate(ids, **options, **ask)
        beams.append(options | {"sequences": [until_end(row[1:].tolist()) for row in found]})
    return {
        "source": source, "target": target, "encoded": hexed(encoded), "logits": hexed(logits), "greedy": until_end(greedy), "beams": beams
    }  # fmt: skip


def until_end(tokens):
    """Without the padding behind the end of the sequence."""
    return tokens[: tokens.index(1) + 1] if 1 in tokens else tokens


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    for name, spec in MODELS.items():
        n_vocab = 384 if spec.get("bytes") else len(unigram())
        model = random_model(spec, n_vocab)
        path = folder / f"tiny_t5_{name}.gguf"
        write_gguf(path, name, model, spec)
        rng = np.random.default_rng(spec["seed"])
        tokens = lambda n: rng.integers(3, n_vocab, n).tolist()
        cases = [case(model, tokens(s) + [1], [0] + tokens(t - 1)) for s, t in zip(spec["sources"], spec["targets"])]
        # More inputs for the outputs alone.
        outputs = [case(model, tokens(n) + [1], [0]) for n in range(2, 14)]
        for output in outputs:
            del output["encoded"], output["logits"], output["target"]
        out = {"versions": llama_gguf.versions() | {"gguf": "0.19.0"}, "vocabulary": n_vocab, "width": spec["d"], "max_new_tokens": MAX_NEW_TOKENS, "cases": cases, "outputs": outputs}
        (folder / f"tiny_t5_{name}.json").write_text(json.dumps(out) + "\n")
        ended = sum(o["greedy"][-1] == 1 for o in outputs)
        beam_ended = sum(o["beams"][0]["sequences"][0][-1] == 1 for o in outputs)
        print(f"{name}: {path.stat().st_size} bytes, vocabulary {n_vocab}, of {len(outputs)} outputs {ended} end greedily and {beam_ended} by 4 beams; lengths {[len(o['beams'][0]['sequences'][0]) for o in outputs]}")


if __name__ == "__main__":
    main()
