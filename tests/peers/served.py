"""A small model that was trained on coloured pictures, and a server that answers for it: what the scripts beside this one ask.

`Served(crossloom)` is a context. Pictures are PNGs of every kind that harnesses send (RGB, palette, RGBA, grey of 8 and 16 bits) and
JPEGs. The model is trained for a minute; it need not be good, only something that is asked in two ways.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (20, 200, 40), "blue": (30, 50, 220), "grey": (128, 128, 128)}
QUESTIONS = ["what color is it?", "which color does the picture have?"]
RECIPE = """
name = "served"
[model.vision]
family = "vit"
image_size = 32
patch_size = 8
hidden = 32
layers = 2
heads = 2
mlp = 64
post_norm = true
[model.language]
family = "llama"
hidden = 32
layers = 2
heads = 2
kv_heads = 1
mlp = 64
max_positions = 64
[topology]
input = "post_norm"
taps = ["block.0", "block.1"]
points = { every = 1 }
wiring = "dense"
adapter = { kind = "amp", rank = 4 }
gate = { kind = "agf", pool = "image" }
[data]
source = { kind = "files", format = "questions", train = ["train.jsonl"], test = ["test.jsonl"], pictures = "pictures" }
questions_per_sequence = 1
[train]
steps = 60
batch_size = 16
lr = 3e-3
[eval]
max_new_tokens = 4
[variants.cli]
"""


def picture(colour, kind, shade):
    """A picture of one colour, a little lighter or darker, as a kind of file."""
    rgb = tuple(min(255, max(0, channel + shade)) for channel in COLOURS[colour])
    image = Image.new("RGB", (24 + shade % 17, 40), rgb)
    if kind == "P":
        return image.convert("P", palette=Image.Palette.ADAPTIVE), "png"
    if kind == "RGBA":
        return image.convert("RGBA"), "png"
    if kind == "JPEG":
        return image, "jpg"
    if kind == "grey":
        return image.convert("L"), "png"
    if kind == "wide grey":
        return Image.new("I;16", image.size, rgb[0] * 257), "png"
    return image, "png"


def write_data(folder):
    """Samples to train on and to test with: `train.jsonl`, `test.jsonl` and their pictures."""
    (folder / "pictures").mkdir()
    for split, count in [("train", 160), ("test", 40)]:
        rows = []
        for index in range(count):
            colour = list(COLOURS)[index % len(COLOURS)]
            kinds = ["grey", "wide grey"] if colour == "grey" else ["RGB", "P", "RGBA", "JPEG"]
            image, ending = picture(colour, kinds[index // len(COLOURS) % len(kinds)], index * 7 % 50 - 25)
            name = f"{split}-{index}.{ending}"
            image.save(folder / "pictures" / name)
            rows.append({"image": name, "question": QUESTIONS[index % len(QUESTIONS)], "answer": colour})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text)


class Served:
    """Trains, evaluates and serves; `url`, `name`, `run` (the run's folder) and `folder` (with the samples) say where."""

    def __init__(self, crossloom, *options):
        self.crossloom, self.options = str(Path(crossloom).resolve()), options

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        write_data(self.folder)
        (self.folder / "recipe.toml").write_text(RECIPE)
        runs = self.folder / "runs"
        subprocess.run([self.crossloom, "run", self.folder / "recipe.toml", "--out", runs, "--quiet"], check=True)
        (self.run,) = runs.iterdir()
        command = [self.crossloom, "serve", self.run, "--variant", "cli", "--port", "0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        self.name, self.url = re.fullmatch(r"(\S+) at (http://\S+)\n", said).groups()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, "the server did not end by itself"
        self.temporary.cleanup()

    def tests(self):
        """The test samples, in their order."""
        return [json.loads(line) for line in (self.folder / "test.jsonl").read_text().splitlines()]

    def answers(self):
        """What the run's own evaluation has for every test sample, by question and picture."""
        records = [json.loads(line) for line in next(self.run.glob("cli/**/samples.jsonl")).read_text().splitlines()]
        return {(record["image"], record["question"]): record for record in records}


def program():
    """The program: `CROSSLOOM`, or the one that cargo built for release."""
    return os.environ.get("CROSSLOOM", str(Path(__file__).resolve().parents[2] / "target/release/crossloom"))
