"""What crossloom trained on conversations and gave away, read by transformers: equal logits.

    pip install torch transformers "pillow<13" safetensors
    python tests/peers/llava.py

A test of crossloom-run trains tiny checkpoints of LLaVA-1.5 and LLaVA-OneVision (`tests/oracle/make_llava_fixtures.py`) for a few steps
on conversations with two photographs, one in tiles and none, also with cross-layer injection, and writes what it gives away and the
logits of what it holds. Here

- both load in transformers, nothing missing, unexpected or of another shape, and give these logits;
- so does what `crossloom train` trained on a stream of such conversations and `crossloom model export` wrote;
- so does the injected one with hooks before its layers, whose weights are those that were trained.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LlavaOnevisionForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))
from make_llava_fixtures import CASES, Injection, llava, logits, onevision  # noqa: E402

TESTS = "trained_on_conversations_is_given_away_and_read_back_bit_for_bit"
MODELS = {
    "llava": (LlavaForConditionalGeneration, llava),
    "onevision": (LlavaOnevisionForConditionalGeneration, onevision),
    "run-given-away": (LlavaOnevisionForConditionalGeneration, onevision),
    "injected": (LlavaOnevisionForConditionalGeneration, onevision),
}


def loaded(kind, folder):
    model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not any(info.values()), info
    return model.double().eval()


def main():
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        command = os.environ.get("CROSSLOOM_TEST", "cargo test -q --workspace --test experiment_run").split()
        subprocess.run([*command, TESTS], cwd=ROOT / "crates/crossloom-run", check=True,
                       env={**os.environ, "CROSSLOOM_LLAVA_OUT": str(place)})
        found = load_file(place / "found" / "model.safetensors") | load_file(place / "found-of-run" / "model.safetensors")
        for name, (kind, made) in MODELS.items():
            _, processor = made()
            model = loaded(kind, place / name)
            config = json.loads((place / name / "config.json").read_text())
            injection = None
            if name == "injected":
                injection = Injection(model).double()
                with torch.no_grad():
                    for weight, value in injection.named_weights().items():
                        value.copy_(found[weight].view_as(value))
                injection.hook(model)
            for case, (pictures, turns) in CASES.items():
                _, theirs = logits(model, processor, pictures, turns, injection)
                ours = found[f"logits.{name}.{case}"]
                off = ((theirs - ours).abs().max() / theirs.abs().max()).item()
                print(f"{name} ({config['model_type']}), {case}: {off:.1e} apart")
                assert off < 1e-4, off


if __name__ == "__main__":
    main()
