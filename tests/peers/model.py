"""The quickstart's models in eager PyTorch, with the parameter names that crossloom writes to its checkpoints.

Shapes: B sequences, T positions, N visual tokens, D width of the language model, V vocabulary, K taps, M targets.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class VisionBlock(nn.Module):
    """Pre-norm transformer block with biases."""

    def __init__(self, c):
        super().__init__()
        d = c["hidden"]
        self.heads, eps = c["heads"], c["norm_eps"]
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(d, eps=eps), nn.LayerNorm(d, eps=eps)
        self.self_attn = nn.ModuleDict({n: nn.Linear(d, d) for n in ("q_proj", "k_proj", "v_proj", "out_proj")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(d, c["mlp"]), "fc2": nn.Linear(c["mlp"], d)})

    def forward(self, x_bnd):
        b, n, d = x_bnd.shape
        y = self.layer_norm1(x_bnd)
        q, k, v = (self.self_attn[p](y).view(b, n, self.heads, -1).transpose(1, 2) for p in ("q_proj", "k_proj", "v_proj"))
        o = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x_bnd = x_bnd + self.self_attn["out_proj"](o)
        y = self.layer_norm2(x_bnd)
        return x_bnd + self.mlp["fc2"](F.gelu(self.mlp["fc1"](y), approximate="tanh"))


class Vision(nn.Module):
    """Patch embedding, learned positions, blocks; returns every state and the normed last one."""

    def __init__(self, c):
        super().__init__()
        d, p = c["hidden"], c["patch_size"]
        grid = c["image_size"] // p
        self.embeddings = nn.ModuleDict({
            "patch_embedding": nn.Conv2d(c["channels"], d, p, p),
            "position_embedding": nn.Embedding(grid * grid, d),
        })
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList([VisionBlock(c) for _ in range(c["layers"])])})
        self.post_layernorm = nn.LayerNorm(d, eps=c["norm_eps"])

    def forward(self, pixels):
        x = self.embeddings["patch_embedding"](pixels).flatten(2).transpose(1, 2)
        states = [x + self.embeddings["position_embedding"].weight]
        for block in self.encoder["layers"]:
            states.append(block(states[-1]))
        return states, self.post_layernorm(states[-1])


class RmsNorm(nn.Module):
    def __init__(self, d, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x_bhtd, cos, sin):
    half = x_bhtd.shape[-1] // 2
    turned = torch.cat((-x_bhtd[..., half:], x_bhtd[..., :half]), -1)
    return x_bhtd * cos + turned * sin


class DecoderLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, hd = c["hidden"], c["head_dim"]
        self.heads, self.kv_heads, self.hd = c["heads"], c["kv_heads"], hd
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(d, c["norm_eps"]), RmsNorm(d, c["norm_eps"])
        self.self_attn = nn.ModuleDict({
            "q_proj": nn.Linear(d, self.heads * hd, bias=False), "k_proj": nn.Linear(d, self.kv_heads * hd, bias=False),
            "v_proj": nn.Linear(d, self.kv_heads * hd, bias=False), "o_proj": nn.Linear(self.heads * hd, d, bias=False),
        })
        self.mlp = nn.ModuleDict({
            "gate_proj": nn.Linear(d, c["mlp"], bias=False), "up_proj": nn.Linear(d, c["mlp"], bias=False),
            "down_proj": nn.Linear(c["mlp"], d, bias=False),
        })

    def forward(self, h_btd, cos, sin, allowed_btt):
        b, t, _ = h_btd.shape
        y = self.input_layernorm(h_btd)
        q = self.self_attn["q_proj"](y).view(b, t, self.heads, self.hd).transpose(1, 2)
        k = self.self_attn["k_proj"](y).view(b, t, self.kv_heads, self.hd).transpose(1, 2)
        v = self.self_attn["v_proj"](y).view(b, t, self.kv_heads, self.hd).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        share = self.heads // self.kv_heads
        if share > 1:
            k, v = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed_btt[:, None])
        h_btd = h_btd + self.self_attn["o_proj"](o.transpose(1, 2).reshape(b, t, -1))
        y = self.post_attention_layernorm(h_btd)
        return h_btd + self.mlp["down_proj"](F.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))


class Gate(nn.Module):
    """AGF with one shared multi-head attention and a scalar gate."""

    def __init__(self, d, heads, bias_init):
        super().__init__()
        self.heads = heads
        self.query_vision, self.query_hidden = nn.Parameter(torch.randn(d)), nn.Parameter(torch.randn(d))
        self.attn = nn.ModuleDict({n: nn.Linear(d, d, bias=n != "k_proj") for n in ("q_proj", "k_proj", "v_proj", "o_proj")})
        self.controller = nn.Linear(2 * d, 1)
        nn.init.constant_(self.controller.bias, bias_init)

    def pool(self, query_d, rows_gnd, mask_gn=None):
        g, n, d = rows_gnd.shape
        q = self.attn["q_proj"](query_d).view(1, 1, self.heads, -1).transpose(1, 2).expand(g, -1, -1, -1)
        k, v = (self.attn[p](rows_gnd).view(g, n, self.heads, -1).transpose(1, 2) for p in ("k_proj", "v_proj"))
        mask = None if mask_gn is None else mask_gn[:, None, None, :]
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.attn["o_proj"](o.transpose(1, 2).reshape(g, d))

    def forward(self, h_btd, v_kbnd, pool_bt):
        k, b, n, d = v_kbnd.shape
        a_v = self.pool(self.query_vision, v_kbnd.reshape(k * b, n, d)).view(k, b, d)
        a_h = self.pool(self.query_hidden, h_btd, pool_bt).expand(k, b, d)
        return torch.sigmoid(self.controller(torch.cat((a_v, a_h), -1))).squeeze(-1)  # [K, B]


class Vlm(nn.Module):
    """Vision tower, projector, decoder, and, where `taps` and `points` are given, AMP and AGF with dense wiring."""

    def __init__(self, vision, language, vocab, taps=(), points=(), rank=16, merge=1, gate_bias=-4.0, theta=1e4):
        super().__init__()
        dv, d, self.c, self.taps, self.points = vision["hidden"], language["hidden"], language, list(taps), list(points)
        self.vision, self.theta, self.scale = Vision(vision), theta, 1.0
        self.merge, dv = merge, dv * merge**2
        self.linear_1, self.linear_2 = nn.Linear(dv, d), nn.Linear(d, d)
        self.embed_tokens = nn.Embedding(vocab, d)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        nn.init.normal_(self.vision.embeddings["position_embedding"].weight, std=0.02)
        self.layers = nn.ModuleList([DecoderLayer(language) for _ in range(language["layers"])])
        self.norm = RmsNorm(d, language["norm_eps"])
        self.lora_a = nn.ModuleList([nn.Linear(dv, rank, bias=False) for _ in self.taps])
        self.lora_b = nn.ModuleList([nn.Linear(rank, d, bias=False) for _ in self.taps])
        for b in self.lora_b:
            nn.init.zeros_(b.weight)
        self.gates = nn.ModuleList([Gate(d, language["heads"], gate_bias) for _ in self.points])

    def merged(self, x_bnd):
        """Blocks of `merge` by `merge` patches as one visual token, their channels side by side."""
        b, n, d = x_bnd.shape
        grid, m = math.isqrt(n) // self.merge, self.merge
        return x_bnd.view(b, grid, m, grid, m, d).transpose(2, 3).reshape(b, grid * grid, m * m * d)

    def project(self, x):
        return self.linear_2(F.gelu(self.linear_1(x)))

    def forward(self, batch):
        """Mean cross-entropy of the targets, and the logits [B, M, V]."""
        states, last = self.vision(batch["pixels"])
        last, states = self.merged(last), {tap: self.merged(states[tap]) for tap in self.taps}
        b, t = batch["tokens"].shape
        d, n = self.c["hidden"], batch["image_index"].shape[1]
        index = batch["image_index"][..., None].expand(-1, -1, d)
        h = self.embed_tokens(batch["tokens"]).scatter(1, index, self.project(last))
        hd = self.c["head_dim"]
        freqs = self.theta ** (-torch.arange(0, hd, 2, dtype=torch.float32) / hd)
        angles = (batch["positions"].float()[..., None] * freqs).repeat(1, 1, 2)[:, None]
        cos, sin = angles.cos(), angles.sin()
        segments = batch["segments"]
        seen = (segments[:, None, :] == 0) | (segments[:, None, :] == segments[:, :, None])
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        padding = segments[:, None, :] < 0
        allowed = (causal & seen & ~padding) | torch.eye(t, dtype=torch.bool)
        v = None
        if self.taps:
            v = torch.stack([self.project(states[tap]) + self.scale * up(down(states[tap]))
                             for tap, down, up in zip(self.taps, self.lora_a, self.lora_b)])
        self.last_gates = {}
        for number, layer in enumerate(self.layers):
            if number in self.points:
                w_kb = self.gates[self.points.index(number)](h, v, segments == 0)
                self.last_gates[number] = w_kb
                h = h.scatter_add(1, index, (w_kb[..., None, None] * v).sum(0))
            h = layer(h, cos, sin, allowed)
        rows = h.gather(1, batch["target_index"].clamp(min=0)[..., None].expand(-1, -1, d))
        logits = self.norm(rows) @ self.embed_tokens.weight.T
        loss = F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), ignore_index=-1)
        return loss, logits


def load_checkpoint(model, tensors):
    """Copies the tensors of a crossloom `model.safetensors` into a model; every parameter must be in the file."""
    names = {}
    for name, _ in model.named_parameters():
        theirs = name
        if name.startswith("vision."):
            theirs = "vision_tower.vision_model." + name[len("vision."):]
        elif name.startswith("linear_"):
            theirs = "multi_modal_projector." + name
        elif name.startswith(("layers.", "norm.", "embed_tokens.")):
            theirs = "language_model.model." + name
        elif name.startswith(("lora_a.", "lora_b.")):
            tap = model.taps[int(name.split(".")[1])]
            theirs = f"injection.adapter.block.{tap}.lora_{name[5].upper()}.weight"
        elif name.startswith("gates."):
            _, number, rest = name.split(".", 2)
            theirs = f"injection.gate.layer.{model.points[int(number)]}.{rest}"
        names[name] = theirs
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[names[name]].view_as(parameter))
