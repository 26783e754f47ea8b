#!/usr/bin/env python3
"""Writes teacher_forced.json and short_text.json: what HF transformers' f32 model says with the dequantized weights of the
default model.

    make_teacher_forced.py <SmolLM2-135M-Instruct.Q4_1.gguf> [<output folder>]

teacher_forced.json: for each of 24 prompts the ids, 48 greedy tokens (end of text is ignored), and for each of these
positions the log-probability of the token, the two best tokens with their logits, and the logsumexp of the logits. Beside
them llama.cpp's own numbers on the same positions: the log-probability of the same token and its best token.

short_text.json: perplexity of short_text.txt (one pass over the whole, no token added in front, every token but the
first scored). Versions: see llama_gguf.py. The ids come from `tokenizers` with the file's vocabulary and are compared
with llama.cpp's.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import llama_gguf

N_GREEDY = 48
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

TEXTS = [
    "The lighthouse keeper climbed the stairs every evening, and",
    "In 1969, astronauts landed on the Moon. The mission was called",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Water boils at 100 degrees Celsius at sea level, but at the top of a mountain",
    "Dear neighbour,\n\nI am writing to you because",
    "The three most important things to remember when baking bread are",
    "SELECT name, COUNT(*) FROM orders",
    "Once upon a time a wren wanted to be king of all the birds.",
    "Photosynthesis is the process by which",
    "- apples\n- pears\n- plums\n",
    "Q: What is the capital of France?\nA:",
    "The train left the station at 7:45 and arrived at 9:15, so the journey took",
]
QUESTIONS = [
    "What is the capital of Portugal?",
    "Write a short poem about rain on a tin roof.",
    "Explain to a child why the sky is blue.",
    "Give me three tips for growing tomatoes on a balcony.",
    "What is 17 + 25?",
    "Translate 'good morning' into Spanish.",
    "Why do cats purr?",
    "Write a Python function that reverses a string.",
    "Summarize the story of the tortoise and the hare in two sentences.",
    "What should I pack for a weekend of hiking?",
    "Who was Ada Lovelace?",
    "List the planets from the Sun outwards.",
]


def tokenizer_of(reader):
    """The file's vocabulary in the `tokenizers` crate: SmolLM splits digits one by one, then as GPT-2."""
    tokens = llama_gguf.read_field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in llama_gguf.read_field(reader, "tokenizer.ggml.merges")]
    types = llama_gguf.read_field(reader, "tokenizer.ggml.token_type")
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def chat(question):
    return f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def greedy(model, ids):
    past, step, out = None, torch.tensor([ids]), []
    for _ in range(N_GREEDY):
        result = model(step, past_key_values=past, use_cache=True)
        past = result.past_key_values
        out.append(int(result.logits[0, -1].argmax()))
        step = torch.tensor([[out[-1]]])
    return out


def log_sum_exp(rows):
    rows = rows.astype(np.float64)
    top = rows.max(-1)
    return top + np.log(np.exp(rows - top[:, None]).sum(-1))


def positions(model, other, prompt, tokens):
    ids = prompt + tokens
    here = slice(len(prompt) - 1, len(ids) - 1)
    rows = llama_gguf.logits(model, ids)[here]
    lse = log_sum_exp(rows)
    chosen = np.arange(N_GREEDY), tokens
    best = np.argsort(-rows, axis=1, kind="stable")[:, :2]
    out = {
        "logprob": (rows[chosen] - lse).round(6).tolist(),
        "best": best.tolist(),
        "logits": [[round(float(rows[i, t]), 5) for t in pair] for i, pair in enumerate(best)],
        "lse": lse.round(5).tolist(),
    }
    theirs = other.logits(ids)[here]
    out["llama_cpp"] = {"logprob": (theirs[chosen] - log_sum_exp(theirs)).round(6).tolist(), "best": theirs.argmax(-1).tolist()}
    return out


def summary(prompts):
    flat = lambda get: np.concatenate([np.array(get(p)) for p in prompts])
    difference = np.abs(flat(lambda p: p["logprob"]) - flat(lambda p: p["llama_cpp"]["logprob"]))
    gap = flat(lambda p: p["logits"]) @ [1, -1]
    wrong = flat(lambda p: p["best"])[:, 0] != flat(lambda p: p["llama_cpp"]["best"])
    return {
        "positions": len(gap),
        "clear_positions": int((gap >= 0.3).sum()),
        "llama_cpp_mean_difference": round(float(difference.mean()), 6),
        "llama_cpp_largest_difference": round(float(difference.max()), 6),
        "llama_cpp_other_best": int(wrong.sum()),
        "llama_cpp_other_best_where_clear": int((wrong & (gap >= 0.3)).sum()),
    }


def perplexity(rows, ids):
    nll = log_sum_exp(rows[:-1]) - rows[np.arange(len(ids) - 1), ids[1:]]
    return float(np.exp(nll.mean()))


def main():
    path = sys.argv[1]
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent
    model, reader = llama_gguf.load_llama(path)
    other = llama_gguf.LlamaCpp(path, 1024)
    tokenizer = tokenizer_of(reader)
    versions = llama_gguf.versions() | {"gguf": "0.19.0", "llama_cpp_python": other.version()}
    print(versions)

    def encode(text):
        ids = tokenizer.encode(text).ids
        assert ids == other.tokenize(text, False, True), text
        return ids

    prompts = []
    for text in TEXTS + [chat(q) for q in QUESTIONS]:
        prompt = encode(text)
        tokens = greedy(model, prompt)
        prompts.append({"text": text, "prompt": prompt, "tokens": tokens} | positions(model, other, prompt, tokens))
        print(repr(text[-50:]), "->", repr(tokenizer.decode(tokens)[:70]), flush=True)
    golden = {"versions": versions, "model_sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "summary": summary(prompts)}
    print(golden["summary"])
    lines = ",\n".join(json.dumps(p) for p in prompts)
    (folder / "teacher_forced.json").write_text(json.dumps(golden)[:-1] + ', "prompts": [\n' + lines + "\n]}\n")

    ids = encode((folder / "short_text.txt").read_text())
    short = {"versions": versions, "tokens": len(ids), "perplexity": round(perplexity(llama_gguf.logits(model, ids), ids), 5)}
    short["llama_cpp_perplexity"] = round(perplexity(other.logits(ids), ids), 5)
    print(short)
    (folder / "short_text.json").write_text(json.dumps(short | {"ids": ids}) + "\n")


if __name__ == "__main__":
    main()
