"""What crossloom gives away, read by transformers and peft: equal logits, and no warning.

    pip install torch transformers peft safetensors
    python tests/peers/adapters.py

Random models of transformers are written as folders; crossloom trains low-rank pairs over them, frozen, and gives away the
pairs, the merged parts and a whole LLaVA. Then

- the merged language model and PEFT's model over the untouched base give the same logits, and not those of the base alone;
- the same for the encoder;
- the merged folders and the whole LLaVA load without a warning, with nothing missing and nothing unexpected;
- the whole LLaVA, given pictures, gives the logits of the run, whose pairs are not merged; so does one of DINOv2 and Qwen3, and
  what starts from folders in bf16 is given back in bf16;
- what crossloom merged is what PEFT merges, weight by weight;
- an adapter that PEFT wrote, merged into its base by crossloom, gives the logits that PEFT gives;
- so does a run that starts from an adapter that PEFT wrote over a whole LLaVA, given pictures;
- all of that of the whole holds of a Qwen3-VL and of a Granite 4.1 Vision, which inject vision states by themselves: of what a
  run trained, and of PEFT's adapter merged into the base.

`CROSSLOOM` names a binary to use; without it one is built.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    Granite4VisionTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLTextConfig,
    Qwen3VLVisionConfig,
    SiglipVisionConfig,
)
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/oracle"))
from make_model_fixtures import base_picture, merged_patches, randomise  # noqa: E402

VOCAB = 90
# Of the pictures.
SIDE, PATCH = 32, 8
RECIPE = """
name = "adapters"

{model}

[topology]
{topology}

[data]
source = {{ kind = "synthetic", train_images = 24, test_images = 6, questions_per_image = 4 }}
questions_per_sequence = 4

[train]
steps = {steps}
batch_size = 4
lr = {lr}
warmup = 0

{parts}
"""
# Of those that inject nothing.
PLAIN = """
input = "block.3"
taps = []
points = []
"""
HALVES = """
[model.vision]
weights = "{vision}"
image_size = 32

[model.language]
weights = "{language}"

[model.projector]
hidden = 32
"""
PAIRS = """
[train.parts.vision]
dtype = "{dtype}"
lora = {{ rank = 2, alpha = 3, targets = ["q_proj", "fc1"] }}

[train.parts.language]
dtype = "{dtype}"
lora = {{ rank = 4, alpha = 8, targets = ["q_proj", "v_proj", "down_proj"] }}
"""


class Heard(logging.Handler):
    """Every message of transformers and peft that is a warning or worse."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def quietly(what, load):
    """Loads, and fails where anything was said about it."""
    heard = Heard()
    transformers_logging.add_handler(heard)
    logging.getLogger("peft").addHandler(heard)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load()
    transformers_logging.remove_handler(heard)
    logging.getLogger("peft").removeHandler(heard)
    # What one library says to the other of its future is not about the folder.
    caught = [warning for warning in caught if not issubclass(warning.category, FutureWarning)]
    said = heard.messages + [str(warning.message) for warning in caught]
    assert not said, f"{what}: {said}"
    print(f"{what}: loaded without a warning")
    return loaded


def whole(load, folder):
    """Loads a folder; nothing may be missing or left over."""
    model, report = load(folder, output_loading_info=True)
    for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]:
        assert not report.get(kind), f"{folder}: {kind} {report[kind]}"
    return model.eval()


