#!/usr/bin/env python3
"""Writes www/pkg/src/known-templates.ts: the chat templates that are known, by hash, and the models that they belong to.

    python3 tests/golden/make_known_templates.py LLAMA_CPP_SOURCE FILES.gguf…

Sources: llama.cpp's models/templates/*.jinja, the templates of its vocabularies (models/ggml-vocab-*.gguf), those that its
tests/test-chat-template.cpp takes over from models unchanged, and GGUF files given by name (the default model). A template counts
without its last newline, which Jinja drops and the tools that write templates into files add or not.
"""

import ast
import base64
import hashlib
import re
import sys
from pathlib import Path

from gguf import GGUFReader

# What a template is called in its source, the architectures (none: any), and a word of the model's name (none: any) that say that
# a file is of the family. A word is needed where families share an architecture.
FAMILIES = """
Apertus, apertus,
Apriel, , apriel
Bielik, llama, bielik
ByteDance-Seed, seed_oss,
Cohere2MoE, cohere2moe,
c4ai-command-r7b, cohere2,
command-r, command-r,
GLM-4, glm4moe glm4 deepseek2 glm-dsa, glm
GigaChat3, deepseek2, gigachat
SmolLM3, smollm3,
SmolLM2, llama, smollm2
Kimi-K2, deepseek2, kimi
Kimi-K3, kimi-k3,
LFM2, lfm2 lfm2moe,
MiMo-VL, qwen2vl, mimo
MiniMax-M1, minimax-01,
MiniMax-M2, minimax-m2,
MiniMax-M3, minimax-m3,
Hermes, llama, hermes
[Mm]i(ni)?stral|Devstral, llama mistral3, stral
Nemotron, nemotron_h nemotron_h_moe,
QwQ, qwen2, qwq
R1-Distill-Qwen, qwen2, deepseek
R1-Distill-Llama, llama, deepseek
Qwen2|qwen2, qwen2 qwen2moe, qwen
Qwen3.5, qwen35 qwen35moe,
Qwen3, qwen3 qwen3moe qwen3next, qwen
Reka, , reka
Spark2.5, spark2_5,
StepFun3.5, step35,
DeepSeek-V4, deepseek4,
deepseek-coder, llama, deepseek
[Dd]eep[Ss]eek, deepseek2 deepseek32, deepseek
firefunction, llama, firefunction
functionary, llama, functionary
gemma-4, gemma4,
gemma-2, gemma2,
gemma-7b, gemma,
granite, granite granitemoe granitehybrid,
ling-3, bailingmoe2 bailingmoe3,
rwkv, rwkv6 rwkv7 arwkv7 rwkv6qwen2,
Llama-3, llama, llama
[Pp]hi-?[34], phi3 phimoe, phi
muse-glimmer, muse-glimmer,
gpt-oss, gpt-oss,
MiniCPM5, , minicpm5
MiniCPM, minicpm, minicpm
Laguna, laguna,
Hy3, hy_v3,
Solar, , solar
openchat, llama, openchat
Orion, orion,
ChatGLM, chatglm glm4,
GLMEdge, chatglm llama, glm
Megrez, llama, megrez
"""
# Of llama.cpp's test: those that it has not modified or made itself.
UNCHANGED = """teknium/OpenHermes-2.5-Mistral-7B; google/gemma-7b-it; OrionStarAI/Orion-14B-Chat; openchat/openchat-3.5-0106
deepseek-ai/deepseek-coder-33b-instruct; CohereForAI/c4ai-command-r-plus; Llama-3; Phi-3-mini; Phi-3-medium; ChatGLM3; ChatGLM4; GLMEdge
DeepSeek-V2; ibm-granite/granite-3.0-8b-instruct; mistralai/Mistral-Large-Instruct-2411 (mistralai 'v7' template); phi-4
mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt); Infinigence/Megrez-3B-Instruct"""


def family_of(name):
    for line in FAMILIES.strip().splitlines():
        pattern, architectures, word = (field.strip() for field in line.split(","))
        if re.search(pattern, name):
            return architectures, word
    raise SystemExit(f"no family for {name}")


def of_test(source):
    wanted = re.split(r"; |\n", UNCHANGED)
    string = r'"((?:[^"\\]|\\.)*)"'
    for name, template in re.findall(rf"/\* \.name= \*/\s*{string},.*?/\* \.template_str=? \*/\s*(?:U8C\()?{string}", source, re.S):
        if name in wanted:
            wanted.remove(name)
            yield re.sub(r"^.*/| \(.*$", "", name), ast.literal_eval(f'"{template}"')
    assert not wanted, wanted


def templates(llama_cpp, files):
    for path in sorted((llama_cpp / "models/templates").glob("*.jinja")):
        yield path.stem, path.read_bytes().decode()
    for path in [*files, *sorted((llama_cpp / "models").glob("ggml-vocab-*.gguf"))]:
        field = GGUFReader(path).get_field("tokenizer.chat_template")
        if field is not None:
            name = path.stem.removeprefix("ggml-vocab-").replace("qwen35", "qwen2")
            yield re.sub(r"\.Q\d.*", "", name), field.contents()
    yield from of_test((llama_cpp / "tests/test-chat-template.cpp").read_text())


def main(llama_cpp, files):
    families = {}
    seen = set()
    for name, template in templates(llama_cpp, files):
        digest = hashlib.sha256(re.sub(r"\r?\n\Z", "", template).encode()).digest()[:12]
        name = re.sub(r"^(deepseek-ai|google|ibm-granite|inclusionai|meetkai|meta-llama|microsoft|mistralai|moonshotai|openai|openbmb|"
                      r"poolside|tencent|unsloth|upstage|fireworks-ai|NousResearch|HuggingFaceTB|CohereForAI|NVIDIA|Qwen|llama-cpp)-(?=\w)", "", name)
        if digest not in seen:
            families.setdefault(family_of(name), []).append((name, digest))
        seen.add(digest)
    out = Path(__file__).parents[2] / "www/pkg/src/known-templates.ts"
    out.write_text(text_of(families))
    print(f"{len(seen)} templates, {out.stat().st_size} bytes")


def text_of(families):
    """The file's text. Families stand in the order of their first names."""
    def order(row):
        return row[0].lower()

    lines = []
    for (architectures, word), rows in sorted(families.items(), key=lambda item: order(min(item[1], key=order))):
        lines.append(f"={architectures},{word}")
        lines.extend(base64.b64encode(digest).decode() + name for name, digest in sorted(rows, key=order))
    return (
        "// Written by tests/golden/make_known_templates.py.\n\n"
        "/**\n"
        " * Of each family of models the architectures and a word of the name that they have (none: any), then its templates: SHA-256 (the first\n"
        " * 96 bits, base64) and whose it is.\n"
        " */\n"
        "export const KNOWN_TEMPLATES = `" + "\n".join(lines) + "`;\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
