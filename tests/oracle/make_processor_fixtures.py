"""Writes what transformers' image processors make of pictures, for the tests of crossloom-data.

Run by hand, once per backend that is compared; the first writes the pictures and the configurations too:

    pip install torch transformers==5.23.0 scikit-image==0.26.0
    pip install "pillow<13"            && python tests/oracle/make_processor_fixtures.py pillow12
    pip install "pillow==13.0.0"       && python tests/oracle/make_processor_fixtures.py pillow13
    pip install "torchvision==0.29.2"  && python tests/oracle/make_processor_fixtures.py torchvision

`processors/NAME.BACKEND.png` holds all that the processor NAME makes of the pictures (tiles too), one below the other, as 8-bit samples
before they are normalised. `processors/cases.json` holds the configurations; what every sample becomes, as f32 in hexadecimal, three
channels of 256; and, of processors of the published sizes, the SHA-256 of `pixel_values` of every picture. It also holds numbers of
visual tokens and packed features of LLaVA-OneVision's model.

The photographs are cut out of scikit-image's `coffee` (Rachel Michetti, CC0) and `astronaut` (NASA, public domain).
"""

import hashlib
import importlib.util
import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "crates/crossloom-data/tests/processors"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def shorter(edge, crop, **more):
    return {"size": {"shortest_edge": edge}, "crop_size": {"height": crop[0], "width": crop[1]}} | more


def grids(tile, most):
    return [[tile * high, tile * wide] for high in range(1, most + 1) for wide in range(1, most + 1)]


SMALL = {
    "clip": ("CLIPImageProcessor", shorter(40, (40, 40))),
    "clip_odd": ("CLIPImageProcessor", shorter(37, (30, 41), resample=2)),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 40, "width": 44}} | HALF),
    "dinov2": ("BitImageProcessor", shorter(46, (40, 40), **IMAGENET)),
    "llava": ("LlavaImageProcessor", shorter(40, (40, 40), do_pad=True)),
    "onevision": ("LlavaOnevisionImageProcessor", {"size": {"height": 24, "width": 24}, "image_grid_pinpoints": grids(24, 3)} | HALF),
}
PUBLISHED = {
    "clip-vit-large-patch14-336": ("CLIPImageProcessor", shorter(336, (336, 336))),
    "siglip-so400m-patch14-384": ("SiglipImageProcessor", {"size": {"height": 384, "width": 384}} | HALF),
    "dinov2-small": ("BitImageProcessor", shorter(256, (224, 224), **IMAGENET)),
    "llava-1.5-7b": ("LlavaImageProcessor", shorter(336, (336, 336), do_pad=True)),
    "llava-onevision-qwen2-7b": ("LlavaOnevisionImageProcessor", HALF | {"size": {"height": 384, "width": 384}}),
}


