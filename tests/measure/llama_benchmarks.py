#!/usr/bin/env python3
"""What llama.cpp itself says of the texts in hf_NAME.json (tests/measure/make_benchmarks.py), with its defaults: ln P of each choice, written
into the same file as `llama_cpp`.

    llama_benchmarks.py <model.gguf> <folder of hf_*.json> NAME …

What a text has in common with the one before is kept. llama-cpp-python 0.3.36 has to be importable.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import llama_gguf
from make_benchmarks import encode_pair

N_CTX = 2048


class Scorer:
    def __init__(self, path):
        self.llama = llama_gguf.LlamaCpp(path, N_CTX)
        self.kept = []

    def encode(self, text):
        return self.llama.tokenize(text, False, False)

    def logprob(self, context, continuation):
        lib, handle = self.llama.lib, self.llama.context
        tokens = context + continuation[:-1]
        common = next((i for i, (a, b) in enumerate(zip(tokens, self.kept)) if a != b), min(len(tokens), len(self.kept)))
        # The last token of the context is computed again: its logits are wanted.
        start = min(common, len(context) - 1)
        lib.llama_memory_seq_rm(lib.llama_get_memory(handle), 0, start, -1)
        batch = lib.llama_batch_init(len(tokens) - start, 0, 1)
        batch.n_tokens = len(tokens) - start
        for i, token in enumerate(tokens[start:]):
            position = start + i
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position, 1, 0
            batch.logits[i] = position >= len(context) - 1
        assert lib.llama_decode(handle, batch) == 0
        total = 0.0
        for k, token in enumerate(continuation):
            row = lib.llama_get_logits_ith(handle, len(context) - 1 - start + k)
            row = np.ctypeslib.as_array(row, (self.llama.n_vocab,)).astype(np.float64)
            total += row[token] - row.max() - np.log(np.exp(row - row.max()).sum())
        lib.llama_batch_free(batch)
        self.kept = tokens
        return float(total)


def main():
    scorer = Scorer(sys.argv[1])
    for name in sys.argv[3:]:
        path = Path(sys.argv[2]) / f"hf_{name}.json"
        found = json.loads(path.read_text())
        started = time.time()
        for item in found["items"]:
            pairs = [encode_pair(scorer.encode, *request) for request in item["requests"]]
            item["llama_cpp"] = [round(scorer.logprob(*pair), 6) for pair in pairs]
        path.write_text(json.dumps(found | {"llama_cpp_python": scorer.llama.version()}) + "\n")
        best = lambda numbers: max(range(len(numbers)), key=numbers.__getitem__)
        same = sum(best(i["llama_cpp"]) == best(i["logprobs"]) for i in found["items"]) / len(found["items"])
        right = sum(best(i["llama_cpp"]) == i["gold"] for i in found["items"]) / len(found["items"])
        apart = np.abs(np.concatenate([np.subtract(i["llama_cpp"], i["logprobs"]) for i in found["items"]]))
        print(f"{name}: {100 * same:.1f} % the same choice as transformers, {100 * right:.1f} % right, ln P apart by {apart.mean():.4f} in the mean, at most {apart.max():.3f}, {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
