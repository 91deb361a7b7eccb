"""Writes what Hugging Face's models compute, for the tests of crossloom-model: tiny models with random weights.

Run by hand: `pip install torch transformers==5.23.0`, then `python tests/oracle/make_model_fixtures.py`. The tests themselves
need neither Python nor a network.

`fixtures/MODEL` (or several parts in it) is a folder as `save_pretrained` writes it. Weights are numbers that bf16 has, so that
a model in f64, in f32 and in bf16 is the same model. `fixtures/MODEL/CASE` has `reference.safetensors`, and what `save_pretrained`
writes of the gradients in place of the weights. The reference holds

    input.*            what crossloom's graphs read, for a batch
    state.SCOPE        states of vision tower and decoder by the scope that computes them
    logits, loss       at all target positions
    bf16.logits        those of the same model in bf16
    weight.*, grad.*   of a projector that is of no folder
    prompt.greedy      [rows, n] what greedy decoding goes on with behind every row
    prompt.logits      [rows, V] behind the last token of each row

A second case of one folder packs the questions of the first behind one picture: gradients and continuations are the first's.
"""

import copy
import logging
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Granite4VisionConfig,
    Granite4VisionForConditionalGeneration,
    Granite4VisionTextConfig,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLTextConfig,
    Qwen3VLVisionConfig,
    SiglipVisionConfig,
    SiglipVisionModel,
)
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-model/tests/reference/fixtures"
SEED = 11
IMAGE = 28  # the token that stands at image positions, the last of the vocabulary
VOCAB = 29
IGNORED = -100
GENERATED = 7
ROPE = {"rope_type": "default"}


def randomise(model, generator):
    """Every parameter random, norms and biases too: one that is forgotten or swapped shows."""
    for name, parameter in sorted(model.named_parameters()):
        draw = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            draw = 0.3 * draw
        elif "norm" in name or "layer_scale" in name:
            draw = 1.0 + 0.3 * draw
        elif "position" in name or "pos_embed" in name or "class_embedding" in name or "cls_token" in name:
            draw = 0.5 * draw
        elif "embed_tokens" not in name:
            draw = 1.5 * draw / parameter[0].numel() ** 0.5
        parameter.data.copy_(draw.bfloat16())
    if isinstance(model, transformers.PreTrainedModel):
        model.set_attn_implementation("eager")
    return model.double().eval()


class States:
    """Keeps what modules return while a model runs."""

    def __init__(self):
        self.kept = {}
        self.on = True

    def after(self, name, module, made=lambda x: x):
        module.register_forward_hook(lambda _m, _args, out: self.keep(name, made(out)))

    def before(self, name, module, made=lambda x: x):
        def hook(_module, args, kwargs):
            self.keep(name, made(args[0] if args else kwargs["hidden_states"]))

        module.register_forward_pre_hook(hook, with_kwargs=True)

    def keep(self, name, out):
        if self.on:
            self.kept[name] = (out[0] if isinstance(out, tuple) else out).detach()


class Model:
    """A tower, a projector and a decoder, of one model or of several."""

    def __init__(self, parts, tower, projector, decoder, read):
        """`parts` are the models that are saved, by folder; `read` makes the features of what the tower returns."""
        self.parts, self.tower, self.projector, self.decoder, self.read = parts, tower, projector, decoder, read

    @classmethod
    def whole(cls, model, read=None):
        return cls({"": model}, model.model.vision_tower, model.model.multi_modal_projector, model, read)

    def low(self):
        """The same in bf16."""
        low = copy.deepcopy(self)
        for module in (low.tower, low.projector, low.decoder):
            module.bfloat16()
        return low

    def embed(self, ids, pictures):
        """The decoder's input; rows with an image token take the pictures in their order."""
        embedded = self.decoder.get_input_embeddings()(ids)
        if not (ids == IMAGE).any():
            return embedded
        features = self.projector(self.read(self.tower(pictures.to(embedded.dtype), output_hidden_states=True)))
        return embedded.masked_scatter((ids == IMAGE)[..., None], features)

    def given(self, ids, pictures):
        """Arguments of the decoder for tokens and the pictures among them."""
        return {"inputs_embeds": self.embed(ids, pictures)}

    def forward(self, batch):
        given = self.given(batch.ids, batch.pictures[batch.with_picture])
        return self.decoder(attention_mask=batch.mask, labels=batch.labels, **given)

    def greedy(self, ids, picture):
        """Tokens behind a prompt, and the logits of the first."""
        out = self.decoder.generate(
            attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=GENERATED, eos_token_id=None,
            pad_token_id=0, output_logits=True, return_dict_in_generate=True, **self.given(ids, picture),
        )
        return out.sequences[0, -GENERATED:], out.logits[0][0]

    def watch(self, embed, layers, post_norm=None):
        states = States()
        states.after("vision.embed", embed)
        for i, layer in enumerate(layers):
            states.after(f"vision.block.{i + 1}", layer)
        if post_norm is not None:
            states.after("vision.post_norm", post_norm)
        states.after("projector", self.projector)
        return self.watch_decoder(states)

    def watch_decoder(self, states):
        decoder = getattr(self.decoder.model, "language_model", self.decoder.model)
        states.before("language.embed", decoder.layers[0])
        for i, layer in enumerate(decoder.layers):
            states.after(f"language.layer.{i}", layer)
        return states


