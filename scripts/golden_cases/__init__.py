"""The cases of make_op_goldens.py, a module for each kind of op: `FAMILIES` has a function for each golden file, which lists its cases."""

from golden_cases import (
    arithmetic,
    arrays,
    corners,
    draws,
    examples,
    images,
    layers,
    legacy,
    linalg,
    quantized,
    ragged,
    reductions,
    signals,
    sparse,
    strings,
    tensorflow_text,
    training,
)

MODULES = [
    arrays, arithmetic, reductions, strings, tensorflow_text, examples, sparse, ragged, draws, images, signals, linalg, layers, quantized, corners, legacy, training,
]
FAMILIES = {name: family for module in MODULES for name, family in module.FAMILIES.items()}
assert len(FAMILIES) == sum(len(module.FAMILIES) for module in MODULES), "two families of one name write one golden file"