def apart(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


def same(what, a, b, tolerance=1e-5):
    difference = apart(a, b)
    print(f"{what}: {difference:.1e} of the largest value apart")
    assert difference <= tolerance, what


def crossloom(*arguments, example=None):
    """The command, or an example of crossloom-run, which lies beside it in the folder `examples`."""
    binary = os.environ.get("CROSSLOOM")
    command = ["cargo", "run", "-q", "--release", *(["-p", "crossloom-run", "--example", example] if example else []), "--"]
    if binary:
        command = [Path(binary).parent / "examples" / example if example else binary]
    done = subprocess.run([*command, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def bases(place):
    torch.manual_seed(7)
    language = LlamaConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                           intermediate_size=64, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
                           tie_word_embeddings=True, initializer_range=0.2)
    LlamaForCausalLM(language).save_pretrained(place / "language")
    vision = CLIPVisionConfig(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64,
                              image_size=SIDE, patch_size=PATCH, initializer_factor=4.0)
    tower = CLIPVisionModel(vision)
    tower.save_pretrained(place / "vision")
    names = load_file(place / "vision" / "model.safetensors")
    if not any(name.startswith("vision_model.") for name in names):
        # Versions before 5 wrote the encoder under this name, as published files have it.
        renamed = {f"vision_model.{name}": tensor for name, tensor in names.items()}
        save_file(renamed, place / "vision" / "model.safetensors", metadata={"format": "pt"})


def bases_in_bf16(place):
    """DINOv2, whose positions are those of 5 by 5 patches, and Qwen3."""
    torch.manual_seed(9)
    language = Qwen3Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
                           intermediate_size=64, vocab_size=VOCAB, max_position_embeddings=256,
                           tie_word_embeddings=False, initializer_range=0.2)
    Qwen3ForCausalLM(language).bfloat16().save_pretrained(place / "qwen3")
    vision = Dinov2Config(hidden_size=32, mlp_ratio=2, num_hidden_layers=4, num_attention_heads=4, image_size=5 * PATCH,
                          patch_size=PATCH, initializer_range=0.2)
    Dinov2Model(vision).bfloat16().save_pretrained(place / "dinov2")


def trained(place, name, model, parts, steps=8, lr=2e-2, topology=PLAIN):
    """The folder of a run."""
    recipe = place / f"{name}.toml"
    recipe.write_text(RECIPE.format(model=model, parts=parts, steps=steps, lr=lr, topology=topology))
    crossloom("train", recipe, "--out", place / name)
    (run,) = (place / name).iterdir()
    return run


def of_halves(place, name, vision, language, dtype):
    halves = HALVES.format(vision=place / vision, language=place / language)
    return trained(place, name, halves, PAIRS.format(dtype=dtype))


def main():
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        bases(place)
        run = of_halves(place, "runs", "vision", "language", "f32")
        export = lambda out, *what: crossloom("model", "export", run, "--out", place / out, *what)
        export("language-pairs", "--adapter", "language")
        export("vision-pairs", "--adapter", "vision")
        export("pairs", "--adapter")
        export("language-merged", "--merge", "language")
        export("vision-merged", "--merge", "vision")
        export("llava", "--merge")
        export("trained")
        told = json.loads(crossloom("model", "export", run, "--out", place / "again", "--json"))
        assert told["steps"] == 8, told
        peft_adapter(place)
        crossloom("model", "merge", place / "language", place / "theirs", "--out", place / "theirs-merged")
        check(place)
        pictured(place, run, "llava", llava(place, "llava"))
        started(place)
        bases_in_bf16(place)
        run = of_halves(place, "low", "dinov2", "qwen3", "bf16")
        crossloom("model", "export", run, "--merge", "--out", place / "dinov2-llava")
        pictured(place, run, "LLaVA of DINOv2", llava(place, "dinov2-llava"))
        given_back(place, run)
        beside_dinov2(place, run)
        for injecting in (Injecting.qwen3_vl(), Injecting.granite()):
            injecting.check(place)
    print("all equal")


def llava(place, folder):
    return quietly(f"{folder}, whole", lambda: whole(LlavaForConditionalGeneration.from_pretrained, place / folder))


def pictured(place, run, name, llava):
    """A run's own logits behind pictures, and those of the LLaVA that it should be."""
    image, patches = llava.config.image_token_index, (SIDE // PATCH) ** 2
    logits = lambda ids, pixels: llava(input_ids=ids, pixel_values=pixels).logits
    compared(place, run, name, logits, image, patches, patches)


def compared(place, run, name, logits, image, patches, span):
    """The run's logits and others behind pictures of so many tokens, which take `span` positions; then all have the first."""
    text, rows = 12, 2
    words = torch.arange(rows * text).reshape(rows, text) * 5 % (VOCAB - 8) + 8
    ids = torch.cat([torch.full((rows, patches), image), words], dim=1)
    places = torch.arange(patches + text).expand(rows, -1)
    positions = places if span == patches else torch.where(places < patches, 0, places - patches + span)
    pixels = torch.sin(torch.arange(rows * 3 * SIDE * SIDE) * 0.37).reshape(rows, 3, SIDE, SIDE)
    single = lambda x: x.to(torch.int32).contiguous()
    save_file({
        "pixels": pixels,
        "tokens": single(ids),
        "positions": single(positions),
        "segments": single(places >= patches),
        "image_index": single(places[:, :patches]),
        "target_index": single(places[:, patches:]),
    }, place / "given.safetensors")
    crossloom(run, "adapters", place / "given.safetensors", place / "logits.safetensors", example="logits")
    ours = load_file(place / "logits.safetensors")["logits"]
    with torch.no_grad():
        theirs = logits(ids, pixels)[:, patches:]
        other = logits(ids, -pixels)[:, patches:]
    same(f"{name} behind pictures, theirs against the run's", theirs, ours.reshape(theirs.shape))
    assert apart(other, theirs) > 1e-2, "the picture does nothing"
    return ids, pixels


class Injecting:
    """A model that injects vision states by itself: how it is made, said in a recipe, and asked for logits."""

    def __init__(self, name, model, topology, image, modules, span):
        self.name, self.model, self.topology, self.image = name, model, topology, image
        # What PEFT adapts, and the positions that a picture takes.
        self.modules, self.span = modules, span

    @classmethod
    def qwen3_vl(cls):
        """Two by two patches merged; positions of five by five patches."""
        vision = Qwen3VLVisionConfig(
            hidden_size=32, intermediate_size=40, depth=3, num_heads=2, patch_size=PATCH, out_hidden_size=32,
            num_position_embeddings=25, deepstack_visual_indexes=[0, 1],
        )
        text = Qwen3VLTextConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            head_dim=10, vocab_size=VOCAB, max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 2, 1], "mrope_interleaved": True},
        )
        config = Qwen3VLConfig(vision_config=vision.to_dict(), text_config=text.to_dict(), tie_word_embeddings=True)
        topology = """
input = "block.last"
wiring = [["block.1", "after layer.0"], ["block.2", "after layer.1"]]
adapter = { kind = "per_tap", tap_norm = "merged" }
fusion = "add"
"""
        modules = ["qkv", "linear_fc1", "v_proj", "down_proj"]
        return cls("qwen3-vl", Qwen3VLForConditionalGeneration(config), topology, "image_token_id", modules, 2)

    @classmethod
    def granite(cls):
        """One window of four by four patches, read by two by two queries."""
        vision = SiglipVisionConfig(
            hidden_size=128, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE,
            patch_size=PATCH, vision_use_head=False,
        )
        text = Granite4VisionTextConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=VOCAB, max_position_embeddings=256, embedding_multiplier=3.0, attention_multiplier=0.25,
            residual_multiplier=0.6, logits_scaling=2.0,
        )
        config = Granite4VisionConfig(
            vision_config=vision, text_config=text, vision_feature_select_strategy="full", downsample_rate="2/4",
            deepstack_layer_map=[[1, 1], [-1, 0]], spatial_vision_layer=-1, spatial_target_layers=[2, 3, 5, 4],
            image_grid_pinpoints=[[SIDE, SIDE]],
            qformer_config={
                "model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 48,
                "cross_attention_frequency": 1, "use_qformer_text_input": False,
            },
        )
        topology = """
input = "none"
fusion = "add"
wiring = [
    ["block.1", "before layer.1"], ["block.2", "before layer.0"], ["block.2", "before layer.2"],
    ["block.2", "before layer.3"], ["block.2", "before layer.5"], ["block.2", "before layer.4"],
]

[topology.adapter]
kind = "per_edge"
tap_norm = "layer"
corners = ["before layer.2", "before layer.3", "before layer.5", "before layer.4"]
"""
        modules = ["fc1", "out_linear", "q_proj", "down_proj"]
        whole = Granite4VisionForConditionalGeneration(config)
        return cls("granite-vision", whole, topology, "image_token_index", modules, 4)

    def logits(self, model):
        """Of a model of its kind, given tokens and pixels."""
        if self.name == "granite-vision":
            return lambda ids, pixels: base_picture(
                model, ids, pixels, torch.ones_like(ids), model.config.image_token_index
            )
        image = model.config.image_token_id
        return lambda ids, pixels: model(
            input_ids=ids, mm_token_type_ids=(ids == image).int(), **merged_patches(model, pixels)
        ).logits

    def check(self, place):
        folder = place / self.name
        randomise(self.model, torch.Generator().manual_seed(12)).float().save_pretrained(folder)
        load = lambda what, folder: quietly(what, lambda: whole(type(self.model).from_pretrained, folder))
        # Only Granite has a token that ends rows of tiles.
        newline = ', unexpected = ["image_newline"]' if self.name == "granite-vision" else ""
        named = f'[model]\nweights = {{ path = "{folder}"{newline} }}\nvision.image_size = {SIDE}\n'
        parts = """
[train.parts.vision]
lora = { rank = 2, alpha = 3, targets = ["q_proj", "fc1"] }

[train.parts.language]
lora = { rank = 4, alpha = 8, targets = ["q_proj", "v_proj", "down_proj"] }
"""
        run = trained(place, f"{self.name}-runs", named, parts, topology=self.topology)
        crossloom("model", "export", run, "--merge", "--out", place / f"{self.name}-out")
        given = load(f"{self.name}, whole", place / f"{self.name}-out")
        quietly(f"{self.name}, its processor", lambda: AutoImageProcessor.from_pretrained(place / f"{self.name}-out"))
        image = getattr(given.config, self.image)
        ids, pixels = compared(place, run, self.name, self.logits(given), image, 4, self.span)
        before = load_file(folder / "model.safetensors")
        after = load_file(place / f"{self.name}-out" / "model.safetensors")
        assert before.keys() == after.keys(), before.keys() ^ after.keys()
        if "model.image_newline" in before:
            assert torch.equal(before["model.image_newline"], after["model.image_newline"])
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        print(f"{self.name}: {len(changed)} of {len(after)} tensors are other ones")

        torch.manual_seed(13)
        config = LoraConfig(r=3, lora_alpha=5, target_modules=self.modules, init_lora_weights=False)
        base = load(f"{self.name}, the base", folder)
        setattr(base.config, self.image, image)
        with torch.no_grad():
            plain = self.logits(base)(ids, pixels)
            adapted = get_peft_model(base, config).eval()
            adapted.save_pretrained(place / f"{self.name}-theirs")
            crossloom("model", "merge", folder, place / f"{self.name}-theirs", "--out", place / f"{self.name}-merged")
            merged = load(f"{self.name}, PEFT's adapter, merged by crossloom", place / f"{self.name}-merged")
            setattr(merged.config, self.image, image)
            theirs = self.logits(adapted.base_model.model)(ids, pixels)
            same(f"{self.name}, PEFT's adapter, PEFT against merged", self.logits(merged)(ids, pixels), theirs)
            assert apart(theirs, plain) > 1e-3, "the pairs do nothing"


