"""The quickstart in eager PyTorch beside crossloom: parity of a trained model, and speed of a training step.

    pip install torch safetensors numpy pillow easy-vqa==1.0
    python tests/peers/quickstart.py parity runs/quickstart-HASH
    python tests/peers/quickstart.py speed

`parity` loads the checkpoint that crossloom trained into the PyTorch model, answers the whole test split with it and
compares every answer with crossloom's own. `speed` times the training step of both, turn by turn, on two threads, and
prints medians, ratios and peak memory.
"""

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import easy_vqa
import torch
from safetensors.torch import load_file

from data import EasyVqa, test_batches, training_batches
from model import Vlm, load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "quickstart.toml"
THREADS = 2


def resolved(variant):
    """The numbers of a variant, from crossloom itself."""
    out = subprocess.run(["cargo", "run", "-q", "--release", "--", "resolve", str(RECIPE), "--variant", variant, "--json"],
                         cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["variants"][variant]["recipe"]


def build(recipe, vocab):
    vision, language, topology = recipe["model"]["vision"], recipe["model"]["language"], recipe["topology"]
    taps = [int(tap.split(".")[1]) for tap in topology["taps"]]
    points = [int(re.search(r"\d+", point)[0]) for point in topology["points"]]
    rank = topology["adapter"].get("rank", 0)
    return Vlm(vision, language, vocab, taps, points, rank, theta=language["rope_theta"])


def data(split, vocab=None):
    return EasyVqa(Path(easy_vqa.__file__).parent / "data", split, vocab)


def parity(run):
    train = data("train")
    test = data("test", train.vocab)
    test.longest = train.longest
    words = {number: word for word, number in train.vocab.items()}
    for variant in ("projector", "cli"):
        recipe = resolved(variant)
        model = build(recipe, train.size)
        newest = max((run / variant / "checkpoints").glob("step-*"), key=lambda p: int(p.name.split("-")[1]))
        load_checkpoint(model, load_file(newest / "model.safetensors"))
        ours = [json.loads(line)["answer"] for line in (run / variant / "samples.jsonl").read_text().splitlines()]
        tokens = (recipe["model"]["vision"]["image_size"] // recipe["model"]["vision"]["patch_size"]) ** 2
        theirs = []
        with torch.no_grad():
            for batch in test_batches(test, 32, recipe["data"]["questions_per_sequence"], tokens):
                _, logits = model(batch)
                kept = batch["targets"][:, ::2] >= 0
                theirs += [words.get(i, "") for i in logits.argmax(-1)[:, ::2][kept].tolist()]
        order = [n for _, n in sorted((image, n) for n, (_, _, image) in enumerate(questions("test")))]
        same = sum(theirs[place] == ours[number] for place, number in enumerate(order))
        print(f"{variant}: {same} of {len(ours)} answers are the same ({100 * same / len(ours):.2f} %)")


def questions(split):
    return json.loads((Path(easy_vqa.__file__).parent / "data" / split / "questions.json").read_text())


def speed(rounds=7, steps=20):
    torch.set_num_threads(THREADS)
    train = data("train")
    for variant in ("projector", "cli"):
        recipe = resolved(variant)
        settings = recipe["train"]
        tokens = (recipe["model"]["vision"]["image_size"] // recipe["model"]["vision"]["patch_size"]) ** 2
        model = build(recipe, train.size)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], betas=settings["betas"])
        batch = next(training_batches(train, settings["batch_size"], recipe["data"]["questions_per_sequence"], tokens))

        def step():
            loss, _ = model(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
            optimizer.step()

        for _ in range(5):
            step()
        eager, ours, memory = [], [], 0
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(steps):
                step()
            eager.append(1e3 * (time.perf_counter() - start) / steps)
            out = subprocess.run(["cargo", "run", "-q", "--release", "-p", "crossloom", "--example", "step_profile", "--",
                                  str(RECIPE), variant, "--json"], cwd=ROOT, check=True, capture_output=True, text=True,
                                 env={**os.environ, "RAYON_NUM_THREADS": str(THREADS)}).stdout
            report = json.loads(out)
            ours.append(report["median_ms"])
            memory = report["memory_bytes"] / 1e6
        ratio = statistics.median(e / o for e, o in zip(eager, ours))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"{variant}: PyTorch {torch.__version__} eager {statistics.median(eager):.1f} ms, crossloom "
              f"{statistics.median(ours):.1f} ms, ratio {ratio:.2f}; memory: PyTorch process {peak:.0f} MB, crossloom plan "
              f"{memory:.1f} MB")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["parity", run]:
            parity(Path(run))
        case ["speed"]:
            speed()
        case _:
            sys.exit(__doc__)
