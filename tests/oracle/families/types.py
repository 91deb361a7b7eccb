"""Values of 16-bit types: every result is rounded to its type, to nearest, ties to even, from double precision."""

import struct

import numpy as np

from filetest import draw, write
from formulas import ACTS, softmax


def bf16_of(x):
    """The bf16 nearest to a double, found among the two that lie around it."""
    below = struct.unpack("<I", struct.pack("<f", np.float32(x)))[0] & 0xFFFF0000
    at = lambda bits: float(struct.unpack("<f", struct.pack("<I", bits))[0])
    candidates = [bits for bits in (below - 0x10000, below, below + 0x10000) if 0 <= bits <= 0xFFFFFFFF]
    return min((abs(at(bits) - x), bits >> 16 & 1, at(bits)) for bits in candidates)[2]


def bf16(x):
    return np.vectorize(bf16_of, otypes=[np.float64])(np.asarray(x, dtype=np.float64))


def f16(x):
    return np.asarray(x, dtype=np.float64).astype(np.float16).astype(np.float64)


# Between 256 and 512 two bf16 are 2 apart, between 2048 and 4096 two f16 are.
x = np.array([257.0, 259.0, -257.0, 258.5, 2049.0, 2051.0, 0.1, 3.3])
write(
    "types_convert",
    """Conversions round to nearest, a tie to the even neighbour; arguments are rounded as storing them rounds; widening
changes nothing.""",
    """
    input %x "x": f32[8]
    input %b "b": bf16[8]
    %low = convert %x : bf16[8]
    %half = convert %x : f16[8]
    %wide = convert %b : f32[8]
    %again = convert %low : f32[8]
    return "low" = %low
    return "half" = %half
    return "wide" = %wide
    return "again" = %again
    """,
    ({"x": x, "b": x}, {"low": bf16(x), "half": f16(x), "wide": bf16(x), "again": bf16(x)}),
)

x, w, b = draw(3, 4), draw(2, 4), draw(2)
y = bf16(bf16(x) @ w.T + f16(b))
write(
    "types_linear_mixed",
    """A product of operands of three float types computes with the numbers they hold; only its result is rounded.""",
    """
    input %x "x": bf16[3, 4]
    weight %w "w": f32[2, 4]
    weight %b "b": f16[2]
    %y = linear %x, %w, %b {bias = true} : bf16[3, 2]
    %z = linear %x, %w, %b {bias = true} : f32[3, 2]
    %t = transpose %y {perm = [1, 0]} : bf16[2, 3]
    return "y" = %y
    return "z" = %z
    return "t" = %t
    """,
    ({"x": x, "w": w, "b": b}, {"y": y, "z": bf16(x) @ w.T + f16(b), "t": y.T}),
)

x, g = draw(3, 4), draw(4)
wide = bf16(x)
rstd = 1 / np.sqrt((wide**2).mean(-1) + 1e-6)
normed = bf16(wide * rstd[:, None] * g)
probs = bf16(softmax(normed))
write(
    "types_norm_softmax",
    """A chain of 16-bit results: each is rounded once, statistics stay f32, and what comes next reads the rounded number.""",
    """
    input %x "x": bf16[3, 4]
    weight %g "g": f32[4]
    %y, %r = rms_norm %x, %g {eps = 1e-6} : bf16[3, 4], f32[3]
    %p = softmax %y : bf16[3, 4]
    %a = silu %y : f16[3, 4]
    %s = add %p, %a : f32[3, 4]
    return "y" = %y
    return "r" = %r
    return "p" = %p
    return "a" = %a
    return "s" = %s
    """,
    (
        {"x": x, "g": g},
        {
            "y": normed,
            "r": rstd,
            "p": probs,
            "a": f16(ACTS["silu"](normed)),
            "s": probs + f16(ACTS["silu"](normed)),
        },
    ),
)
