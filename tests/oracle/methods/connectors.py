"""What the visual tokens of the input are made of."""

import torch
from torch import Tensor
from torch.nn import functional as F

from . import extending, method
from .model import BLOCKS, GRID, HIDDEN, VISION_EPS, WIDTH, Batch, Net, at_visual, decode


@method("dense-connector-dci", extending("dense-connector-dci"))
def dense(net: Net, batch: Batch) -> Tensor:
    """The last state, and the means of the lower and of the upper half of all, that of five the shorter."""
    low = (batch.states["embed"] + batch.states["block.1"]) / 2
    high = (batch.states["block.2"] + batch.states["block.3"] + batch.states["block.4"]) / 3
    return decode(net, batch, net.projector("multi_modal_projector", torch.cat([batch.states["block.4"], low, high], -1)))


@method(
    "means-injected",
    """
name = "x"
[topology]
taps = ["low", "block.3"]
sources.low = { kind = "mean", of = { range = ["block.1", "block.3"] } }
points = ["before layer.1", "inside layer.2"]
adapter = "per_tap"
""",
)
def means(net: Net, batch: Batch) -> Tensor:
    """A mean and a state, both added before one layer and inside another."""
    states = batch.states
    visual = net.projector("multi_modal_projector", states["block.4"])
    low = net.projector("injection.adapter.low.projector", sum(states[f"block.{i}"] for i in (1, 2, 3)) / 3)
    update = low + net.projector("injection.adapter.block.3.projector", states["block.3"])

    def before(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, update) if layer == 1 else h

    def inside(layer: int, h: Tensor) -> Tensor:
        return at_visual(h, update) if layer == 2 else h

    return decode(net, batch, visual, before=before, inside=inside)


def deformable(net: Net, name: str, query: Tensor, grids: list[Tensor], heads: int, points: int) -> Tensor:
    """Deformable DETR, equation 3: a head reads of every grid at the query's own cell plus offsets of so many cells."""
    centre = (torch.arange(GRID).double() + 0.5) / GRID
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    own = torch.stack((x, y), -1).reshape(GRID * GRID, 1, 1, 1, 2)
    count = heads * len(grids) * points
    offsets = net.linear(f"{name}.sampling_offsets", query, 2 * count)
    places = own + offsets.unflatten(-1, (heads, len(grids), points, 2)) / GRID
    shares = net.linear(f"{name}.attention_weights", query, count).unflatten(-1, (heads, -1)).softmax(-1)
    shares = shares.unflatten(-1, (len(grids), points))
    out = []
    for head in range(heads):
        read = 0
        for level, grid in enumerate(grids):
            values = net.linear(f"{name}.value_proj", grid, WIDTH).unflatten(-1, (heads, -1))[:, :, head]
            values = values.transpose(1, 2).unflatten(-1, (GRID, GRID))
            seen = F.grid_sample(values, 2 * places[:, :, head, level] - 1, align_corners=False)
            read = read + (seen * shares[:, :, head, level].unsqueeze(1)).sum(-1)
        out.append(read.transpose(1, 2))
    return net.linear(f"{name}.output_proj", torch.cat(out, -1), WIDTH)


def fused(net: Net, query: Tensor, states: list[Tensor], heads: int, points: int) -> Tensor:
    """A state with what it reads of others, and of what it has read."""
    name = "injection.connector.fused"
    grids = [net.layer_norm(f"{name}.feat_norm", state) for state in states]
    read = deformable(net, f"{name}.cross_attn", net.layer_norm(f"{name}.query_norm", query), grids, heads, points)
    normed = net.layer_norm(f"{name}.norm1", read)
    again = deformable(net, f"{name}.self_attn", normed, [normed], heads, points)
    read = read + net.weight(f"{name}.gamma2", WIDTH, std=1.0) * again
    return query + net.weight(f"{name}.gamma1", WIDTH, std=1.0) * read


@method("mmfuser", 'name = "x"\nextends = ["methods/mmfuser.toml"]')
def mmfuser(net: Net, batch: Batch) -> Tensor:
    """The last state, with four others, through the projector; as many heads as the encoder has."""
    states = [batch.states[f"block.{i}"] for i in (1, 2, 3, 4)]
    state = fused(net, states[3], states, heads=2, points=4)
    return decode(net, batch, net.projector("multi_modal_projector", state))


