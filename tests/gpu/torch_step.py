"""A training step of CLI in PyTorch at the sizes of a recipe, in `bf16`, with random weights; and the bandwidth of a copy. One line of JSON.

    python torch_step.py RESOLVED.json eager|compile BATCH TOKENS TARGETS
"""

import json
import re
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
from model import Vlm  # noqa: E402
from torch_timing import timed  # noqa: E402


def main():
    resolved, how, batch, tokens, targets = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_default_device("cuda")
    torch.manual_seed(0)
    recipe = next(iter(json.loads(Path(resolved).read_text())["variants"].values()))["recipe"]
    vision, language, topology = recipe["model"]["vision"], recipe["model"]["language"], recipe["topology"]
    taps = [int(tap.split(".")[1]) for tap in topology["taps"]]
    points = [int(re.search(r"\d+", point)[0]) for point in topology["points"]]
    model = Vlm(vision, language, language["vocab_size"], taps, points, topology["adapter"]["rank"], theta=language["rope_theta"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    visual = (vision["image_size"] // vision["patch_size"]) ** 2
    place = torch.arange(tokens).expand(batch, tokens)
    inputs = {
        "pixels": torch.randn(batch, vision["channels"], vision["image_size"], vision["image_size"]),
        "tokens": torch.randint(language["vocab_size"], (batch, tokens)),
        "positions": place,
        "segments": (place >= visual).long(),
        "image_index": torch.arange(visual).expand(batch, visual),
        "target_index": (tokens - 1 - targets + torch.arange(targets)).expand(batch, targets),
        "targets": torch.randint(language["vocab_size"], (batch, targets)),
    }
    run = torch.compile(model) if how == "compile" else model

    def step():
        with torch.autocast("cuda", torch.bfloat16):
            loss, _ = run(inputs)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    seconds = timed(step, 8, 3)
    big = torch.empty(1 << 28)
    other = torch.empty_like(big)
    copied = timed(lambda: other.copy_(big), 10, 3)
    print(json.dumps({
        "seconds": seconds,
        "peak_bytes": torch.cuda.max_memory_allocated(),
        "copy_bytes_per_second": 2 * big.numel() * 4 / copied,
        "torch": torch.__version__,
    }))


main()
