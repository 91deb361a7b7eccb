"""Writes `pillow.json`: pictures and what Pillow's `Image.resize` makes of them. Run once, with Pillow 12.0 (11.3 writes the same; 13.0
resizes columns first where that is less work, which gives other roundings):

    python pillow.py > pillow.json
"""

import json
import random

from PIL import Image

random.seed(7)


def picture(width, height, pixel):
    return width, height, bytes(v for y in range(height) for x in range(width) for v in pixel(x, y))


def checker(x, y):
    on = (x // 2 + y // 2) % 2
    return (255 * on, 255 * (1 - on), 255 * ((x + y) % 2))


PICTURES = {
    "checkerboard": picture(16, 14, checker),
    "lines": picture(13, 9, lambda x, y: (255 * (x % 2), 255 * (y % 2), 255 * (x % 3 == 0))),
    "gradient": picture(15, 11, lambda x, y: (255 * x // 14, 255 * y // 10, 255 * (x + y) // 24)),
    "edge": picture(12, 12, lambda x, y: (255 * (x > 5), 255 * (y > 5), 255 * (x > y))),
    "noise": picture(11, 7, lambda x, y: tuple(random.choice([0, 255, random.randrange(256)]) for _ in range(3))),
}
SIZES = [(7, 5), (24, 20), (5, 19), (31, 4), (1, 1), ("same", 6), (6, "same")]
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

cases = []
for name, (width, height, rgb) in PICTURES.items():
    image = Image.frombytes("RGB", (width, height), rgb)
    resized = []
    for size in SIZES:
        target = (width if size[0] == "same" else size[0], height if size[1] == "same" else size[1])
        for filter_name, filter in FILTERS.items():
            made = image.resize(target, filter)
            resized.append({"filter": filter_name, "size": target, "rgb": made.tobytes().hex()})
    cases.append({"name": name, "size": (width, height), "rgb": rgb.hex(), "resized": resized})
print(json.dumps(cases, indent=0))
