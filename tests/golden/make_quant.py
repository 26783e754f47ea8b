#!/usr/bin/env python3
"""Writes quant.json: what ggml itself makes of awkward blocks, for tests/quant.rs.

    make_quant.py <libggml-base.so> [<output>]

The library is built from llama.cpp's source (`cmake --build … --target ggml-base`, no options: its reference functions are
compiled without fused multiply-add). Quantization is `ggml_quantize_chunk` (the `quantize_row_*_ref` functions), the way
back is `to_float` of the type's traits. Made with Python 3.11.7, numpy 2.4.6, ggml 0.25.3 (llama.cpp of
llama-cpp-python 0.3.36). The seed is fixed, so a second run writes the same file.

Hexadecimal strings are little-endian bytes. A NaN among the weights is written as 7fc00000, whatever its bits. Of the weights of
formats that came later only the FNV-1a hash of those bytes is written.
"""

import ctypes
import json
import platform
import sys
from pathlib import Path

import numpy as np

# ggml's number, weights and bytes of a block. (In this order: the random numbers depend on it.)
FORMATS = {
    "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34), "BF16": (30, 1, 2),
    "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "IQ4_NL": (20, 32, 18), "MXFP4": (39, 32, 17),
    "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210),
    "IQ4_XS": (23, 256, 136), "TQ1_0": (34, 256, 54), "TQ2_0": (35, 256, 66),
}
# Where a block has its f16 numbers; the others have them at 0.
HALVES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "MXFP4": [], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "TQ1_0": [52], "TQ2_0": [64]}
PLAIN = ["F16", "Q4_0", "Q4_1", "Q8_0", "BF16"]
# Whose quantizer there is here too.
MADE = [*PLAIN, "Q5_0", "Q5_1"]
N = 32
rng = np.random.default_rng(20)


class TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    ]


def load(path):
    lib = ctypes.CDLL(path)
    lib.ggml_get_type_traits.restype = ctypes.POINTER(TypeTraits)
    lib.ggml_version.restype = ctypes.c_char_p
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return lib


