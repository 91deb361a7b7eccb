"""Writes tiny LLaVA checkpoints as their publishers lay them out, and what transformers makes of conversations with them.

Run by hand: `pip install torch transformers==5.23.0 "pillow<13"`, then `python tests/oracle/make_llava_fixtures.py`.

`fixtures/llava/llava` is a LLaVA-1.5 (CLIP and Llama), `fixtures/llava/onevision` a LLaVA-OneVision (SigLIP and Qwen2, anyres and
`image_newline`): weights, configurations, image processor, tokenizer and chat template. Weights are random, and numbers that bf16 has.
The photographs, the tokenizer and the template are those of crossloom-data's tests.

`injection.safetensors` holds random weights of cross-layer injection into the second: three taps, each with a low-rank branch beside the
projector, before two decoder layers, each with a gate. The logits with it are those of transformers' model with hooks before these layers:
what its own `pack_image_features` makes of every tap, times the gate, is added where patches stand.

`cases.json` holds conversations with several pictures, one and none, and the ids that transformers' processor makes of them;
`logits.safetensors` the logits of the model in f64 at every seventh of their positions, by checkpoint and case.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.processing_llava import LlavaProcessor
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

from make_model_fixtures import ROPE, randomise

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from model import Gate  # noqa: E402

CRATES = Path(__file__).resolve().parents[2] / "crates"
FOLDER = CRATES / "crossloom-run/tests/fixtures/llava"
DATA = CRATES / "crossloom-data/tests"
SEED = 23
VOCAB, IMAGE = 384, 3
SIDE, PATCH, TILES, MOST = 24, 4, 3, 2
EVERY = 7

# What is injected: after which blocks, before which layers, through branches of which rank.
TAPS, POINTS, RANK = [1, 2, 4], [1, 3], 2

COFFEE, ASTRONAUT = "coffee.png", "astronaut.png"
# Pictures, then the turns of a conversation: a user's turn may show the next ones.
CASES = {
    "one": ([COFFEE], [("user", 1, "What is this?"), ("assistant", 0, "coffee")]),
    "tall": ([ASTRONAUT], [("user", 1, "Who is it?"), ("assistant", 0, "a person")]),
    "two": ([ASTRONAUT, COFFEE], [("user", 2, "Which is red?"), ("assistant", 0, "the second"), ("user", 0, "Why?"), ("assistant", 0, "it is")]),
    "later": ([COFFEE, COFFEE], [("user", 1, "What?"), ("assistant", 0, "coffee"), ("user", 1, "And now?"), ("assistant", 0, "coffee")]),
    "none": ([], [("user", 0, "What colour is the shape?"), ("assistant", 0, "red")]),
}


class Stills(LlavaOnevisionProcessor):
    """The processor without what it has for videos, which needs torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)


def text_config(kind, **more):
    return kind(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
                max_position_embeddings=2048, rope_parameters={**ROPE, "rope_theta": 1e4}, tie_word_embeddings=False,
                bos_token_id=1, eos_token_id=2, pad_token_id=0, **more)


def vision_config(kind):
    return kind(hidden_size=24, num_hidden_layers=4, num_attention_heads=2, intermediate_size=40, image_size=SIDE, patch_size=PATCH)


def tokenizer():
    made = PreTrainedTokenizerFast(
        tokenizer_file=str(DATA / "chat/smollm.json"), bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>",
        extra_special_tokens={"image_token": "<image>"})
    made.chat_template = json.loads((DATA / "chat/cases.json").read_text())["templates"]["parts"]
    return made


