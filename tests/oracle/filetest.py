"""Draws arguments and writes a filetest of them and of results that numpy computed."""

from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1] / "filetests" / "run"
WIDTH = 110
rng = np.random.default_rng(7)


def draw(*shape):
    """Reals of two decimals, so that the files stay readable."""
    return np.round(rng.uniform(-1.5, 1.5, shape), 2)


def show(x):
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 0:
        text = np.format_float_positional(float(f"{float(x):.6e}"), trim="-")
        return "0" if text in ("-0", "0") else text
    return "[" + ", ".join(show(row) for row in x) + "]"


def line(prefix, x):
    x = np.asarray(x, dtype=np.float64)
    whole = show(x)
    if x.ndim == 0 or len(prefix) + len(whole) + 3 <= WIDTH:
        return f"; {prefix} {whole}\n"
    return f"; {prefix} [\n" + ",\n".join(f";   {show(row)}" for row in x) + "\n;   ]\n"


def write(name, prose, body, *cases, tolerance=None):
    """A file with a function body (parameters, instructions, results) and cases (arguments, results)."""
    out = "".join(f"; {text}\n" for text in prose.strip().splitlines()) + ";\n; test run\n"
    if tolerance:
        out += f"; tolerance {tolerance}\n"
    out += f"\nfunc @{name} {{\n"
    section = None
    for text in filter(None, map(str.strip, body.splitlines())):
        before, section = section, {"%": "code", "r": "result", "u": "result"}.get(text[0], "parameter")
        out += "\n" * (before not in (None, section)) + f"  {text}\n"
    out += "}\n"
    for arguments, results in cases:
        out += "\n"
        for key, value in arguments.items():
            out += line(f'with "{key}" =', value)
        for key, value in results.items():
            label = f'update "{key[1:]}"' if key.startswith("!") else f'"{key}"'
            out += line(f"gives {label} =", value)
    path = ROOT / f"{name}.cir"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(out)


def difference(f, x, step=1e-6):
    """Central differences of a scalar function."""
    x = np.array(x, dtype=np.float64)
    grad = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        old = x[at]
        x[at] = old + step
        above = f(x)
        x[at] = old - step
        below = f(x)
        x[at] = old
        grad[at] = (above - below) / (2 * step)
    return grad
