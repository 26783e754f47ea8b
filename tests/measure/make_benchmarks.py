#!/usr/bin/env python3
"""What HF transformers' f32 model says of benchmarks with the dequantized weights of a Llama-type GGUF file whose vocabulary is SmolLM's:

    make_benchmarks.py <SmolLM2-135M-Instruct.Q4_1.gguf> <folder of the benchmarks' files> <output folder> [name …]

Writes hf_NAME.json: for each item the choices' contexts and continuations, ln P, number of tokens, whether they are the greedy ones. The requests
are made here as lm-evaluation-harness makes them (0.4.13: tasks/arc, tasks/super_glue/copa/utils.py, tasks/wsc273/utils.py,
tasks/lambada, api/model.py `_encode_pair`; one space before continuations, as in 0.3.0; names ending in `_04` have the two of 0.4),
with another reader than kinglet's, so that the comparison (tests/measure/benchmarks.mjs) covers reading too.

Versions: tests/golden/llama_gguf.py; gguf 0.19.0. Winograd schemas are read as Hugging Face's `winograd_wsc` reads them.
"""

import json
import re
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import llama_gguf
from make_teacher_forced import tokenizer_of

N_ARC = 500
N_LAMBADA = 200
# Sequences in one pass, and tokens with their filling.
MAX_SEQUENCES, MAX_TOKENS = 32, 2048
UPPER_PRONOUNS = ["A", "An", "The", "She", "He", "It", "They", "My", "His", "Her", "Their"]


def arc(path):
    for line in list(open(path, encoding="utf-8"))[:N_ARC]:
        doc = json.loads(line)
        requests = [(doc["query"] + "\nAnswer:", " " + choice) for choice in doc["choices"]]
        yield {"choices": doc["choices"], "gold": doc["gold"], "requests": requests}


def copa(path, spaces=" "):
    for item in ElementTree.parse(path).getroot().iter("item"):
        connector = {"cause": "because", "effect": "therefore"}[item.get("asks-for")]
        context = item.findtext("p").strip()[:-1] + f" {connector}"
        choices = [item.findtext("a1").strip(), item.findtext("a2").strip()]
        requests = [(context, spaces + choice[0].lower() + choice[1:]) for choice in choices]
        yield {"choices": choices, "gold": int(item.get("most-plausible-alternative")) - 1, "requests": requests}


def normalized_option(text, pronoun, pronoun_loc, option):
    """tasks/wsc273/utils.py, `__normalize_option`."""
    if pronoun.lower() in ["my", "his", "her", "our", "their"]:
        option += "'s"
    first = option.split()[0]
    start_of_sentence = text[pronoun_loc - 2] == "."
    if not start_of_sentence and first in UPPER_PRONOUNS:
        return option.replace(first, first.lower())
    return option


def schema(left, pronoun, right, options, gold, spaces):
    text = " ".join((left, pronoun, right)).strip()
    loc = len(left) + 1 if left else 0
    options = [normalized_option(text, pronoun, loc, option) for option in options]
    rest = spaces + text[loc + len(pronoun) :].strip()
    return {"choices": options, "gold": gold, "requests": [(text[:loc] + option, rest) for option in options]}


def wsc273(path, spaces=" "):
    clean = lambda text: " ".join((text or "").split())
    for item in list(ElementTree.parse(path).getroot().iterfind("schema"))[:273]:
        left, pronoun, right = (clean(item.find("text").findtext(name)) for name in ("txt1", "pron", "txt2"))
        options = [clean(answer.text) for answer in item.findall("answers/answer")]
        yield schema(left, pronoun, right, options, "AB".index(clean(item.findtext("correctAnswer"))[0]), spaces)


def wsc273_mask(path):
    """The form without pronouns: nothing says whose 's it is."""
    for block in re.split(r"\n\s*\n", open(path, encoding="utf-8").read().strip()):
        text, mask, options, right = block.split("\n")
        left, rest = (" ".join(part.split()) for part in text.split(mask))
        options = [option.strip() for option in options.split(",")]
        yield schema(left, mask, rest, options, options.index(right.strip()), " ")