class OneModel(Model):
    """A model that joins tokens and pictures itself."""

    def given(self, ids, pictures):
        pixels = {"pixel_values": pictures.to(self.decoder.dtype)} if (ids == IMAGE).any() else {}
        return {"input_ids": ids} | pixels


def merged_patches(whole, pictures):
    """Pictures as a Qwen3-VL reads them: patches in blocks that are merged, each frame of a patch the same picture."""
    config = whole.config.vision_config
    merge, patch, frames = config.spatial_merge_size, config.patch_size, config.temporal_patch_size
    count, channels, side, _ = pictures.shape
    grid = side // patch
    blocks = pictures.reshape(count, channels, grid // merge, merge, patch, grid // merge, merge, patch)
    blocks = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(count * grid * grid, channels, 1, patch, patch)
    return {
        "image_grid_thw": torch.tensor([[1, grid, grid]] * count),
        "pixel_values": blocks.expand(-1, -1, frames, -1, -1).flatten(1).to(whole.dtype),
    }


def base_picture(whole, ids, pictures, mask, image):
    """Logits of a Granite Vision that is given the base picture alone, without what is added to its tiles."""
    model, config = whole.model, whole.config
    seen, added = (ids == image)[..., None], None
    embedded = whole.get_input_embeddings()(ids).masked_fill(seen, 0.0)
    if seen.any():
        states = model.vision_tower(pictures.to(embedded.dtype), output_hidden_states=True).hidden_states
        edges = [(projector, *edge) for projector, edge in zip(model.layerwise_projectors, config.deepstack_layer_map)]
        edges += [
            (projector, config.spatial_vision_layer, layer)
            for projector, layer in zip(model.spatial_projectors, config.spatial_target_layers)
        ]
        added = {layer: projector(states[state]).flatten(0, 1) for projector, state, layer in edges}
    out = model.language_model(
        inputs_embeds=embedded, attention_mask=mask, vision_mask=seen, deepstack_features=added, use_cache=False
    )
    return whole.lm_head(out.last_hidden_state) / config.text_config.logits_scaling


class Qwen3VL(OneModel):
    """Pictures of one size, as patches in blocks that are merged, each frame of a patch the same picture."""

    @classmethod
    def of(cls, whole):
        visual = whole.model.visual
        return cls({"": whole}, visual, visual.merger, whole, None)

    def given(self, ids, pictures):
        if not (ids == IMAGE).any():
            # What it keeps of the positions of the last call would be taken for this one's.
            self.decoder.model.rope_deltas = None
            return {"input_ids": ids}
        return {"input_ids": ids, "mm_token_type_ids": (ids == IMAGE).int()} | merged_patches(self.decoder, pictures)

    def watch(self, grid):
        """States by patch, row by row, as those of other towers."""
        states, merge = States(), self.tower.config.spatial_merge_size
        side = grid // merge
        by_row = lambda x: (
            x.reshape(-1, side, side, merge, merge, x.shape[-1]).transpose(2, 3).reshape(-1, grid * grid, x.shape[-1])
        )
        states.before("vision.embed", self.tower.blocks[0], by_row)
        for i, block in enumerate(self.tower.blocks):
            states.after(f"vision.block.{i + 1}", block, by_row)
        states.after("projector", self.projector, lambda x: x.reshape(-1, side * side, x.shape[-1]))
        self.watch_decoder(states)
        # What is added behind a layer is what the next one reads.
        layers = self.decoder.model.language_model.layers
        for i in range(len(self.tower.config.deepstack_visual_indexes)):
            states.before(f"inject.layer.{i}.after", layers[i + 1])
        return states


class GraniteVision(Model):
    """The base picture alone, without what is added to its tiles: all that it sees is added before layers."""

    @classmethod
    def of(cls, whole):
        return cls({"": whole}, whole.model.vision_tower, None, whole, None)

    def low(self):
        low = copy.deepcopy(self)
        low.decoder.bfloat16()
        return low

    def logits(self, ids, pictures, mask):
        return base_picture(self.decoder, ids, pictures, mask, IMAGE)

    def forward(self, batch):
        logits = self.logits(batch.ids, batch.pictures[batch.with_picture], batch.mask)
        loss = self.decoder.loss_function(logits=logits, labels=batch.labels, vocab_size=VOCAB)
        return CausalLMOutput(loss=loss, logits=logits)

    def greedy(self, ids, picture):
        prompt = ids.shape[1]
        for _ in range(GENERATED):
            logits = self.logits(ids, picture, torch.ones_like(ids))[0, -1]
            if ids.shape[1] == prompt:
                first = logits
            ids = torch.cat([ids, logits.argmax()[None, None]], 1)
        return ids[0, prompt:], first

    def watch(self):
        states, config = States(), self.decoder.config
        states.after("vision.embed", self.tower.embeddings)
        for i, layer in enumerate(self.tower.encoder.layers):
            states.after(f"vision.block.{i + 1}", layer)
        layers = self.decoder.model.language_model.layers
        for i, layer in enumerate(layers):
            states.after(f"language.layer.{i}", layer)
        # A layer reads its input after what is added to it.
        for layer in [layer for _, layer in config.deepstack_layer_map] + config.spatial_target_layers:
            states.before(f"inject.layer.{layer}", layers[layer])
        return states


def single(x):
    return x if x.dtype == torch.int32 else x.detach().to(torch.float32, copy=True).contiguous()


def integers(rows):
    return torch.tensor(rows, dtype=torch.int32)


class Batch:
    """Texts and pictures of a batch: at most one picture and one text a row, the shorter texts padded at the end."""

    def __init__(self, rows, pictures, span=None):
        """Rows hold ids, with IMAGE at the picture's positions; every text token but the first is a target.

        `span` is how many rotary positions a picture takes where its tokens have not one each; then all have its first.
        """
        length = max(map(len, rows))
        self.span = span
        self.rows, self.pictures, self.length = rows, pictures, length
        self.with_picture = [r for r, row in enumerate(rows) if IMAGE in row]
        self.ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        self.mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        self.labels = torch.full_like(self.ids, IGNORED)
        for r, row in enumerate(rows):
            for t in range(self.text(row) + 1, len(row)):
                self.labels[r, t] = row[t]

    @staticmethod
    def text(row):
        """Where the text behind the picture begins."""
        return len(row) - row[::-1].index(IMAGE) if IMAGE in row else 0

    def position(self, row, t):
        """The rotary position of position t."""
        if self.span is None or IMAGE not in row or t < row.index(IMAGE):
            return t
        return row.index(IMAGE) if row[t] == IMAGE else t - row.count(IMAGE) + self.span

    def next_token(self, r, t):
        follows = self.labels[r, t + 1].item() if t + 1 < self.length else IGNORED
        return -1 if follows == IGNORED else follows

    def case(self, out, low, states, layout):
        """The case in which position t of row b is `layout[b][t]`: row and position here, segment, rotary position."""
        length = max(map(len, layout))
        fill = lambda values, value: values + [value] * (length - len(values))
        each = lambda value, f: integers([fill([f(*at) for at in row], value) for row in layout])
        patches = max(row.count(IMAGE) for row in self.rows)
        image = lambda row: [t for t, at in enumerate(row) if self.rows[at[0]][at[1]] == IMAGE] or [-1] * patches
        first_row = [row[0][0] for row in layout]
        # An unused target reads position 0.
        at_targets = lambda x: torch.stack(
            [torch.stack(fill([x[r, t] for r, t, *_ in row], x[row[0][:2]])) for row in layout]
        )
        tensors = {
            "input.pixels": self.pictures[first_row],
            "input.tokens": each(0, lambda r, t, s, p: self.rows[r][t]),
            "input.positions": each(0, lambda r, t, s, p: p),
            "input.segments": each(-1, lambda r, t, s, p: s),
            "input.image_index": integers([image(row) for row in layout]),
            "input.target_index": integers([fill(list(range(len(row))), 0) for row in layout]),
            "input.targets": each(-1, lambda r, t, s, p: self.next_token(r, t)),
            "logits": at_targets(out.logits),
            "bf16.logits": at_targets(low.logits),
            "loss": out.loss,
        }
        for scope, state in states.kept.items():
            if scope.startswith(("language", "inject")):
                # What stands in padding is not compared.
                zero = torch.zeros_like(state[0, 0])
                rows = [torch.stack(fill([state[r, t] for r, t, *_ in row], zero)) for row in layout]
                tensors[f"state.{scope}"] = torch.stack(rows)
            else:
                # Only pictures that a row asks about.
                tensors[f"state.{scope}"] = state[[self.with_picture.index(r) for r in first_row if r in self.with_picture]]
        return tensors

    def rows_as_they_are(self):
        """Before and in the picture everything is segment 0, behind it 1."""
        at = lambda r, row, t: (r, t, int(t >= self.text(row)), self.position(row, t))
        return [[at(r, row, t) for t in range(len(row))] for r, row in enumerate(self.rows)]

    def packed(self):
        """All texts behind one picture, each as if it stood there alone."""
        start = self.text(self.rows[0])
        image = [(0, t, 0, t) for t in range(start)]
        texts = [(r, t, r + 1, t) for r, row in enumerate(self.rows) for t in range(start, len(row))]
        return [image + texts]

    def prompts(self, model):
        """Greedy continuations of every row as a prompt of its own."""
        ids, logits = [], []
        for r, row in enumerate(self.rows):
            more, first = model.greedy(torch.tensor([row]), self.pictures[r : r + 1])
            ids.append(more.tolist())
            logits.append(first)
        return {
            "prompt.greedy": integers(ids),
            "prompt.logits": torch.stack(logits),
        }


def save(model, folder):
    """The folder of a model as it writes itself; what says how to generate is not read."""
    copy.deepcopy(model).float().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)