def started(place):
    """A run of one step that is too small to change anything: pairs that PEFT wrote, in all parts of a LLaVA."""
    torch.manual_seed(10)
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["k_proj", "gate_proj", "fc2", "linear_1"],
                        init_lora_weights=False, use_rslora=True)
    adapted = get_peft_model(llava(place, "llava"), config).eval()
    adapted.save_pretrained(place / "whole-pairs")
    pairs = "".join(f'[train.parts.{part}]\nlora.weights = "{place}/whole-pairs"\n'
                    for part in ["vision", "projector", "language"])
    run = trained(place, "started", f'model.weights = "{place}/llava"', pairs, steps=1, lr=1e-12)
    pictured(place, run, "PEFT's pairs at a run's start", adapted)


def given_back(place, run):
    """Parts that start from bf16 are bf16 again; what was not adapted has its bits."""
    for part, base, load in [("language", "qwen3", AutoModelForCausalLM), ("vision", "dinov2", Dinov2Model)]:
        folder = place / f"{part}-bf16"
        crossloom("model", "export", run, "--merge", part, "--dtype", "file", "--out", folder)
        model = quietly(f"{part} in bf16", lambda: whole(load.from_pretrained, folder))
        assert model.dtype == torch.bfloat16, model.dtype
        before, after = load_file(place / base / "model.safetensors"), load_file(folder / "model.safetensors")
        assert all(tensor.dtype == torch.bfloat16 for tensor in after.values())
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        assert changed and all(name.endswith(".weight") for name in changed), changed
        print(f"{part}: {len(changed)} of {len(after)} tensors are other ones")


