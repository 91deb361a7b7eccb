"""Writes what Hugging Face's models compute, for the tests of crossloom-model: tiny models with random weights.

Run by hand: `pip install torch transformers safetensors`, then `python tests/oracle/make_model_fixtures.py`. The tests
themselves need neither Python nor a network.

A fixture has the weights under their names in published checkpoints, `grad.NAME` the gradient of the loss, and one or
two cases. A case has `CASE/input.*` as crossloom's graphs read them, `CASE/state.SCOPE` the states of vision tower and
decoder by the scope that computes them, `CASE/logits` at all target positions and `CASE/loss`.
"""

from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-model/tests/reference/fixtures"
SEED = 11
IMAGE = 28  # the token that stands at image positions, the last of the vocabulary
VOCAB = 29
IGNORED = -100


def randomise(model, generator):
    """Every parameter random, norms and biases too: one that is forgotten or swapped shows."""
    for name, parameter in sorted(model.named_parameters()):
        draw = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            draw = 0.3 * draw
        elif "norm" in name:
            draw = 1.0 + 0.3 * draw
        elif "embedding.weight" in name and "patch" not in name or "class_embedding" in name:
            draw = 0.5 * draw
        elif "embed_tokens" not in name:
            draw = 1.5 * draw / parameter[0].numel() ** 0.5
        parameter.data.copy_(draw)
    return model.double().eval()


class States:
    """Keeps what modules return while a model runs."""

    def __init__(self):
        self.kept = {}

    def after(self, name, module):
        module.register_forward_hook(lambda _m, _args, out: self.keep(name, out))

    def before(self, name, module):
        def hook(_module, args, kwargs):
            self.keep(name, args[0] if args else kwargs["hidden_states"])

        module.register_forward_pre_hook(hook, with_kwargs=True)

    def keep(self, name, out):
        self.kept[name] = (out[0] if isinstance(out, tuple) else out).detach()

    def watch(self, tower, embed, projector, decoder):
        self.after("vision.embed", embed)
        for i, layer in enumerate(tower.encoder.layers):
            self.after(f"vision.block.{i + 1}", layer)
        self.after("projector", projector)
        self.before("language.embed", decoder.layers[0])
        for i, layer in enumerate(decoder.layers):
            self.after(f"language.layer.{i}", layer)


PREFIXES = {
    # transformers 5 has no `vision_model` in the modules of a tower; the checkpoints of LLaVA do.
    "vision": "vision_tower.vision_model.",
    "projector": "multi_modal_projector.",
    "decoder": "language_model.model.",
}


def published(part, module, skip=()):
    """Parameters under the names of published checkpoints."""
    kept = ((name, p) for name, p in module.named_parameters() if not name.startswith(tuple(skip)))
    return {PREFIXES[part] + name: p for name, p in kept}


def single(x):
    return x.detach().to(torch.float32, copy=True).contiguous()


def integers(rows):
    return torch.tensor(rows, dtype=torch.int32)


class Batch:
    """Texts and pictures of a batch: one picture and one text a row, the shorter texts padded at the end."""

    def __init__(self, rows, pictures):
        """Rows hold ids, with IMAGE at the picture's positions; every text token but the first is a target."""
        length = max(map(len, rows))
        self.rows, self.pictures, self.length = rows, pictures, length
        self.ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        self.mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        self.labels = torch.full_like(self.ids, IGNORED)
        for r, row in enumerate(rows):
            for t in range(self.text(row) + 1, len(row)):
                self.labels[r, t] = row[t]

    @staticmethod
    def text(row):
        """Where the text behind the picture begins."""
        return len(row) - row[::-1].index(IMAGE)

    def next_token(self, r, t):
        follows = self.labels[r, t + 1].item() if t + 1 < self.length else IGNORED
        return -1 if follows == IGNORED else follows

    def case(self, name, out, states, layout):
        """The case in which position t of row b is `layout[b][t]`: row and position here, segment, rotary position."""
        length = max(map(len, layout))
        fill = lambda values, value: values + [value] * (length - len(values))
        each = lambda value, f: integers([fill([f(*at) for at in row], value) for row in layout])
        is_image = lambda at: self.rows[at[0]][at[1]] == IMAGE
        first_row = [row[0][0] for row in layout]
        tensors = {
            "input.pixels": self.pictures[first_row],
            "input.tokens": each(0, lambda r, t, s, p: self.rows[r][t]),
            "input.positions": each(0, lambda r, t, s, p: p),
            "input.segments": each(-1, lambda r, t, s, p: s),
            "input.image_index": integers([[t for t, at in enumerate(row) if is_image(at)] for row in layout]),
            "input.target_index": integers([fill(list(range(len(row))), 0) for row in layout]),
            "input.targets": each(-1, lambda r, t, s, p: self.next_token(r, t)),
            # An unused target reads position 0.
            "logits": torch.stack(
                [torch.stack(fill([out.logits[r, t] for r, t, *_ in row], out.logits[row[0][:2]])) for row in layout]
            ),
            "loss": out.loss,
        }
        for scope, state in states.kept.items():
            if scope.startswith("language"):
                # What stands in padding is not compared.
                zero = torch.zeros_like(state[0, 0])
                rows = [torch.stack(fill([state[r, t] for r, t, *_ in row], zero)) for row in layout]
                tensors[f"state.{scope}"] = torch.stack(rows)
            else:
                tensors[f"state.{scope}"] = state[first_row]
        keep = lambda x: x if x.dtype == torch.int32 else single(x)
        return {f"{name}/{key}": keep(x) for key, x in tensors.items()}

    def rows_as_they_are(self):
        """Before and in the picture everything is segment 0, behind it 1."""
        return [[(r, t, int(t >= self.text(row)), t) for t in range(len(row))] for r, row in enumerate(self.rows)]

    def packed(self):
        """All texts behind one picture, each as if it stood there alone."""
        start = self.text(self.rows[0])
        image = [(0, t, 0, t) for t in range(start)]
        texts = [(r, t, r + 1, t) for r, row in enumerate(self.rows) for t in range(start, len(row))]
        return [image + texts]


