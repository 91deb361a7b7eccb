"""A small model that was trained on generated shapes, or a run that is there, and a server that answers for it: what the scripts beside this
one ask.

`Served(crossloom)` is a context; `run` and `variant` say what is served instead of a new one. Pictures are PNGs of every kind that harnesses send (RGB, palette, RGBA, grey of 8 and 16 bits) and
JPEGs. The model is trained for some seconds; it need not be good, only something that is asked in two ways.
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
QUESTIONS = ["what color is the shape?", "what shape is present?"]
RECIPE = """
name = "served"
[model.vision]
family = "vit"
image_size = 32
patch_size = 8
hidden = 32
layers = 3
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
max_positions = 256
[topology]
input = "post_norm"
taps = ["block.1", "block.2"]
points = { every = 1 }
wiring = "dense"
adapter = { kind = "amp", rank = 4 }
gate = { kind = "agf", pool = "image" }
[data]
source = { kind = "synthetic", train_images = 200, test_images = 20, questions_per_image = 4 }
questions_per_sequence = 4
[train]
steps = 60
batch_size = 16
lr = 3e-3
[eval]
max_new_tokens = 4
[variants.cli]
[variants.blind]
data.image = "withheld"
topology = { input = "post_norm" }
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


def samples(folder):
    """Pictures of every kind in a folder, each with a question about it."""
    made = []
    for index in range(12):
        colour = list(COLOURS)[index % len(COLOURS)]
        kinds = ["grey", "wide grey"] if colour == "grey" else ["RGB", "P", "RGBA", "JPEG"]
        image, ending = picture(colour, kinds[index // len(COLOURS) % len(kinds)], index * 7 % 50 - 25)
        path = folder / f"{index}.{ending}"
        image.save(path)
        made.append({"image": str(path), "question": QUESTIONS[index % len(QUESTIONS)]})
    return made


class Served:
    """Trains, evaluates and serves; `url`, `name`, `samples`, `run` and `folder` say what there is."""

    def __init__(self, crossloom, *options, run=None, variant="cli"):
        self.crossloom, self.options = str(Path(crossloom).resolve()), options
        self.run, self.variant = run, variant

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.samples = samples(self.folder)
        if self.run is None:
            (self.folder / "recipe.toml").write_text(RECIPE)
            runs = self.folder / "runs"
            subprocess.run([self.crossloom, "run", self.folder / "recipe.toml", "--out", runs, "--quiet"], check=True)
            (self.run,) = runs.iterdir()
        command = [self.crossloom, "serve", self.run, "--variant", self.variant, "--port", "0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = self.process.stdout.readline()
        self.name, self.url = re.fullmatch(r"(\S+) at (http://\S+)\n", said).groups()
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, "the server did not end by itself"
        self.temporary.cleanup()

    def answers(self):
        """What `generate` answers about every sample, greedily, by picture and question."""
        answers = {}
        for sample in self.samples:
            command = [self.crossloom, "generate", self.run, "--variant", self.variant, "--image", sample["image"], "--json"]
            said = subprocess.run([*command, sample["question"]], check=True, capture_output=True, text=True).stdout
            answers[sample["image"], sample["question"]] = json.loads(said)["answers"][0]["answer"]
        return answers


def program():
    """The program: `CROSSLOOM`, or the one that cargo built for release."""
    return os.environ.get("CROSSLOOM", str(Path(__file__).resolve().parents[2] / "target/release/crossloom"))