def lambada(path):
    for line in list(open(path, encoding="utf-8"))[:N_LAMBADA]:
        words = json.loads(line)["text"].split(" ")
        yield {"choices": [words[-1]], "gold": 0, "requests": [(" ".join(words[:-1]), " " + words[-1])]}


BENCHMARKS = {
    "arc_easy": lambda folder: arc(folder / "arc_easy.jsonl"),
    "wsc273": lambda folder: wsc273(folder / "WSCollection.xml"),
    "copa": lambda folder: copa(folder / "copa-test.xml"),
    "wsc273_mask": lambda folder: wsc273_mask(folder / "wsc273.txt"),
    "lambada": lambda folder: lambada(folder / "lambada_test.jsonl"),
    "arc_challenge": lambda folder: arc(folder / "arc_challenge.jsonl"),
    "wsc273_04": lambda folder: wsc273(folder / "WSCollection.xml", "  "),
    "copa_04": lambda folder: copa(folder / "copa-test.xml", "  "),
}


def encode_pair(encode, context, continuation):
    """lm_eval/api/model.py, `_encode_pair`."""
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces > 0:
        continuation = context[-n_spaces:] + continuation
        context = context[:-n_spaces]
    whole, start = encode(context + continuation), encode(context)
    return whole[: len(start)], whole[len(start) :]


@torch.no_grad()
def score(model, pairs):
    """Of each (context ids, continuation ids) ln P, number of tokens and whether they are the greedy ones. Filling comes last, where a causal model does not see it."""
    out = [None] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    while order:
        batch, longest = [], 0
        while order and len(batch) < MAX_SEQUENCES:
            longest = len(pairs[order[0]][0]) + len(pairs[order[0]][1]) - 1
            if batch and longest * (len(batch) + 1) > MAX_TOKENS:
                break
            batch.append(order.pop(0))
        longest = max(len(a) + len(b) - 1 for a, b in (pairs[i] for i in batch))
        rows = [(a + b)[:-1] for a, b in (pairs[i] for i in batch)]
        states = model.model(torch.tensor([row + [0] * (longest - len(row)) for row in rows]), use_cache=False).last_hidden_state
        for row, i in enumerate(batch):
            context, continuation = pairs[i]
            logits = model.lm_head(states[row, len(context) - 1 : len(context) + len(continuation) - 1]).double()
            tokens = torch.tensor(continuation)
            chosen = torch.log_softmax(logits, -1).gather(1, tokens[:, None])
            out[i] = (round(float(chosen.sum()), 6), len(continuation), bool((logits.argmax(-1) == tokens).all()))
        if (len(pairs) - len(order)) % 10 == 0:
            print(f"  {len(pairs) - len(order)} of {len(pairs)}", flush=True)
    return out


def main():
    path, folder, output = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    model, reader = llama_gguf.load_llama(path)
    tokenizer = tokenizer_of(reader)
    encode = lambda text: tokenizer.encode(text).ids
    for name in sys.argv[4:] or BENCHMARKS:
        items = list(BENCHMARKS[name](folder))
        started = time.time()
        scores = iter(score(model, [encode_pair(encode, *request) for item in items for request in item["requests"]]))
        for item in items:
            item["logprobs"], item["n_tokens"], item["greedy"] = zip(*(next(scores) for _ in item["requests"]))
        seconds = time.time() - started
        best = lambda item: max(range(len(item["logprobs"])), key=item["logprobs"].__getitem__)
        right = [i["greedy"][0] if len(i["choices"]) == 1 else best(i) == i["gold"] for i in items]
        print(f"{name}: {len(items)} items, {100 * sum(right) / len(items):.2f} % right, {seconds:.0f} s", flush=True)
        found = {"versions": llama_gguf.versions(), "model": path.name, "seconds": round(seconds, 1), "items": items}
        (output / f"hf_{name}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