@method(
    "mmfuser-injected",
    """
name = "x"
[topology]
taps = ["fused"]
sources.fused = { kind = "mmfuser", query = "post_norm", of = ["embed", "block.2"], heads = 4, points = 1 }
points = ["before layer.2"]
adapter = "shared"
""",
)
def mmfuser_injected(net: Net, batch: Batch) -> Tensor:
    """A fused state is a tap like any other."""
    states = batch.states
    state = fused(net, states["post_norm"], [states["embed"], states["block.2"]], heads=4, points=1)
    visual, update = [net.projector("multi_modal_projector", x) for x in (states["block.4"], state)]
    return decode(net, batch, visual, before=lambda layer, h: at_visual(h, update) if layer == 2 else h)
@method("dense-connector-sti", extending("dense-connector-sti"), visual=20)
def sparse_tokens(net: Net, batch: Batch) -> Tensor:
    """Tokens of earlier states, the mean of eight neighbours each, behind those of the last."""

    def pooled(x: Tensor) -> Tensor:
        return F.avg_pool1d(x.transpose(1, 2), 8, 8).transpose(1, 2)

    states = batch.states
    tokens = torch.cat([states["block.4"], pooled(states["block.1"]), pooled(states["block.3"])], 1)
    return decode(net, batch, net.projector("multi_modal_projector", tokens))


def concat(net: Net, batch: Batch, states: list[str]) -> Tensor:
    return torch.cat([batch.states[state] for state in states], -1)


@method("dense-connector-sci", extending("dense-connector-sci"))
def sparse_channels(net: Net, batch: Batch) -> Tensor:
    read = concat(net, batch, ["block.4", "block.1", "block.3"])
    return decode(net, batch, net.projector("multi_modal_projector", read))


@method("list-concat", extending("list-concat"))
def listed(net: Net, batch: Batch) -> Tensor:
    read = concat(net, batch, ["block.1", "block.2", "block.3", "block.4"])
    return decode(net, batch, net.projector("multi_modal_projector", read))


@method("vip-llava", extending("vip-llava"))
def vip_llava(net: Net, batch: Batch) -> Tensor:
    """The projector is transformers' own."""
    from transformers import VipLlavaConfig
    from transformers.models.vipllava.modeling_vipllava import VipLlavaMultiModalProjector

    config = VipLlavaConfig(vision_feature_layers=[4, 3, 2, 1], projector_layernorm_eps=VISION_EPS)
    config.vision_config.hidden_size, config.text_config.hidden_size = batch.states["embed"].shape[-1], 10
    theirs = VipLlavaMultiModalProjector(config).double()
    # Its two layers have one inner width, the language model's; the second is replaced by one of ours.
    theirs.linear_2 = torch.nn.Linear(10, HIDDEN).double()
    read = concat(net, batch, ["block.4", "block.3", "block.2", "block.1"])
    names = {"projector_layernorm": "norm", "linear_1": "linear_1", "linear_2": "linear_2"}
    weights = {}
    for module, ours in names.items():
        for name, parameter in getattr(theirs, module).named_parameters():
            mean = 1.0 if (ours, name) == ("norm", "weight") else 0.0
            weights[f"{module}.{name}"] = net.weight(f"multi_modal_projector.{ours}.{name}", *parameter.shape, mean=mean)
    return decode(net, batch, torch.func.functional_call(theirs, weights, (read,)))


def groups(batch: Batch) -> list[Tensor]:
    return [batch.states[f"block.{block}"] for block in range(1, BLOCKS + 1)]


def summed(weights: Tensor, states: list[Tensor]) -> Tensor:
    return sum(weights[:, k, None, None] * state for k, state in enumerate(states))


def question(net: Net, batch: Batch) -> Tensor:
    """The mean token embedding of a question: of all text but its last tokens, which are answers."""
    table = net.weight("language_model.model.embed_tokens.weight", 11, HIDDEN, std=1.0)
    mask = torch.zeros(batch.text.shape).double()
    mask[0, :4], mask[1, :2] = 1.0, 1.0
    visual = batch.visual
    batch.extra["question_mask"] = F.pad(mask, (visual, 0)).float()
    return (mask[..., None] * table[batch.text]).sum(1) / mask.sum(1, keepdim=True)


