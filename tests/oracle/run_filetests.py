"""Writes filetests whose expected numbers come from numpy and PyTorch, by formulas independent of the Rust code.

Run by hand after adding a case: `python tests/oracle/run_filetests.py` (needs numpy and torch; the tests themselves do not).
Gradient ops are checked against central differences of the forward formula. The cases are in `families/`.
"""

from importlib import import_module

# All draw from one generator: another order would draw other numbers.
FAMILIES = ["elementwise", "products", "norms", "attention", "rows", "injection", "optimizer", "cache", "types", "deformable", "mixing"]

for family in FAMILIES:
    import_module(f"families.{family}")
