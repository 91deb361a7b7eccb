"""The quickstart in eager PyTorch beside crossloom: parity of a trained model, and speed of a training step.

    pip install torch==2.15 safetensors numpy pillow easy-vqa==1.0
    python tests/peers/quickstart.py parity runs/quickstart-HASH
    python tests/peers/quickstart.py speed

`parity` loads the checkpoint that crossloom trained into the PyTorch model, answers the whole test split with it and
compares every answer with crossloom's own. `speed` times the training step of both, turn by turn, on two threads and in
processes of their own, and prints medians, ratios and peak resident memory (data and libraries included on both sides).
"""

import json
import re
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
from step import ROOT, THREADS, built, measured, peak_rss

RECIPE = ROOT / "recipes" / "quickstart.toml"


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
    merge = recipe["model"]["projector"].get("merge", 1)
    return Vlm(vision, language, vocab, taps, points, rank, merge, theta=language["rope_theta"])


def data(split, recipe, vocab=None):
    return EasyVqa(Path(easy_vqa.__file__).parent / "data", split, recipe["model"]["vision"], vocab)


def visual_tokens(recipe):
    vision = recipe["model"]["vision"]
    return (vision["image_size"] // vision["patch_size"] // recipe["model"]["projector"].get("merge", 1)) ** 2


def vocabulary(run):
    """Ids of words as the run's tokenizer gives them, without the special tokens."""
    vocab = json.loads((run / "projector" / "tokenizer.json").read_text())["model"]["vocab"]
    return {word: number for word, number in vocab.items() if not word.startswith("<")}


def parity(run):
    vocab = vocabulary(run)
    words = {number: word for word, number in vocab.items()}
    for variant in ("projector", "cli"):
        recipe = resolved(variant)
        train = data("train", recipe, vocab)
        test = data("test", recipe, vocab)
        test.longest = train.longest
        model = build(recipe, train.size)
        newest = max((run / variant / "checkpoints").glob("step-*"), key=lambda p: int(p.name.split("-")[1]))
        load_checkpoint(model, load_file(newest / "model.safetensors"))
        ours = [json.loads(line)["answer"] for line in (run / variant / "samples.jsonl").read_text().splitlines()]
        tokens = visual_tokens(recipe)
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


def eager(variant, steps=40, warm_up=5):
    """Training steps of one variant in this process: median time and peak resident memory, as JSON."""
    torch.set_num_threads(THREADS)
    libraries = peak_rss()
    recipe = resolved(variant)
    train = data("train", recipe)
    settings = recipe["train"]
    tokens = visual_tokens(recipe)
    model = build(recipe, train.size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["lr"], betas=settings["betas"],
                                  eps=settings["eps"], weight_decay=settings["weight_decay"])
    batch = next(training_batches(train, settings["batch_size"], recipe["data"]["questions_per_sequence"], tokens))
    times = []
    for _ in range(warm_up + steps):
        start = time.perf_counter()
        loss, _ = model(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip_norm"])
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"median_ms": statistics.median(times[warm_up:]), "peak_rss_bytes": peak_rss(),
                      "libraries_bytes": libraries}))


def speed(rounds=5):
    """Both sides in processes of their own, turn by turn, so that a busy moment of the machine meets both."""
    profile = built()
    for variant in ("projector", "cli"):
        sides = {"eager": (sys.executable, __file__, "eager", variant), "ours": (profile, RECIPE, variant, "--json")}
        seen = {side: [] for side in sides}
        for _ in range(rounds):
            for side, command in sides.items():
                seen[side].append(measured(*command))
        middle = {side: statistics.median(r["median_ms"] for r in runs) for side, runs in seen.items()}
        peak = {side: max(r["peak_rss_bytes"] for r in runs) / 1e6 for side, runs in seen.items()}
        ratios = [e["median_ms"] / o["median_ms"] for e, o in zip(seen["eager"], seen["ours"])]
        planned = seen["ours"][0]["planned_bytes"] / 1e6
        libraries = seen["eager"][0]["libraries_bytes"] / 1e6
        print(f"{variant}: step {middle['eager']:.1f} ms in PyTorch {torch.__version__} eager, {middle['ours']:.1f} ms in "
              f"crossloom, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}); peak resident "
              f"memory {peak['eager']:.0f} MB ({libraries:.0f} MB of it before any data) and {peak['ours']:.0f} MB ({planned:.1f} MB "
              f"of it the step's plan)")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["parity", run]:
            parity(Path(run))
        case ["speed"]:
            speed()
        case ["eager", variant]:
            eager(variant)
        case _:
            sys.exit(__doc__)
