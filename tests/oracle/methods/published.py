"""Methods whose own modules transformers has: what they compute is computed by those, on weights with crossloom's names."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor
from torch.func import functional_call

from . import extending, method
from .model import EPS, GRID, HEAD_DIM, HIDDEN, LAYERS, MLP, TARGETS, THETA, VOCAB, WIDTH, Batch, Net, at_visual, decode


def named(net: Net, module: torch.nn.Module, name: Callable[[str], str], but: Collection[str] = ()) -> dict[str, Tensor]:
    """Weights for all parameters of a module but some, under the names that `name` gives them; gains of norms are about 1."""
    weights = {}
    for theirs, parameter in module.named_parameters():
        if theirs in but:
            continue
        is_gain = theirs.endswith("weight") and parameter.dim() == 1
        ours = name(theirs)
        weights[theirs] = net.weight(ours, *parameter.shape, mean=1.0 if is_gain else 0.0)
    return weights


@method("qwen3-vl", extending("qwen3-vl"), visual=GRID * GRID // 4, projector="")
def qwen3_vl(net: Net, batch: Batch) -> Tensor:
    """Mergers of two by two patches, with a norm in front of the merging at the input and behind it elsewhere."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionPatchMerger

    config = Qwen3VLVisionConfig(hidden_size=WIDTH, spatial_merge_size=2, out_hidden_size=HIDDEN)

    def merged(state: Tensor, norm: str, projector: str, behind: bool) -> Tensor:
        theirs = Qwen3VLVisionPatchMerger(config, use_postshuffle_norm=behind).double()
        parts = {"norm": norm, "linear_fc1": f"{projector}.linear_1", "linear_fc2": f"{projector}.linear_2"}
        weights = named(net, theirs, lambda name: f"{parts[name.split('.')[0]]}.{name.split('.')[1]}")
        # Its rows are patches, block by block.
        blocks = state.unflatten(1, (GRID // 2, 2, GRID // 2, 2)).transpose(2, 3)
        rows = functional_call(theirs, weights, (blocks.reshape(-1, WIDTH),))
        return rows.unflatten(0, (state.shape[0], -1))

    own = "multi_modal_projector"
    visual = merged(batch.states["block.4"], f"{own}.norm", own, behind=False)
    taps = []
    for tap in ("block.1", "block.3", "block.4"):
        name = f"injection.adapter.{tap}"
        taps.append(merged(batch.states[tap], f"{name}.norm", f"{name}.projector", behind=True))
    return decode(net, batch, visual, after=lambda i, h: at_visual(h, taps[i]) if i < len(taps) else h)


@method(
    "granite-vision",
    extending(
        "granite-vision",
        """
[topology]
wiring = [
    ["block.2", "before layer.1"],
    ["block.4", "before layer.0"],
    ["block.4", "before layer.1"],
    ["block.4", "before layer.3"],
]
adapter.corners = ["before layer.3", "before layer.0"]
""",
    ),
    visual=GRID * GRID // 4,
    projector="window = 4\nqueries = 2\nhidden = 10\nheads = 2",
)
def granite_vision(net: Net, batch: Batch) -> Tensor:
    """A window Q-Former per edge; nothing at the input; two edges into one layer, which add up."""
    from transformers import Granite4VisionConfig, SiglipVisionConfig
    from transformers.models.granite4_vision.configuration_granite4_vision import Granite4VisionTextConfig
    from transformers.models.granite4_vision.modeling_granite4_vision import Granite4VisionWindowQFormerDownsampler

    vision = SiglipVisionConfig(hidden_size=WIDTH, image_size=4 * GRID, patch_size=4, num_attention_heads=2)
    qformer = {
        "model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 10, "cross_attention_frequency": 1,
        "use_qformer_text_input": False,
    }
    config = Granite4VisionConfig(
        vision_config=vision, text_config=Granite4VisionTextConfig(hidden_size=HIDDEN, num_hidden_layers=LAYERS),
        downsample_rate="2/4", qformer_config=qformer, deepstack_layer_map=[[0, 0]], spatial_target_layers=[0],
    )
    # By itself it takes one head per 64 channels.
    config.qformer_config.num_attention_heads = 2

    def read(tap: str, layer: int, corner: int | None) -> Tensor:
        theirs = Granite4VisionWindowQFormerDownsampler(config, spatial_offset=corner).double().eval()
        theirs.qformer.set_attn_implementation("eager")
        name = f"injection.adapter.layer.{layer}.{tap}"

        def ours(part: str) -> str:
            return f"{name}.{part}" if part.startswith("norm.") else f"{name}.projector.{part}"

        return functional_call(theirs, named(net, theirs, ours), (batch.states[tap],))

    updates = {
        0: read("block.4", 0, 1),
        1: read("block.2", 1, None) + read("block.4", 1, None),
        3: read("block.4", 3, 0),
    }
    nothing = torch.zeros_like(updates[0])
    return decode(net, batch, nothing, before=lambda i, h: at_visual(h, updates.get(i, nothing)))


@method(
    "llama-3-2-vision",
    extending("llama-3-2-vision", "[variants.v]\nmodel.language = { heads = 2, kv_heads = 1 }\n"),
    visual=0,
    # transformers computes norms, softmax and rotary angles of this model in single precision.
    tolerance=1e-5,
)
def llama_3_2_vision(net: Net, batch: Batch) -> Tensor:
    """The whole language model is transformers' own, in which layers that read the picture count among the layers."""
    from transformers import MllamaForCausalLM
    from transformers.models.mllama.configuration_mllama import MllamaTextConfig

    reading = [3]
    config = MllamaTextConfig(
        vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=MLP, num_hidden_layers=LAYERS + len(reading),
        num_attention_heads=HIDDEN // HEAD_DIM, num_key_value_heads=1, cross_attention_layers=reading, rms_norm_eps=EPS,
        rope_parameters={"rope_type": "default", "rope_theta": THETA}, pad_token_id=None, bos_token_id=1, eos_token_id=2,
    )
    theirs = MllamaForCausalLM(config).double().eval()
    theirs.set_attn_implementation("eager")

    def ours(name: str) -> str:
        name = name.replace("cross_attn_attn_gate", "attn_gate").replace("cross_attn_mlp_gate", "mlp_gate")
        if not name.startswith("model.layers."):
            return f"language_model.{name}"
        layer, rest = name.removeprefix("model.layers.").split(".", 1)
        before = int(layer) - sum(i < int(layer) for i in reading)
        if int(layer) in reading:
            return f"injection.fusion.layer.{before}.{rest}"
        return f"language_model.model.layers.{before}.{rest}"

    weights = named(net, theirs, ours, but=["model.embed_tokens.weight", "lm_head.weight"])
    # Their table has eight rows more, for tokens of pictures; ours is the head's too.
    table = net.weight("language_model.model.embed_tokens.weight", VOCAB, HIDDEN, std=1.0)
    weights["model.embed_tokens.weight"] = torch.cat([table, table.new_zeros(8, HIDDEN)])
    weights["lm_head.weight"] = table
    states = torch.cat([batch.states[f"block.{block}"] for block in (4, 1, 2, 3)], -1)
    picture = net.linear("injection.adapter.seen.linear", states, HIDDEN)
    given = {"input_ids": batch.text, "cross_attention_states": picture, "use_cache": False}
    return functional_call(theirs, weights, (), given).logits[:, -TARGETS:]
