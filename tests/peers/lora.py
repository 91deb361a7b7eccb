"""A LoRA step over a frozen SmolLM2-135M in eager PyTorch with PEFT beside crossloom: time and memory.

    pip install torch transformers peft
    python tests/peers/lora.py bf16
    python tests/peers/lora.py f32

The model has SmolLM2-135M's shapes and random weights of the named type, for neither side's time knows what they mean. Pairs of
rank 16 stand beside `q_proj` and `v_proj`; AdamW with a clipped gradient trains them. crossloom puts 64 tokens of a picture before the
questions and trains a projector besides; PyTorch reads as many tokens of text, and only that. Both sides have two threads and
processes of their own, turn by turn.

transformers computes logits of all positions where labels are given (`all`); it can be asked for those of the answers alone, as
crossloom computes them (`answers`).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from step import THREADS, built, measured, peak_rss

RECIPE = """
name = "lora"

[model.vision]
family = "vit"
image_size = 64
patch_size = 8
hidden = 32
layers = 1
heads = 4
mlp = 64
post_norm = true

[model.language]
weights = "{folder}"

[topology]
input = "post_norm"
taps = []
points = []

[data]
source = {{ kind = "synthetic", train_images = 64, test_images = 16, questions_per_image = 8 }}
questions_per_sequence = 8

[train]
steps = 1
batch_size = 4
lr = 1e-3
precision = "{dtype}"

[train.parts]
language = {{ dtype = "{dtype}", lora = {{ rank = 16, alpha = 32, targets = ["q_proj", "v_proj"] }} }}

[variants.lora]
"""


def write_model(folder, dtype):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                         intermediate_size=1536, vocab_size=49152, max_position_embeddings=8192, rms_norm_eps=1e-5,
                         rope_theta=1e5, tie_word_embeddings=True)
    LlamaForCausalLM(config).to(torch_type(dtype)).save_pretrained(folder)


def torch_type(name):
    import torch

    return {"bf16": torch.bfloat16, "f32": torch.float32}[name]


def eager(folder, dtype, logits, batch, tokens, targets, rounds):
    """Training steps in this process: median time and peak resident memory, as JSON."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.set_num_threads(THREADS)
    libraries = peak_rss()
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch_type(dtype))
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    ids = torch.randint(0, model.config.vocab_size, (batch, tokens))
    # Targets are spread over the second half of a sequence.
    places = torch.linspace(tokens // 2, tokens - 2, targets).round().long()
    labels = torch.full_like(ids, -100)
    labels[:, places + 1] = ids[:, places + 1]
    times = []
    for _ in range(1 + rounds):
        start = time.perf_counter()
        if logits == "answers":
            rows = model(input_ids=ids, logits_to_keep=places).logits.float()
            loss = torch.nn.functional.cross_entropy(rows.flatten(0, 1), ids[:, places + 1].flatten())
        else:
            loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({"median_ms": statistics.median(times[1:]), "peak_rss_bytes": peak_rss(),
                      "libraries_bytes": libraries}))


def speed(dtype, turns=3):
    # A step of PyTorch in bf16 takes minutes on a processor without such products.
    rounds = {"bf16": 1, "f32": 3}[dtype]
    turns = 1 if dtype == "bf16" else turns
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        # In a process of its own, so that no memory of this one counts as its children's.
        subprocess.run([sys.executable, __file__, "write", folder, dtype], check=True)
        recipe = Path(place) / "lora.toml"
        recipe.write_text(RECIPE.format(folder=folder, dtype=dtype))
        profile = built()
        seen = {"ours": [], "all": [], "answers": []}
        for _ in range(turns):
            seen["ours"].append(measured(profile, recipe, "lora", "--json", "--rounds", 8))
            shape = seen["ours"][-1]
            for logits in ("all", "answers"):
                sizes = [shape["batch"], shape["tokens"], shape["targets"]]
                seen[logits].append(measured(sys.executable, __file__, "eager", folder, dtype, logits, *sizes, rounds))
    own = seen["ours"][0]
    print(f"{dtype}: {own['batch']} x {own['tokens']} tokens, {own['targets']} targets each, {own['flops'] / 1e9:.0f} GFLOP")
    middle = {side: statistics.median(r["median_ms"] for r in runs) for side, runs in seen.items()}
    peak = {side: max(r["peak_rss_bytes"] for r in runs) / 1e6 for side, runs in seen.items()}
    print(f"crossloom: {middle['ours']:.0f} ms, {peak['ours']:.0f} MB at most resident")
    for side in ("all", "answers"):
        ratios = [e["median_ms"] / o["median_ms"] for e, o in zip(seen[side], seen["ours"])]
        libraries = seen[side][0]["libraries_bytes"] / 1e6
        print(f"PyTorch, logits of {side}: {middle[side]:.0f} ms, ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
              f"{max(ratios):.2f}); {peak[side]:.0f} MB ({libraries:.0f} MB of it before the model), ratio of memory "
              f"{peak['ours'] / peak[side]:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", folder, dtype]:
            write_model(folder, dtype)
        case ["eager", folder, dtype, logits, *numbers]:
            eager(folder, dtype, logits, *map(int, numbers))
        case [("bf16" | "f32") as dtype]:
            speed(dtype)
        case _:
            sys.exit(__doc__)
