"""Writes unicode_table.rs: what the tokenizers ask of Unicode, as runs of code points.

Unicode 16.0, which is what Hugging Face's tokenizers (oniguruma 6.9.10) and tiktoken (regex 1.x) use; llama.cpp is at 15.1.
Run with `pip install unicodedata2==16.0.0`, then `python3 unicode_table.py > unicode_table.rs`.
"""

import unicodedata2 as unicode

assert unicode.unidata_version == "16.0.0"

# The classes in the order of `unicode.rs`; general categories that nobody tells apart share one.
CLASSES = {"Lu": 0, "Ll": 1, "Lt": 2, "Lm": 3, "Lo": 4, "Mn": 5, "Mc": 6, "Me": 6, "Nd": 7, "Nl": 8, "No": 8, "Pc": 9, "Cn": 14}
BY_FIRST_LETTER = {"P": 10, "S": 11, "Z": 12, "C": 13}
ALTERNATING = 15  # Lu, Ll, Lu, Ll…
SPACES = {*range(0x09, 0x0E), 0x85}  # of property White_Space, those that are no separators (stable since Unicode 6.3)
END = 0x33480  # above: four runs, which unicode.rs has itself


def class_of(code_point):
    if code_point in SPACES:
        return 12
    category = unicode.category(chr(code_point))
    return CLASSES.get(category, BY_FIRST_LETTER.get(category[0]))


def varint(n):
    out = []
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return [*out, n]


def class_runs():
    """[class, length] of every run."""
    classes = [class_of(c) for c in range(END)]
    runs, at = [], 0
    while at < END:
        end = at
        while end + 2 <= END and classes[end : end + 2] == [0, 1]:
            end += 2
        if end - at >= 4:
            runs.append((ALTERNATING, end - at))
            at = end
            continue
        end = at
        while end < END and classes[end] == classes[at]:
            end += 1
        if classes[at] == 0 and end - at > 1 and end < END and classes[end] == 1 and classes[end + 1 : end + 3] == [0, 1]:
            end -= 1
        runs.append((classes[at], end - at))
        at = end
    return runs


def class_bytes():
    """A byte of class and length below 16 for each run; length 0: it follows as a varint."""
    for kind, length in class_runs():
        yield from [kind | length << 4] if length < 16 else [kind, *varint(length)]


def assigned_above():
    for c in range(END, 0x110000):
        expected = (
            13 if c == 0xE0001 or 0xE0020 <= c <= 0xE007F or 0xF0000 <= c <= 0xFFFFD or 0x100000 <= c <= 0x10FFFD
            else 5 if 0xE0100 <= c <= 0xE01EF else 14
        )
        assert class_of(c) == expected, hex(c)


def mark_bytes():
    """Runs of canonical combining classes: varint of code points without one before it, length, class."""
    after, runs = 0, []
    for c in range(0x110000):
        ccc = unicode.combining(chr(c))
        if ccc and runs and runs[-1][0] + runs[-1][1] == c and runs[-1][2] == ccc:
            runs[-1][1] += 1
        elif ccc:
            runs.append([c, 1, ccc])
    for first, length, ccc in runs:
        yield from [*varint(first - after), length, ccc]
        after = first + length


def excluded(c, pair):
    """Whether the pair is not composed again (Full_Composition_Exclusion)."""
    return unicode.normalize("NFC", pair) != c


def decompositions():
    """(code point, first, second or 0, composes) of every canonical decomposition but Hangul's."""
    for n in range(0x110000):
        c = chr(n)
        mapping = unicode.decomposition(c)
        if mapping and not mapping.startswith("<"):
            parts = [int(part, 16) for part in mapping.split()]
            pair = "".join(map(chr, parts))
            yield n, parts[0], parts[1] if len(parts) == 2 else 0, len(parts) == 2 and not excluded(c, pair)


def decomposition_bytes():
    """Columns are stored one after the other, because like compresses with like: steps of the code points, first parts as
    signed steps, second parts as index into SECONDS with the lowest bit for "composes"."""
    all = list(decompositions())
    seconds = sorted({second for _, _, second, _ in all})
    points, firsts, links = [], [], []
    last = last_first = 0
    for point, first, second, composes in all:
        points += varint(point - last)
        step = first - last_first
        firsts += varint(step << 1 if step >= 0 else (-step << 1) - 1)
        links += varint(seconds.index(second) << 1 | composes)
        last, last_first = point, first
    return points, firsts, links, seconds, len(all)


def small_letters():
    """What each character becomes in small letters, İ but for the dot above it. Python's own Unicode may be older (from 14.0) or newer."""
    since_14 = {0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7DA: 0xA7DB, 0xA7DC: 0x19B}
    since_14 |= {c: c + 0x20 for c in range(0x10D50, 0x10D66)}
    small = {}
    for n in range(0x110000):
        c = chr(n)
        if unicode.category(c) not in ("Cn", "Cs") and c.lower() != c:
            small[n] = ord(c.lower()[0])
            assert c.lower() == chr(small[n]) or n == 0x130
    return small | since_14


def lower_bytes():
    """Runs of characters that are as far from their small letters: varints of the gap before, of twice the length, + 1 where it is every
    second character, and of the signed way."""
    small, after = small_letters(), 0
    for first in sorted(small):
        if first < after:
            continue
        way, length, step = small[first] - first, 1, 1
        for each in (1, 2):
            n = 1
            while small.get(first + n * each) == first + n * each + way and (each == 1 or first + n * each - 1 not in small):
                n += 1
            if n > length:
                length, step = n, each
        yield from varint(first - after) + varint(length << 1 | step - 1) + varint(way << 1 if way >= 0 else (-way << 1) - 1)
        after = first + (length - 1) * step + 1


def write(name, doc, items, kind="u8"):
    items = list(items)
    print(f"\n/// {doc}\n#[rustfmt::skip]\npub(super) const {name}: [{kind}; {len(items)}] = [")
    line = "   "
    for item in items:
        item = f" {item}," if kind == "u8" else f" 0x{item:x},"
        if len(line) + len(item) > 120:
            print(line)
            line = "   "
        line += item
    print(f"{line}\n];")


def main():
    assigned_above()
    print("//! Generated by unicode_table.py from Unicode 16.0; do not edit.")
    write("CLASSES", "Runs of classes: class + 16 × length, or class and the length as a varint.", class_bytes())
    write("MARKS", "Runs of combining classes: varint of the gap before, length, class.", mark_bytes())
    write("LOWER", "Runs of what has a small letter: gap before, 2 × length, + 1 for every second, zigzag of the way: varints.", lower_bytes())
    points, firsts, links, seconds, n = decomposition_bytes()
    print(f"\n/// Number of canonical decompositions.\npub(super) const N_DECOMPOSITIONS: usize = {n};")
    write("POINTS", "What decomposes: varints, each a step from the one before.", points)
    write("FIRSTS", "The first part of each: zigzag varints, each a step from the one before.", firsts)
    write("LINKS", "The second part of each: varint of 2 × index in SECONDS, + 1 where the two are composed again.", links)
    write("SECONDS", "The second parts; 0 is none.", seconds, "u32")


main()
