"""easy-VQA packed as crossloom packs it: several questions of a picture behind one image, block-diagonal masks."""

import json
import random
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PAD, IMAGE, UNK, EOS, ANSWER = range(5)


class EasyVqa:
    """The questions of a split and its pictures, as the `[model.vision]` of a recipe wants them."""

    def __init__(self, root, split, vision, vocab=None):
        folder = Path(root) / split
        questions = json.loads((folder / "questions.json").read_text())
        count = 1 + max(image for _, _, image in questions)
        side = (vision["image_size"],) * 2
        pictures = (Image.open(folder / "images" / f"{i}.png").convert("RGB") for i in range(count))
        pixels = np.stack([np.asarray(picture.resize(side, Image.Resampling.BICUBIC)) for picture in pictures])
        mean, std = (torch.tensor(vision[name]).view(3, 1, 1) for name in ("image_mean", "image_std"))
        self.pixels = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255) - mean) / std
        words = [(re.findall(r"\w+|[^\w\s]", q.lower()), a.lower(), i) for q, a, i in questions]
        if vocab is None:
            seen = sorted({w for q, a, _ in words for w in [*q, a]})
            vocab = {w: 5 + n for n, w in enumerate(seen)}
        self.vocab, self.size = vocab, 5 + len(vocab)
        self.by_image = [[] for _ in range(count)]
        for q, a, i in words:
            self.by_image[i].append(([vocab.get(w, UNK) for w in q], vocab.get(a, UNK)))
        self.longest = max(len(q) for q, _, _ in words) + 3


def pack(data, chosen, per_row, tokens_visual):
    """Batch tensors for a list of (image, [(question, answer), …])."""
    t = tokens_visual + per_row * data.longest
    t = -(-t // 8) * 8
    b, m = len(chosen), 2 * per_row
    tokens = np.full((b, t), PAD)
    positions, segments = np.zeros((b, t), int), np.full((b, t), -1)
    target_index, targets = np.zeros((b, m), int), np.full((b, m), -1)
    tokens[:, :tokens_visual], positions[:, :tokens_visual], segments[:, :tokens_visual] = IMAGE, np.arange(tokens_visual), 0
    for row, (_, questions) in enumerate(chosen):
        at = tokens_visual
        for number, (question, answer) in enumerate(questions):
            ids = [*question, ANSWER, answer, EOS]
            end = at + len(ids)
            tokens[row, at:end], segments[row, at:end] = ids, number + 1
            positions[row, at:end] = tokens_visual + np.arange(len(ids))
            target_index[row, 2 * number: 2 * number + 2] = end - 3, end - 2
            targets[row, 2 * number: 2 * number + 2] = answer, EOS
            at = end
    image_index = np.tile(np.arange(tokens_visual), (b, 1))
    batch = {"tokens": tokens, "positions": positions, "segments": segments, "target_index": target_index,
             "targets": targets, "image_index": image_index}
    batch = {name: torch.from_numpy(value) for name, value in batch.items()}
    batch["pixels"] = data.pixels[[image for image, _ in chosen]]
    return batch


def training_batches(data, batch_size, per_row, tokens_visual, seed=0):
    rng = random.Random(seed)
    order = []
    while True:
        chosen = []
        while len(chosen) < batch_size:
            if not order:
                order = list(range(len(data.by_image)))
                rng.shuffle(order)
            image = order.pop()
            questions = data.by_image[image]
            chosen.append((image, rng.sample(questions, min(per_row, len(questions)))))
        yield pack(data, chosen, per_row, tokens_visual)


def test_batches(data, batch_size, per_row, tokens_visual):
    rows = [(i, q[s:s + per_row]) for i, q in enumerate(data.by_image) for s in range(0, len(q), per_row)]
    for start in range(0, len(rows), batch_size):
        yield pack(data, rows[start:start + batch_size], per_row, tokens_visual)
