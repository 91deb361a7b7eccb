"""Reading a prompt by a Qwen2-shaped decoder in PyTorch, in `bf16`, with random weights and fused attention. One line of JSON.

    python torch_prefill.py RESOLVED.json TOKENS
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from torch_timing import timed


def main():
    resolved, tokens = sys.argv[1], int(sys.argv[2])
    torch.set_default_device("cuda")
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(0)
    recipe = next(iter(json.loads(Path(resolved).read_text())["variants"].values()))["recipe"]
    language = recipe["model"]["language"]
    width, kv_heads, size = language["hidden"], language["kv_heads"], language["head_dim"]
    inner, vocabulary, depth = language["mlp"], language["vocab_size"], language["layers"]

    def matrix(out, into):
        return torch.randn(out, into) / into**0.5

    layers = [
        {
            "qkv": matrix(width + 2 * kv_heads * size, width),
            "o": matrix(width, width),
            "up": matrix(2 * inner, width),
            "down": matrix(width, inner),
            "norms": torch.ones(2, width),
        }
        for _ in range(depth)
    ]
    head, norm = matrix(vocabulary, width), torch.ones(width)
    angle = torch.arange(tokens, dtype=torch.float32)[:, None] / language["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    cos, sin = (f(angle).to(torch.bfloat16) for f in (torch.cos, torch.sin))

    def turned(x):
        low, high = x.chunk(2, -1)
        return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)

    def step():
        h = torch.randn(1, tokens, width)
        for layer in layers:
            x = F.rms_norm(h, (width,), layer["norms"][0])
            q, k, v = F.linear(x, layer["qkv"]).split([width, kv_heads * size, kv_heads * size], -1)
            q, k, v = (t.view(1, tokens, -1, size).transpose(1, 2) for t in (q, k, v))
            o = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True, enable_gqa=True)
            h = h + F.linear(o.transpose(1, 2).reshape(1, tokens, width), layer["o"])
            gate, up = F.linear(F.rms_norm(h, (width,), layer["norms"][1]), layer["up"]).chunk(2, -1)
            h = h + F.linear(F.silu(gate) * up, layer["down"])
        return F.linear(F.rms_norm(h[:, -1], (width,), norm), head)

    with torch.inference_mode():
        seconds = timed(step, 8, 3)
    print(json.dumps({"seconds": seconds, "torch": torch.__version__}))


main()
