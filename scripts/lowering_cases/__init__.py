"""The cases of make_lowering_goldens.py: a function for each golden file."""

from lowering_cases import arithmetic, arrays, convolutions, corners, indexing, products, quantization, reductions  # noqa: F401  each adds its families
from lowering_cases.recorded import FAMILIES, record

__all__ = ["FAMILIES", "record"]
