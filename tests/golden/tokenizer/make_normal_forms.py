"""Prints the constants of tests/unit/normalize.rs: FNV-1a of the normal forms of texts with every character, by unicodedata2.

python3 make_normal_forms.py, with unicodedata2 16.0.0.
"""

import unicodedata2

assert unicodedata2.unidata_version == "16.0.0"


def texts():
    for n in [*range(0x30000), *range(0xE0000, 0xE0200)]:
        if not 0xD800 <= n < 0xE000:
            c = chr(n)
            yield f"{c} a{c} {c}\u0301\u0323 \u0301{c}\u0327 ᄀ{c} 가{c} {c}\u0338 {c}\u3099 か{c} ა{c}\u0323 ơ{c} <{c} ொ{c}"


for form in ["NFC", "NFD"]:
    hash = 0xCBF29CE484222325
    for text in texts():
        for byte in unicodedata2.normalize(form, text).encode():
            hash = (hash ^ byte) * 0x100000001B3 % 2**64
    print(form, hex(hash))