def llava():
    config = LlavaConfig(vision_config=vision_config(CLIPVisionConfig), text_config=text_config(LlamaConfig), image_token_index=IMAGE,
                         image_seq_length=(SIDE // PATCH) ** 2, tie_word_embeddings=False)
    images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(images, tokenizer(), patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1)
    return LlavaForConditionalGeneration(config), processor


def onevision():
    grids = [[SIDE * rows, SIDE * columns] for rows in range(1, TILES + 1) for columns in range(1, TILES + 1)]
    vision = vision_config(SiglipVisionConfig)
    vision.vision_use_head = False
    config = LlavaOnevisionConfig(vision_config=vision, text_config=text_config(Qwen2Config), image_token_index=IMAGE,
                                  video_token_index=4, image_grid_pinpoints=grids, vision_aspect_ratio=f"anyres_max_{MOST}",
                                  tie_word_embeddings=False)
    images = LlavaOnevisionImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=grids)
    processor = Stills(
        images, tokenizer(), video_processor=None, num_image_tokens=(SIDE // PATCH) ** 2, vision_feature_select_strategy="full",
        vision_aspect_ratio=f"anyres_max_{MOST}")
    return LlavaOnevisionForConditionalGeneration(config), processor


class Injection(torch.nn.Module):
    """AMP and AGF over a LLaVA-OneVision, dense wiring; what a conversation shows is told before the model runs."""

    def __init__(self, model):
        super().__init__()
        width, of_vision = model.config.text_config.hidden_size, model.config.vision_config.hidden_size
        linear = lambda out, fan_in: torch.nn.Linear(fan_in, out, bias=False)
        self.down = torch.nn.ModuleList([linear(RANK, of_vision) for _ in TAPS])
        self.up = torch.nn.ModuleList([linear(width, RANK) for _ in TAPS])
        self.gates = torch.nn.ModuleList([Gate(width, model.config.text_config.num_attention_heads, 0.0) for _ in POINTS])
        self.features = None

    def named_weights(self):
        """By the names that crossloom has for them."""
        named = {}
        for tap, down, up in zip(TAPS, self.down, self.up):
            named[f"injection.adapter.block.{tap}.lora_A.weight"] = down.weight
            named[f"injection.adapter.block.{tap}.lora_B.weight"] = up.weight
        for point, gate in zip(POINTS, self.gates):
            named |= {f"injection.gate.layer.{point}.{name}": value for name, value in gate.named_parameters()}
        return named

    def hook(self, model):
        """Puts it before the layers."""
        for point, gate in zip(POINTS, self.gates):
            layer = model.model.language_model.layers[point]
            layer.register_forward_pre_hook(lambda _layer, args, gate=gate: (self.inject(gate, args[0]), *args[1:]))

    def inject(self, gate, hidden):
        if self.features is None:
            return hidden
        weights = gate(hidden, self.features[:, None], self.shown[None])
        update = (weights[..., None] * self.features).sum(0)
        hidden = hidden.clone()
        hidden[0, self.places] += update
        return hidden

    def see(self, model, given):
        """The features of all taps, and the positions that they are added to: those of visual tokens but ends of rows."""
        self.features = None
        if "pixel_values" not in given:
            return
        pictures = list(given["pixel_values"])
        if len(pictures) > 1:
            pictures = [picture[:1] for picture in pictures]
        states = [model.model.vision_tower(picture, output_hidden_states=True).hidden_states for picture in pictures]
        end = torch.full((model.config.text_config.hidden_size,), torch.nan, dtype=torch.float64)
        features = []
        for tap, down, up in zip(TAPS, self.down, self.up):
            adapted = [model.model.multi_modal_projector(of[tap]) + up(down(of[tap])) for of in states]
            packed, _ = model.model.pack_image_features(
                adapted, given["image_sizes"], image_newline=end, vision_aspect_ratio=model.config.vision_aspect_ratio)
            features.append(torch.cat(list(packed)))
        features = torch.stack(features)
        patches = ~features[0].isnan().any(-1)
        self.shown = given["input_ids"][0] == IMAGE
        self.places = self.shown.nonzero()[:, 0][patches]
        self.features = features[:, patches]


def messages(turns):
    """A conversation as chat templates read it."""
    return [{"role": role, "content": [{"type": "image"}] * pictures + [{"type": "text", "text": text}]} for role, pictures, text in turns]


def logits(model, processor, names, turns, injection=None):
    text = processor.tokenizer.apply_chat_template(messages(turns), tokenize=False)
    pictures = [Image.open(DATA / "processors" / name).convert("RGB") for name in names]
    given = processor(images=[pictures] if pictures else None, text=[text], return_tensors="pt")
    if "pixel_values" in given:
        given["pixel_values"] = given["pixel_values"].double()
    with torch.no_grad():
        if injection:
            injection.see(model, given)
        out = model(**given).logits[0]
    return given["input_ids"][0].tolist(), out[::EVERY].float().contiguous()


def main():
    generator = torch.Generator().manual_seed(SEED)
    cases, kept = {}, {}
    for name, made in [("llava", llava), ("onevision", onevision)]:
        model, processor = made()
        randomise(model, generator)
        folder = FOLDER / name
        shutil.rmtree(folder, ignore_errors=True)
        for part in [processor.image_processor, processor.tokenizer]:
            part.save_pretrained(folder)
        cases[name] = []
        for case, (names, turns) in CASES.items():
            ids, kept[f"{name}.{case}"] = logits(model, processor, names, turns)
            cases[name].append({"name": case, "pictures": names, "messages": messages(turns), "ids": ids})
        if name == "onevision":
            injection = randomise(Injection(model), generator)
            injection.hook(model)
            given = {name: value.detach().float().contiguous() for name, value in injection.named_weights().items()}
            save_file(given, FOLDER / "injection.safetensors")
            for case, (names, turns) in CASES.items():
                _, kept[f"injected.{case}"] = logits(model, processor, names, turns, injection)
        model.bfloat16().save_pretrained(folder)
    (FOLDER / "cases.json").write_text(json.dumps({"every": EVERY, "checkpoints": cases}, indent=1) + "\n")
    save_file(kept, FOLDER / "logits.safetensors")


if __name__ == "__main__":
    main()