def write(name, model, batch, states, layouts):
    """One case per layout, with the gradients in the first."""
    folder = FOLDER / name
    for part, module in model.parts.items():
        save(module, folder / part)
    out = model.forward(batch)
    out.loss.backward()
    kept = states.kept
    states.on = False
    with torch.no_grad():
        low, prompts = model.low().forward(batch), batch.prompts(model)
    for number, (case, layout) in enumerate(layouts.items()):
        states.kept = kept
        tensors = batch.case(out, low, states, layout)
        if number == 0:
            tensors |= prompts
            for part, module in model.parts.items():
                gradients = copy.deepcopy(module)
                for parameter, original in zip(gradients.parameters(), module.parameters(), strict=True):
                    grad = original.grad
                    parameter.data.copy_(torch.zeros_like(parameter) if grad is None else grad)
                save(gradients, folder / case / part)
            if "" not in model.parts:
                for key, parameter in model.projector.named_parameters():
                    tensors[f"weight.multi_modal_projector.{key}"] = parameter
                    tensors[f"grad.multi_modal_projector.{key}"] = parameter.grad
        # One entry only: their order in the file is that of a hash map.
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
        (folder / case).mkdir(parents=True, exist_ok=True)
        path = folder / case / "reference.safetensors"
        save_file({key: single(x) for key, x in tensors.items()}, path, {"written_with": versions})
        print(f"{name}/{case}: {sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())} bytes in all")