def quantize(lib, name, values):
    ggml_type, block_len, block_bytes = FORMATS[name]
    values = np.ascontiguousarray(values, np.float32)
    out = np.zeros(values.size // block_len * block_bytes, np.uint8)
    n = lib.ggml_quantize_chunk(ggml_type, values.ctypes.data, out.ctypes.data, 0, 1, values.size, None)
    assert n == out.size, (name, n, out.size)
    return out


def dequantize(lib, name, data):
    ggml_type, block_len, block_bytes = FORMATS[name]
    traits = lib.ggml_get_type_traits(ggml_type).contents
    assert (traits.blck_size, traits.type_size) == (block_len, block_bytes), name
    out = np.zeros(data.size // block_bytes * block_len, np.float32)
    traits.to_float(data.ctypes.data, out.ctypes.data, out.size)
    out[np.isnan(out)] = np.nan
    return out


def value_blocks(n=N):
    """Named blocks of finite f32, where ggml's conversions are all defined."""
    normal = lambda scale: (rng.standard_normal(n) * scale).astype(np.float32)
    steps = np.arange(n, dtype=np.float32)
    yield "zeros", np.zeros(n, np.float32)
    yield "negative zeros", np.full(n, -0.0, np.float32)
    for i in range(12):
        yield f"normal {i}", normal(10.0 ** (i - 8))
    yield "one positive spike", np.where(steps == 7, 3.5, 0.0).astype(np.float32)
    yield "one negative spike", np.where(steps == 31, -3.5, 0.0).astype(np.float32)
    yield "constant", np.full(n, 0.3, np.float32)
    yield "constant, negative", np.full(n, -1e-3, np.float32)
    yield "ascending", steps
    yield "descending from positive", 31 - steps
    yield "extremes of equal magnitude", np.where(steps % 2 == 0, 1.0, -1.0).astype(np.float32)
    yield "ties: halves of a step of 1/127", (steps - 15.5) / np.float32(15.5) * np.float32(63.5)
    yield "ties: multiples of 0.5", (steps - 16) * np.float32(0.5)
    if n > N:
        return
    yield "large offset, small range", (np.float32(1000) + normal(0.01)).astype(np.float32)
    yield "subnormal f16 scale", normal(3e-7)
    yield "scale below the smallest f16", normal(2e-10)
    yield "scale near the largest f16", (normal(1.0) * np.float32(4e5)).astype(np.float32)
    yield "f16 scale overflows", np.where(steps == 3, 1e9, steps).astype(np.float32)
    yield "largest f32", np.where(steps == 3, np.finfo(np.float32).max, steps).astype(np.float32)
    yield "f16 ties", (2048 + 2 * steps - 1).astype(np.float32)
    yield "f16 edges", np.array(
        [65504, 65519.996, 65520, -65520, 6.1035156e-05, 6.097555e-05, 5.9604645e-08, 2.9802322e-08, 2.98023259e-08, 1e-8]
        + [-5.9604645e-08, 8.940697e-08, 1.4901161e-07, 0.33333334, 1.0009766, 1.0004883, 1.0014648, 0, -0.0, 1, 2]
        + [3.4e38, -3.4e38, 1e-45, 1e-38, -1e-38, 3.3895314e38, 1.0039062, 1.0078125, 1.0117188, 1.01171875, 0.1], np.float32)
    yield "f32 of random bits, no exponent over 2^100", random_bits(N)


def random_bits(n):
    bits = rng.integers(0, 2**32, n, dtype=np.uint64).astype(np.uint32)
    exponent = (bits >> 23) & 0xFF
    return np.where(exponent > 227, bits & 0x9FFFFFFF, bits).astype(np.uint32).view(np.float32)


SCALES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x83FF, 0x2E66, 0xB001, 0x3C00, 0x7BFF, 0xFBFF]
NON_FINITE = [0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF]


def bit_blocks(name):
    """Named blocks as a file could hold them: every kind of scale beside random quants."""
    _, block_len, block_bytes = FORMATS[name]
    if block_len == 1:
        specials = SCALES + NON_FINITE + [0x7F80, 0xFF80, 0x7FC1, 0x7F7F, 0x0080, 0x007F]
        yield "special numbers", np.array(specials, "<u2").view(np.uint8)
        yield "random bits", rng.integers(0, 256, 128 * block_bytes, dtype=np.uint8)
        return
    for scale in SCALES + NON_FINITE:
        block = rng.integers(0, 256, block_bytes, dtype=np.uint8)
        block[0:2] = np.array([scale], "<u2").view(np.uint8)
        if name == "Q4_1":
            block[2:4] = np.array([SCALES[int(rng.integers(len(SCALES)))]], "<u2").view(np.uint8)
        yield f"scale {scale:04x}", block
    if name == "Q4_1":
        for minimum in SCALES + NON_FINITE:
            block = rng.integers(0, 256, block_bytes, dtype=np.uint8)
            block[0:4] = np.array([0x2E66, minimum], "<u2").view(np.uint8)
            yield f"minimum {minimum:04x}", block
    every_byte = np.zeros(block_bytes * 16, np.uint8).reshape(16, block_bytes)
    every_byte[:, -16:] = np.arange(256, dtype=np.uint8).reshape(16, 16)
    every_byte[:, 0:2] = np.array([0x1C01], "<u2").view(np.uint8)
    yield "every quant byte", every_byte.reshape(-1)


def coded_blocks(name):
    """The same for the formats whose codes, scales and scales of scales lie anywhere: every kind of number in every f16, in a
    block of random bits; then eight blocks of random bits with harmless numbers."""
    _, _, block_bytes = FORMATS[name]
    places = HALVES.get(name, [0])
    put = lambda block, at, half: block.__setitem__(slice(at, at + 2), np.array([half], "<u2").view(np.uint8))
    for at in places:
        for half in SCALES + NON_FINITE:
            block = rng.integers(0, 256, block_bytes, dtype=np.uint8)
            for other in places:
                put(block, other, SCALES[int(rng.integers(len(SCALES)))])
            put(block, at, half)
            yield f"{half:04x} at {at}", block
    if name == "MXFP4":
        for exponent in [0, 1, 2, 3, 100, 126, 127, 128, 129, 250, 251, 252, 253, 254, 255]:
            block = rng.integers(0, 256, block_bytes, dtype=np.uint8)
            block[0] = exponent
            yield f"exponent {exponent}", block
    for i in range(3):
        many = rng.integers(0, 256, 8 * block_bytes, dtype=np.uint8).reshape(8, block_bytes)
        for block in many:
            for at in places:
                put(block, at, 0x2E66 + int(rng.integers(2000)))
            if name == "MXFP4":
                block[0] = 120 + int(rng.integers(16))
        yield f"random bits {i}", many.reshape(-1)


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main():
    lib = load(sys.argv[1])
    output = Path(sys.argv[2] if len(sys.argv) > 2 else Path(__file__).with_name("quant.json"))
    versions = {"ggml": lib.ggml_version().decode(), "numpy": np.__version__, "python": platform.python_version()}
    print(versions)
    values = list(value_blocks())
    every_f16 = dequantize(lib, "F16", np.arange(65536, dtype="<u2").view(np.uint8))
    long_values = None
    cases = []
    for name, (_, block_len, _) in FORMATS.items():
        if block_len > N:
            values = long_values = long_values or list(value_blocks(block_len))
        for what, block in values if name in MADE else []:
            data = quantize(lib, name, block)
            assert not np.isnan(block).any() and block.size == N, what
            cases.append({"format": name, "kind": "quantize", "name": what, "weights": block.astype("<f4").tobytes().hex(), "bytes": data.tobytes().hex()})
        from_values = ((what, quantize(lib, name, block)) for what, block in values)
        for what, data in [*(bit_blocks(name) if name in PLAIN else coded_blocks(name)), *from_values]:
            weights = dequantize(lib, name, data).astype("<f4").tobytes()
            weights = {"weights": weights.hex()} if name in PLAIN else {"fnv1a64": f"{fnv1a64(weights):016x}"}
            cases.append({"format": name, "kind": "dequantize", "name": what, **weights, "bytes": data.tobytes().hex()})
    golden = {"versions": versions, "f16_to_f32_fnv1a64": f"{fnv1a64(every_f16.astype('<f4').tobytes()):016x}"}
    lines = ",\n".join(json.dumps(case) for case in cases)
    output.write_text(json.dumps(golden)[:-1] + ', "cases": [\n' + lines + "\n]}\n")
    print(f"{len(cases)} cases, {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
