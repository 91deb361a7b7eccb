"""Writes what transformers makes of logits before a token is drawn, for the tests of crossloom-run's engine.

Run by hand: `pip install torch transformers==5.23.0`, then `python tests/oracle/make_sampling_fixture.py`.

`sampling.json` holds logits, the tokens that were written before, and for every setting the probabilities with which
`generate(do_sample=True)` would draw: its processors in the order of `GenerationMixin._get_logits_processor`.
"""

import json
from pathlib import Path

import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

FILE = Path(__file__).resolve().parents[2] / "crates/crossloom-run/tests/fixtures/sampling.json"
VOCABULARY = 96
SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 0.8, "top_k": 12},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 1.3, "top_p": 0.35},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 1.5, "top_k": 40, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 1.0, "repetition_penalty": 1.3},
    {"temperature": 0.7, "repetition_penalty": 0.8, "top_k": 20, "top_p": 0.95},
]


def processors(setting):
    wanted = [
        ("repetition_penalty", RepetitionPenaltyLogitsProcessor),
        ("temperature", TemperatureLogitsWarper),
        ("top_k", TopKLogitsWarper),
        ("top_p", TopPLogitsWarper),
        ("min_p", MinPLogitsWarper),
    ]
    return LogitsProcessorList([make(setting[name]) for name, make in wanted if name in setting])


def main():
    torch.manual_seed(0)
    cases = []
    for scale in [1.0, 4.0]:
        logits = (torch.randn(1, VOCABULARY) * scale).float()
        written = torch.randint(0, VOCABULARY, (1, 17))
        outcomes = []
        for setting in SETTINGS:
            scores = processors(setting)(written, logits.clone())
            outcomes.append({"setting": setting, "probabilities": torch.softmax(scores, dim=-1)[0].tolist()})
        cases.append({"logits": logits[0].tolist(), "written": written[0].tolist(), "outcomes": outcomes})
    FILE.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
