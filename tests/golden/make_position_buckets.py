"""Buckets of relative positions as T5 has them: position_buckets.json.

python make_position_buckets.py        made with transformers 5.23.0, torch 2.15.0

For each number of buckets, furthest distance and form (both sides: encoders; one side: decoders) the bucket of every
distance p − position(t) from −300 to 300, by transformers' own function.
"""

import json
from pathlib import Path

import torch
from transformers.models.t5.modeling_t5 import T5Attention

cases = []
for n_buckets, max_distance in [(32, 128), (8, 20), (64, 256)]:
    for both_sides in [True, False]:
        distances = torch.arange(-300, 301)
        buckets = T5Attention._relative_position_bucket(distances, both_sides, n_buckets, max_distance)
        cases.append(
            {"n_buckets": n_buckets, "max_distance": max_distance, "both_sides": both_sides, "buckets": buckets.tolist()}
        )
path = Path(__file__).parent / "position_buckets.json"
path.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