def write(name, weights, cases):
    tensors = {key: single(p) for key, p in weights.items()}
    # A block behind the one that is read has no gradient.
    tensors |= {f"grad.{key}": single(p.grad) for key, p in weights.items() if p.grad is not None and p.grad.any()}
    for case in cases:
        tensors |= case
    # One entry only: their order in the file is that of a hash map.
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.safetensors"
    save_file(tensors, path, {"written_with": versions})
    print(f"{path.name}: {path.stat().st_size} bytes, {len(tensors)} tensors")


def clip_llama():
    """LLaVA-1.5 in small: the state before the last block, no class token; heads wider than width / heads."""
    generator = torch.Generator().manual_seed(SEED)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=12, patch_size=4,
        hidden_act="quick_gelu", layer_norm_eps=1e-3,
    )
    text = LlamaConfig(
        hidden_size=20, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=6, vocab_size=VOCAB, rms_norm_eps=1e-3, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=-2,
        vision_feature_select_strategy="default", projector_hidden_act="gelu", attn_implementation="eager",
    )
    model = randomise(LlavaForConditionalGeneration(config), generator)
    inner, states = model.model, States()
    tower = inner.vision_tower
    states.watch(tower, tower.pre_layrnorm, inner.multi_modal_projector, inner.language_model)
    pictures = torch.randn(2, 3, 12, 12, generator=generator).float().double()
    picture = [IMAGE] * 9
    batch = Batch([picture + [3, 17, 5, 22, 8, 1], [4, 1] + picture + [19, 2, 7]], pictures)
    tower(pictures)
    out = model(input_ids=batch.ids, attention_mask=batch.mask, pixel_values=pictures, labels=batch.labels)
    out.loss.backward()
    weights = published("vision", tower, skip=["post_layernorm"])
    weights |= published("projector", inner.multi_modal_projector)
    weights |= published("decoder", inner.language_model)
    weights["language_model.lm_head.weight"] = model.lm_head.weight
    write("clip_llama", weights, [batch.case("rows", out, states, batch.rows_as_they_are())])


def siglip_qwen2():
    """SigLIP's last state after its norm, the projector of LLaVA, Qwen2 with its head tied to the embeddings.

    The pictures are two pixels wider than their patches. Both rows ask about one picture, so that they can be packed.
    """
    generator = torch.Generator().manual_seed(SEED + 1)
    vision = SiglipVisionConfig(
        hidden_size=18, intermediate_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=14, patch_size=4,
        hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-4, vision_use_head=False,
    )
    text = Qwen2Config(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
        vocab_size=VOCAB, rms_norm_eps=1e-4, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    )
    config = LlavaConfig(vision_config=vision, text_config=text, projector_hidden_act="gelu")
    tower, projector, decoder = SiglipVisionModel(vision), LlavaMultiModalProjector(config), Qwen2ForCausalLM(text)
    for module in (tower, projector, decoder):
        randomise(module, generator)
    for module in (tower, decoder):
        module.set_attn_implementation("eager")
    states = States()
    states.watch(tower, tower.embeddings, projector, decoder.model)
    states.after("vision.post_norm", tower.post_layernorm)
    picture = torch.randn(1, 3, 14, 14, generator=generator).float().double()
    pictures = picture.expand(2, -1, -1, -1)
    batch = Batch([[IMAGE] * 9 + [3, 17, 5, 22, 8], [IMAGE] * 9 + [19, 2, 7]], pictures)
    visual = projector(tower(pictures).last_hidden_state)
    embedded = decoder.model.embed_tokens(batch.ids)
    embedded = embedded.masked_scatter((batch.ids == IMAGE)[..., None], visual)
    out = decoder(inputs_embeds=embedded, attention_mask=batch.mask, labels=batch.labels)
    out.loss.backward()
    weights = published("vision", tower) | published("projector", projector) | published("decoder", decoder.model)
    cases = [("rows", batch.rows_as_they_are()), ("packed", batch.packed())]
    write("siglip_qwen2", weights, [batch.case(name, out, states, layout) for name, layout in cases])


if __name__ == "__main__":
    clip_llama()
    siglip_qwen2()