def pictures():
    folder = Path(importlib.util.find_spec("skimage").submodule_search_locations[0]) / "data"
    coffee, astronaut = (Image.open(folder / f"{name}.png").convert("RGB") for name in ("coffee", "astronaut"))
    checks = np.zeros((61, 97, 3), np.uint8)
    for channel, step in enumerate((2, 3, 5)):
        rows, columns = np.indices((61, 97))
        checks[..., channel] = 255 * ((rows // step + columns // (step + 1)) % 2)
    return {
        "coffee": coffee.crop((220, 90, 380, 200)),
        "astronaut": astronaut.crop((180, 60, 250, 180)),
        "saturated": Image.fromarray(checks),
        "small": coffee.crop((300, 160, 321, 174)),
    }


def processor(kind, config, backend):
    import transformers

    module = {"CLIP": "clip", "Siglip": "siglip", "Bit": "bit", "Llava": "llava", "LlavaOnevision": "llava_onevision"}
    name = module[kind.removesuffix("ImageProcessor")]
    if backend == "torchvision":
        path, kind = f"transformers.models.{name}.image_processing_{name}", kind
    else:
        path, kind = f"transformers.models.{name}.image_processing_pil_{name}", f"{kind}Pil"
    assert transformers.__version__ == "5.23.0"
    made = getattr(importlib.import_module(path), kind)(**config)
    return lambda images: [np.asarray(of, np.float32) for of in made(images, return_tensors="np", do_pad=config.get("do_pad", False)).pixel_values] \
        if name != "llava_onevision" else onevision(made, images)


def onevision(made, images):
    """Every picture by itself, since a batch is filled up with empty tiles."""
    if isinstance(images[0], list):
        return [np.asarray(of, np.float32) for of in made(images, return_tensors="np").pixel_values]
    return [np.asarray(made([image], return_tensors="np").pixel_values[0], np.float32) for image in images]


def table(kind, config):
    """What 8-bit samples become, `[3, 256]`."""
    flat = {"do_resize": False, "do_center_crop": False, "do_pad": False}
    ramp = np.stack([np.arange(256, dtype=np.uint8)] * 3, -1)[None]
    keep = {key: value for key, value in config.items() if key.startswith(("image_mean", "image_std"))}
    kind = "CLIPImageProcessor" if kind in ("LlavaImageProcessor", "LlavaOnevisionImageProcessor") else kind
    return processor(kind, keep | flat, "pillow")([Image.fromarray(ramp)])[0][:, 0, :]


def levels(values, kind, config, backend):
    """8-bit samples of normalised ones: exactly for Pillow, to the nearest for torchvision, which scales in another order."""
    known = table(kind, config)
    found = np.abs(values[..., None] - known[:, None, None, :]).argmin(-1).astype(np.uint8)
    back = np.take_along_axis(known[:, None, :].repeat(values.shape[-2], 1), found.astype(np.int64), -1)
    assert np.abs(back - values).max() <= (0.0 if backend != "torchvision" else 1e-5)
    return np.moveaxis(found, 0, -1)


def made(name, backend):
    kind, config = SMALL[name]
    process, shown = processor(kind, config, backend), list(pictures().values())
    outputs = process(shown)
    if name == "onevision":
        outputs += process([shown[:2]])
    tiles = [tile for output in outputs for tile in (output if output.ndim == 4 else output[None])]
    return np.concatenate([levels(tile, kind, config, backend) for tile in tiles])


def published(backend):
    digests = {}
    for name, (kind, config) in PUBLISHED.items():
        outputs = processor(kind, config, backend)(list(pictures().values()))
        digests[name] = [hashlib.sha256(np.ascontiguousarray(output, "<f4").tobytes()).hexdigest() for output in outputs]
    return digests


def packing():
    """Tokens of sizes, and features packed by the model itself."""
    import torch
    from types import SimpleNamespace
    from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel
    from transformers.models.llava_onevision.processing_llava_onevision import LlavaOnevisionProcessor

    draw = random.Random(5)
    processor = SimpleNamespace(image_processor=SimpleNamespace(image_grid_pinpoints=grids(384, 6)), num_image_tokens=729, vision_aspect_ratio="anyres_max_9")
    processor._get_unpadded_features = lambda *sizes: LlavaOnevisionProcessor._get_unpadded_features(processor, *sizes)
    sizes = [(draw.randrange(1, 3000), draw.randrange(1, 3000)) for _ in range(400)]
    counts = [[w, h, LlavaOnevisionProcessor._get_number_of_features(processor, h, w, 384, 384)] for w, h in sizes]

    side, width, cases = 5, 2, []
    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=70, patch_size=14), image_grid_pinpoints=grids(70, 4))
    generator = torch.Generator().manual_seed(3)
    from transformers.image_processing_utils import select_best_resolution

    for w, h in [(70, 70), (100, 60), (150, 260), (400, 170), (333, 291)]:
        grid = select_best_resolution((h, w), config.image_grid_pinpoints)
        tiles = (grid[0] // 70) * (grid[1] // 70)
        features = torch.randn(1 + tiles, side * side, width, generator=generator)
        newline = torch.randn(width, generator=generator)
        packed, _ = LlavaOnevisionModel.pack_image_features(
            SimpleNamespace(config=config), [features], [(h, w)], newline, vision_aspect_ratio="anyres_max_2")
        cases.append({"size": [w, h], "grid": [grid[0] // 70, grid[1] // 70], "features": floats(features), "newline": floats(newline), "packed": floats(packed[0])})
    return {"counts": counts, "side": side, "most_tiles": 2, "cases": cases}


def floats(tensor):
    return [float(f"{value:.9g}") for value in np.asarray(tensor, np.float32).ravel().tolist()]


def hexadecimal(values):
    return np.ascontiguousarray(values, "<f4").tobytes().hex()


if __name__ == "__main__":
    backend = sys.argv[1]
    assert backend == "torchvision" or backend == f"pillow{PIL.__version__.split('.')[0]}", PIL.__version__
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in SMALL:
        Image.fromarray(made(name, backend)).save(FOLDER / f"{name}.{backend}.png", optimize=True)
    if backend == "pillow12":
        for name, picture in pictures().items():
            picture.save(FOLDER / f"{name}.png", optimize=True)
        written = {
            "pictures": list(pictures()),
            "small": {name: {"config": {"image_processor_type": kind} | config, "table": hexadecimal(table(kind, config))} for name, (kind, config) in SMALL.items()},
            "published": {name: {"config": {"image_processor_type": kind} | config, "sha256": published(backend)[name]} for name, (kind, config) in PUBLISHED.items()},
            "packing": packing(),
        }
        (FOLDER / "cases.json").write_text(json.dumps(written, indent=1) + "\n")