def clip_llama(name, layers):
    """LLaVA-1.5 in small: the state before the last block, or several, no class token; heads wider than width / heads.

    The last row has no picture.
    """
    generator = torch.Generator().manual_seed(SEED)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=12, patch_size=4,
        hidden_act="quick_gelu", layer_norm_eps=1e-3,
    )
    text = LlamaConfig(
        hidden_size=20, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=6, vocab_size=VOCAB, rms_norm_eps=1e-3, tie_word_embeddings=False,
        rope_parameters={"rope_theta": 10000.0} | ROPE,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_layer=layers,
        vision_feature_select_strategy="default", projector_hidden_act="gelu",
    )
    whole = randomise(LlavaForConditionalGeneration(config), generator)
    model = OneModel.whole(whole)
    tower = model.tower
    states = model.watch(tower.pre_layrnorm, tower.encoder.layers)
    pictures = torch.randn(3, 3, 12, 12, generator=generator).bfloat16().double()
    picture = [IMAGE] * 9
    rows = [picture + [3, 17, 5, 22, 8, 1], [4, 1] + picture + [19, 2, 7], [6, 11, 9, 2, 25]]
    batch = Batch(rows, pictures)
    write(name, model, batch, states, {"rows": batch.rows_as_they_are()})


def siglip_qwen2(name, reading, read):
    """LLaVA-OneVision in small, the base picture without what is added to its tiles; Qwen2 with its head tied.

    SigLIP's last state is read before its norm, as by OneVision, or after it. Heads are 18 wide and the pictures two pixels wider
    than their patches. All rows ask about one picture, so that they can be packed.
    """
    generator = torch.Generator().manual_seed(SEED + 1)
    vision = SiglipVisionConfig(
        hidden_size=36, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=14, patch_size=4,
        hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-4, vision_use_head=False,
    )
    text = Qwen2Config(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
        vocab_size=VOCAB, rms_norm_eps=1e-4, tie_word_embeddings=True,
        rope_parameters={"rope_theta": 1000000.0} | ROPE,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, projector_hidden_act="gelu", image_token_index=IMAGE,
        video_token_index=0, tie_word_embeddings=True, image_grid_pinpoints=[[14, 14]],
    )
    whole = randomise(LlavaOnevisionForConditionalGeneration(config), generator)
    model = Model.whole(whole, read)
    tower = model.tower
    states = model.watch(tower.embeddings, tower.encoder.layers, tower.post_layernorm)
    picture = torch.randn(1, 3, 14, 14, generator=generator).bfloat16().double()
    batch = Batch([[IMAGE] * 9 + [3, 17, 5, 22, 8], [IMAGE] * 9 + [19, 2, 7]], picture.expand(2, -1, -1, -1))
    layouts = {reading: batch.rows_as_they_are()}
    if reading == "last_block":
        layouts["packed"] = batch.packed()
    write(name, model, batch, states, layouts)


