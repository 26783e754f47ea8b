"""Makes the parts in tests/golden/split from its whole.gguf (a model of tests/common/tiny_llama.rs with one layer of width 32):
by llama.cpp's own tool, with tensors in the first part and without, and by gguf-py's writer.

    make_split.py <source of llama-cpp-python> [--tool <gguf-split>]

The tool is built from that source with c++, unless one is given. What it needs of libllama is the names of parts alone; those
two functions are written here again, so that ggml's base is all that is compiled.

Python 3.11.7, gguf 0.19.0, numpy 2.4.6, llama-cpp-python 0.3.36 (its vendor/llama.cpp), g++ 12.2.
"""

import argparse
import pathlib
import subprocess
import tempfile

import gguf

HERE = pathlib.Path(__file__).parent / "split"
TENSORS_PER_PART = 5
# ggml's base library.
BASE = ["ggml.c", "ggml.cpp", "ggml-alloc.c", "ggml-backend.cpp", "ggml-backend-meta.cpp", "ggml-threading.cpp", "ggml-quants.c", "gguf.cpp"]

STUB = """
#include <cstdint>
#include <cstdio>
#include <string>
extern "C" int32_t llama_split_path(char * path, size_t size, const char * stem, int32_t no, int32_t count) {
    return snprintf(path, size, "%s-%05d-of-%05d.gguf", stem, no + 1, count);
}
extern "C" int32_t llama_split_prefix(char *, size_t, const char *, int32_t, int32_t) { return 0; } // for merging only
extern "C" const char * llama_version(void) { return ""; }
int llama_build_number(void) { return 0; }
const char * llama_commit(void) { return ""; }
const char * llama_compiler(void) { return ""; }
const char * llama_build_target(void) { return ""; }
"""


def build_tool(source, folder):
    llama = pathlib.Path(source) / "vendor/llama.cpp"
    ggml = llama / "ggml/src"
    (folder / "stub.cpp").write_text(STUB)
    (folder / "ggml-version.h").write_text('#define GGML_VERSION ""\n#define GGML_COMMIT ""\n')
    options = ["-O1", "-w", "-D_GNU_SOURCE"]
    include = [f"-I{folder}"] + [f"-I{llama / p}" for p in ["include", "common", "ggml/include", "ggml/src", "vendor"]]
    objects = []
    for file in BASE:
        objects.append(folder / f"{file}.o")
        compiler = ["cc"] if file.endswith(".c") else ["c++", "-std=c++17"]
        subprocess.run([*compiler, *options, *include, "-c", ggml / file, "-o", objects[-1]], check=True)
    tool = folder / "gguf-split"
    files = [llama / "tools/gguf-split/gguf-split.cpp", folder / "stub.cpp", *objects]
    subprocess.run(["c++", "-std=c++17", *options, *include, *files, "-lpthread", "-ldl", "-lm", "-o", tool], check=True)
    return tool


def split_by_tool(tool):
    for name, more in [("gguf-split", []), ("gguf-split-empty-first", ["--no-tensor-first-split"])]:
        options = ["--split", "--split-max-tensors", str(TENSORS_PER_PART), *more]
        subprocess.run([tool, *options, HERE / "whole.gguf", HERE / name], check=True)


def split_by_gguf_py():
    reader = gguf.GGUFReader(HERE / "whole.gguf")
    writer = gguf.GGUFWriter(None, "llama", split_max_tensors=TENSORS_PER_PART)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind, *rest = field.types
        writer.add_key_value(field.name, field.contents(), kind, sub_type=rest[-1] if rest else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file(HERE / "gguf-py.gguf")
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("--tool")
    args = parser.parse_args()
    for old in HERE.glob("*-of-*.gguf"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        split_by_tool(args.tool or build_tool(args.source, pathlib.Path(folder)))
    split_by_gguf_py()


main()