@method("weighted-sum", extending("weighted-sum"))
def static_weights(net: Net, batch: Batch) -> Tensor:
    weights = net.weight("injection.connector.weights", BLOCKS, std=1.0).softmax(-1).expand(2, -1)
    read = torch.cat([batch.states["block.4"], summed(weights, groups(batch))], -1)
    return decode(net, batch, net.projector("multi_modal_projector", read))


@method("tgif", extending("tgif", "[topology.input.weights]\nhidden = 9\nentropy = 0.3\n"))
def tgif(net: Net, batch: Batch) -> Tensor:
    """z = W₂ relu(W₁ t); w = softmax z; LN(V + Σ w V_l); the loss has 0.3 Σ w̄ log w̄ more."""
    asked = question(net, batch)
    hidden = F.relu(net.linear("injection.connector.linear_1", asked, 9))
    weights = net.linear("injection.connector.linear_2", hidden, BLOCKS).softmax(-1)
    read = batch.states["block.4"] + summed(weights, groups(batch))
    mean = weights.mean(0)
    batch.auxiliary.append(0.3 * (mean * mean.log()).sum())
    return decode(net, batch, net.projector("multi_modal_projector", net.layer_norm("injection.connector.norm", read)))


def allocator(net: Net, batch: Batch) -> Tensor:
    """The logits of IGVA's weights: four layers x ← LN(y + FFN(y)), y = LN(x + MHA(x, c)), with PyTorch's own attention."""
    name, width = "injection.connector.allocator", batch.states["embed"].shape[-1]
    x = net.linear(f"{name}.instruction", question(net, batch), width)[:, None]
    c = torch.stack([batch.extra[f"state.block.{block}.class"][:, 0] for block in range(1, BLOCKS + 1)], 1).double()
    c = net.linear(f"{name}.group", c, width)
    for layer in range(4):
        own = f"{name}.layers.{layer}"
        parts = [[net.weight(f"{own}.{part}.{what}", width, *([width] if what == "weight" else []), std=0.4)
                  for part in ("q_proj", "k_proj", "v_proj")] for what in ("weight", "bias")]
        mha = torch.nn.MultiheadAttention(width, 4, batch_first=True).double()
        given = {
            "in_proj_weight": torch.cat(parts[0]),
            "in_proj_bias": torch.cat(parts[1]),
            "out_proj.weight": net.weight(f"{own}.o_proj.weight", width, width),
            "out_proj.bias": net.weight(f"{own}.o_proj.bias", width, std=0.3),
        }
        read, _ = torch.func.functional_call(mha, given, (x, c, c), {"need_weights": False})
        x = net.layer_norm(f"{own}.norm1", x + read, 1e-5)
        x = net.layer_norm(f"{own}.norm2", x + net.linear(f"{own}.linear_2", F.relu(net.linear(f"{own}.linear_1", x, width)), width), 1e-5)
    return net.linear(f"{name}.output", x, BLOCKS)[:, 0]


def igva_of(net: Net, batch: Batch, double_softmax: bool) -> Tensor:
    for block in range(1, BLOCKS + 1):
        class_token = torch.randn(2, 1, batch.states["embed"].shape[-1], generator=net.generator)
        batch.extra[f"state.block.{block}.class"] = class_token.float()
    logits = allocator(net, batch)
    weights = logits.softmax(-1)
    shares = weights.softmax(-1) if double_softmax else weights
    batch.auxiliary.append(0.02 * (shares * shares.log()).sum(-1).mean())
    read = torch.cat([batch.states["block.4"], summed(weights, groups(batch))], -1)
    return decode(net, batch, net.projector("multi_modal_projector", read))


@method("igva", extending("igva"))
def igva(net: Net, batch: Batch) -> Tensor:
    return igva_of(net, batch, False)


@method("igva-double-softmax", extending("igva", "[topology.input.weights]\ndouble_softmax = true\n"))
def igva_released(net: Net, batch: Batch) -> Tensor:
    """The released code's loss: the entropy of a second softmax."""
    return igva_of(net, batch, True)