def dinov2_qwen3():
    """DINOv2 and Qwen3, each a model of its own. The positions are those of 5 x 5 patches, the pictures have 3 x 3 and two pixels more."""
    generator = torch.Generator().manual_seed(SEED + 2)
    vision = Dinov2Config(
        hidden_size=18, mlp_ratio=2, num_hidden_layers=2, num_attention_heads=3, image_size=20, patch_size=4,
        layer_norm_eps=1e-4,
    )
    text = Qwen3Config(
        hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=6, vocab_size=VOCAB, rms_norm_eps=1e-4, tie_word_embeddings=False,
        rope_parameters={"rope_theta": 1000000.0} | ROPE,
    )
    tower, decoder = Dinov2Model(vision), Qwen3ForCausalLM(text)
    projector = LlavaMultiModalProjector(LlavaConfig(vision_config=vision, text_config=text))
    for module in (tower, projector, decoder):
        randomise(module, generator)
    read = lambda out: out.last_hidden_state[:, 1:]
    model = Model({"dinov2": tower, "qwen3": decoder}, tower, projector, decoder, read)
    states = model.watch(tower.embeddings, tower.encoder.layer, tower.layernorm)
    pictures = torch.randn(2, 3, 14, 14, generator=generator).bfloat16().double()
    batch = Batch([[7] + [IMAGE] * 9 + [3, 17, 5, 22], [IMAGE] * 9 + [19, 2, 7]], pictures)
    write("dinov2_qwen3", model, batch, states, {"rows": batch.rows_as_they_are()})


def siglip_granite():
    """SigLIP and Granite, each a model of its own. Granite's multipliers are far from 1; its heads share keys unevenly wide."""
    generator = torch.Generator().manual_seed(SEED + 3)
    vision = SiglipVisionConfig(
        hidden_size=12, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=12, patch_size=4,
        hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-4, vision_use_head=False,
    )
    text = GraniteConfig(
        hidden_size=24, intermediate_size=20, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=VOCAB, rms_norm_eps=1e-4, tie_word_embeddings=True, embedding_multiplier=3.0,
        attention_multiplier=0.25, residual_multiplier=0.6, logits_scaling=2.0,
        rope_parameters={"rope_theta": 10000.0} | ROPE,
    )
    tower, decoder = SiglipVisionModel(vision), GraniteForCausalLM(text)
    projector = LlavaMultiModalProjector(LlavaConfig(vision_config=vision, text_config=text))
    for module in (tower, projector, decoder):
        randomise(module, generator)
    model = Model({"siglip": tower, "granite": decoder}, tower, projector, decoder, lambda out: out.last_hidden_state)
    states = model.watch(tower.embeddings, tower.encoder.layers, tower.post_layernorm)
    pictures = torch.randn(2, 3, 12, 12, generator=generator).bfloat16().double()
    batch = Batch([[7] + [IMAGE] * 9 + [3, 17, 5, 22], [IMAGE] * 9 + [19, 2, 7]], pictures)
    write("siglip_granite", model, batch, states, {"rows": batch.rows_as_they_are()})