def peft_adapter(place):
    """An adapter that PEFT itself writes, with a pair of another rank."""
    torch.manual_seed(8)
    base = AutoModelForCausalLM.from_pretrained(place / "language")
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["k_proj", "gate_proj"], rank_pattern={"k_proj": 2},
                        init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(place / "theirs")


def beside_dinov2(place, run):
    """Pairs beside an encoder whose modules have names of their own."""
    crossloom("model", "export", run, "--adapter", "vision", "--out", place / "dinov2-pairs")
    crossloom("model", "export", run, "--merge", "vision", "--out", place / "dinov2-merged")
    pixels = torch.sin(torch.arange(2 * 3 * SIDE * SIDE) * 0.37).reshape(2, 3, SIDE, SIDE)
    with torch.no_grad():
        merged = quietly("merged DINOv2", lambda: whole(Dinov2Model.from_pretrained, place / "dinov2-merged"))
        base = Dinov2Model.from_pretrained(place / "dinov2", dtype=torch.float32).eval()
        plain = base(pixels).last_hidden_state
        adapted = quietly("pairs of DINOv2 in PEFT", lambda: PeftModel.from_pretrained(base, place / "dinov2-pairs")).eval()
        same("DINOv2, PEFT against merged", adapted(pixels).last_hidden_state, merged(pixels).last_hidden_state)
        assert apart(merged(pixels).last_hidden_state, plain) > 1e-3, "the pairs do nothing"


