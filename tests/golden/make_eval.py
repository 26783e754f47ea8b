#!/usr/bin/env python3
"""Writes eval.json: what HF transformers says of the small benchmarks in tests/golden/eval, all of our own writing, with the model of
tiny_grouped.gguf.

    make_eval.py

The requests, the probabilities and the figures are made as lm-evaluation-harness 0.4.13 makes them (tests/measure/make_benchmarks.py says
which of its files; one space before continuations), apart from kinglet's own readers. Rolling windows are those of lm_eval/utils.py with
`max_seq_len` WINDOW. Versions: see llama_gguf.py.
"""

import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "measure"))
import llama_gguf
import make_benchmarks
import make_tiny_llama
from make_teacher_forced import tokenizer_of

HERE = Path(__file__).parent
WINDOW = 50


def ai2(path):
    """AI2's form, whose keys are the labels of choices."""
    for line in open(path, encoding="utf-8"):
        doc = json.loads(line)
        choices = [choice["text"] for choice in doc["question"]["choices"]]
        gold = [choice["label"] for choice in doc["question"]["choices"]].index(doc["answerKey"])
        context = f"Question: {doc['question']['stem'].strip()}\nAnswer:"
        yield {"choices": choices, "gold": gold, "requests": [(context, " " + choice) for choice in choices]}


def winograd(path):
    """The `&` that published files leave as it is stops Python's reader."""
    escaped = path.read_bytes().replace(b" & ", b" &amp; ")
    copy = Path("/tmp") / path.name
    copy.write_bytes(escaped)
    return make_benchmarks.wsc273(copy)


def mean_and_stderr(numbers):
    mean = sum(numbers) / len(numbers)
    return [mean, math.sqrt(sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1)) / math.sqrt(len(numbers))]


def argmax(numbers):
    return int(np.argmax(numbers))


def figures(name, items):
    acc = [argmax(i["logprobs"]) == i["gold"] for i in items]
    if name == "lambada":
        acc = [i["greedy"][0] for i in items]
    out = {"accuracy": mean_and_stderr(acc)}
    if name == "arc_easy":
        norm = lambda length: [argmax(np.array(i["logprobs"]) / [length(c) for c in i["choices"]]) == i["gold"] for i in items]
        out["accuracy_norm"] = mean_and_stderr(norm(len))
        out["accuracy_bytes"] = mean_and_stderr(norm(lambda choice: len(choice.encode())))
    if name == "lambada":
        out["perplexity"] = math.exp(-mean_and_stderr([i["logprobs"][0] for i in items])[0])
    return out


def rolling_windows(tokens, prefix, max_seq_len):
    """lm_eval/utils.py: get_rolling_token_windows with a context of 1, then make_disjoint_window."""
    first = min(max_seq_len, len(tokens))
    windows = [([prefix] + tokens[: first - 1], tokens[:first])]
    predicted = first
    while predicted < len(tokens):
        n = min(len(tokens) - predicted, max_seq_len)
        end = predicted + n
        windows.append((tokens[end - max_seq_len - 1 : end - 1], tokens[end - n : end]))
        predicted += n
    return [(a[: len(a) - (len(b) - 1)], b) for a, b in windows]


def main():
    model = make_tiny_llama.random_model(make_tiny_llama.MODELS["grouped"])
    reader = gguf.GGUFReader(HERE / "tiny_grouped.gguf")
    stored = next(t for t in reader.tensors if t.name == "token_embd.weight")
    assert np.array_equal(stored.data, model.model.embed_tokens.weight.detach().numpy()), "another machine's random numbers"
    tokenizer = tokenizer_of(reader)
    encode = lambda text: tokenizer.encode(text).ids
    folder = HERE / "eval"
    golden = {"versions": llama_gguf.versions()}
    files = {
        "arc_easy": ai2(folder / "arc_easy.jsonl"),
        "copa": make_benchmarks.copa(folder / "copa.xml"),
        "winograd": winograd(folder / "winograd.xml"),
        "lambada": make_benchmarks.lambada(folder / "lambada.jsonl"),
    }
    for name, items in files.items():
        items = list(items)
        scores = iter(make_benchmarks.score(model, [make_benchmarks.encode_pair(encode, *r) for i in items for r in i["requests"]]))
        for item in items:
            item["logprobs"], item["n_tokens"], item["greedy"] = zip(*(next(scores) for _ in item["requests"]))
        golden[name] = {"figures": figures(name, items), "items": items}
    text = (folder / "text.txt").read_text()
    windows = rolling_windows(encode(text), 1, WINDOW)
    logprob = sum(total for total, _, _ in make_benchmarks.score(model, windows))
    n_words, n_bytes = len(text.split()) + 1, len(text.encode())
    golden["text"] = {
        "window": WINDOW,
        "windows": len(windows),
        "logprob": logprob,
        "word_perplexity": math.exp(-logprob / n_words),
        "byte_perplexity": math.exp(-logprob / n_bytes),
        "bits_per_byte": -logprob / n_bytes / math.log(2),
    }
    (HERE / "eval.json").write_text(json.dumps(golden, indent=1) + "\n")
    print({name: value.get("figures", value) for name, value in golden.items() if name != "versions"})


if __name__ == "__main__":
    main()