def granite_vision():
    """Granite 4.1 Vision in small, the base picture: 8 x 8 patches, each window of 4 x 4 of them read by 2 x 2 queries.

    Heads of the Q-formers are as many as a width of 64 has each, so that one of 12 has to be told. The last row has no picture.
    """
    generator = torch.Generator().manual_seed(SEED + 10)
    vision = SiglipVisionConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=2,
        hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-6, vision_use_head=False,
    )
    text = Granite4VisionTextConfig(
        hidden_size=12, intermediate_size=16, num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=VOCAB, rms_norm_eps=1e-4, embedding_multiplier=3.0, attention_multiplier=0.25,
        residual_multiplier=0.6, logits_scaling=2.0, rope_parameters={"rope_theta": 10000.0} | ROPE,
    )
    config = Granite4VisionConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, vision_feature_select_strategy="full",
        downsample_rate="2/4", deepstack_layer_map=[[1, 1], [-1, 0]], spatial_vision_layer=-1,
        spatial_target_layers=[2, 3, 5, 4], tie_word_embeddings=False, image_grid_pinpoints=[[16, 16]],
        qformer_config={
            "model_type": "blip_2_qformer", "num_hidden_layers": 1, "intermediate_size": 16,
            "cross_attention_frequency": 1, "use_qformer_text_input": False,
        },
    )
    config.qformer_config.num_attention_heads = 2
    model = GraniteVision.of(randomise(Granite4VisionForConditionalGeneration(config), generator))
    states = model.watch()
    pictures = torch.randn(3, 3, 16, 16, generator=generator).bfloat16().double()
    picture = [IMAGE] * 16
    rows = [picture + [3, 17, 5, 22, 8, 1], [4, 1] + picture + [19, 2, 7], [6, 11, 9, 2, 25]]
    batch = Batch(rows, pictures)
    write("granite_vision", model, batch, states, {"rows": batch.rows_as_they_are()})


def qwen3_vl():
    """Qwen3-VL in small: 6 x 6 patches of two frames on positions of 5 x 5, merged by 2 x 2; two blocks are injected.

    The last row has no picture.
    """
    generator = torch.Generator().manual_seed(SEED + 5)
    vision = Qwen3VLVisionConfig(
        hidden_size=16, intermediate_size=20, depth=3, num_heads=2, patch_size=4, temporal_patch_size=2,
        spatial_merge_size=2, out_hidden_size=20, num_position_embeddings=25, deepstack_visual_indexes=[0, 1],
    )
    text = Qwen3VLTextConfig(
        hidden_size=20, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, vocab_size=VOCAB, rms_norm_eps=1e-4,
        rope_parameters={"rope_theta": 5000000.0, "mrope_section": [2, 2, 1], "mrope_interleaved": True} | ROPE,
    )
    config = Qwen3VLConfig(
        vision_config=vision.to_dict(), text_config=text.to_dict(), image_token_id=IMAGE, video_token_id=0,
        tie_word_embeddings=False,
    )
    model = Qwen3VL.of(randomise(Qwen3VLForConditionalGeneration(config), generator))
    states = model.watch(6)
    pictures = torch.randn(3, 3, 24, 24, generator=generator).bfloat16().double()
    picture = [IMAGE] * 9
    rows = [picture + [3, 17, 5, 22, 8, 1], [4, 1] + picture + [19, 2, 7], [6, 11, 9, 2, 25]]
    batch = Batch(rows, pictures, span=3)
    write("qwen3_vl", model, batch, states, {"rows": batch.rows_as_they_are()})


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    shutil.rmtree(FOLDER, ignore_errors=True)
    clip_llama("clip_llama", -2)
    clip_llama("clip_llama_layers", [-2, 0, 3])
    siglip_qwen2("siglip_qwen2", "last_block", lambda out: out.hidden_states[-1])
    siglip_qwen2("siglip_qwen2", "post_norm", lambda out: out.last_hidden_state)
    dinov2_qwen3()
    siglip_granite()
    qwen3_vl()
    granite_vision()