def check(place):
    ids = torch.arange(48).reshape(2, 24) * 7 % VOCAB
    with torch.no_grad():
        base = whole(AutoModelForCausalLM.from_pretrained, place / "language")
        plain = base(ids).logits
        merged = quietly("merged language model",
                         lambda: whole(AutoModelForCausalLM.from_pretrained, place / "language-merged"))
        adapted = quietly("language pairs in PEFT", lambda: PeftModel.from_pretrained(base, place / "language-pairs"))
        adapted.eval()
        same("language model, PEFT against merged", adapted(ids).logits, merged(ids).logits)
        assert apart(merged(ids).logits, plain) > 1e-3, "the pairs do nothing"
        theirs = adapted.merge_and_unload().state_dict()
        for name, ours in merged.state_dict().items():
            same_weights(name, ours, theirs[name])

        base = AutoModelForCausalLM.from_pretrained(place / "language").eval()
        adapted = PeftModel.from_pretrained(base, place / "theirs").eval()
        merged = quietly("PEFT's adapter, merged by crossloom",
                         lambda: whole(AutoModelForCausalLM.from_pretrained, place / "theirs-merged"))
        same("PEFT's adapter, PEFT against merged", adapted(ids).logits, merged(ids).logits)

        pixels = torch.sin(torch.arange(2 * 3 * 32 * 32) * 0.37).reshape(2, 3, 32, 32)
        base = CLIPVisionModel.from_pretrained(place / "vision").eval()
        plain = base(pixels).last_hidden_state
        merged = quietly("merged encoder", lambda: whole(CLIPVisionModel.from_pretrained, place / "vision-merged"))
        adapted = quietly("vision pairs in PEFT", lambda: PeftModel.from_pretrained(base, place / "vision-pairs")).eval()
        same("encoder, PEFT against merged", adapted(pixels).last_hidden_state, merged(pixels).last_hidden_state)
        assert apart(merged(pixels).last_hidden_state, plain) > 1e-3, "the pairs do nothing"

        joined = llava(place, "llava")
        merged = AutoModelForCausalLM.from_pretrained(place / "language-merged").eval()
        same("LLaVA without a picture", joined(input_ids=ids.clamp(min=8)).logits, merged(ids.clamp(min=8)).logits)
        # The whole, its pairs taken off again, is what PEFT makes of it with them.
        for pair in load_file(place / "pairs" / "adapter_model.safetensors"):
            module = pair.removeprefix("base_model.model.").split(".lora_")[0]
            joined.get_submodule(module)
        print("pairs of the whole name modules of the whole")


def same_weights(name, ours, theirs):
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6), name


if __name__ == "__main__":
    main()
