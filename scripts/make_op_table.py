#!/usr/bin/env python3
"""Writes packages/graph/src/op-table.json, op-table-text.json and op-table-forests.json: the signatures of the ops of TensorFlow, of
TensorFlow Text and of TensorFlow Decision Forests, with attribute defaults.

SavedModels are stored with default attributes stripped, and functions name their values by output argument
("node:arg:idx"), so an importer needs the op definitions of the writer. Run with a Python that has the first two (2.21), and with one
that has the third, which wants an older TensorFlow:

    python scripts/make_op_table.py
    TF_USE_LEGACY_KERAS=1 python scripts/make_op_table.py forests

One entry an op: "Name": [inputs, outputs, attrs, isStateful (0 or 1)].
An argument is "name:TYPE" where TYPE is a DataType number, "@attr" (type_attr) or "*attr" (type_list_attr);
"#attr" behind it is its number_attr, a final "&" marks a reference. An attribute is [name, type] or [name, type, default].
"""
import json
import os
import sys

from tensorflow.core.framework import attr_value_pb2, op_def_pb2
from tensorflow.python.client import pywrap_tf_session

# Ops that TensorFlow has dropped since, but that old SavedModels hold; the contrib ones live on in TensorFlow Addons.
BEAM_TREE = [["step_ids:@T", "parent_ids:@T", "max_sequence_lengths:3", "end_token:@T"], ["beams:@T"], [["T", "type"]], 0]
DROPPED = {
    "Addons>GatherTree": BEAM_TREE,
    "GatherTree": BEAM_TREE,
    "BucketizeWithInputBoundaries": [["input:@T", "boundaries:1"], ["output:3"], [["T", "type"]], 0],
    "BoostedTreesBucketize": [
        ["float_values:1#num_features", "bucket_boundaries:1#num_features"],
        ["buckets:3#num_features"],
        [["num_features", "int"]],
        0,
    ],
}


def argument(arg: op_def_pb2.OpDef.ArgDef) -> str:
    kind = f"@{arg.type_attr}" if arg.type_attr else f"*{arg.type_list_attr}" if arg.type_list_attr else str(arg.type)
    return f"{arg.name}:{kind}" + (f"#{arg.number_attr}" if arg.number_attr else "") + ("&" if arg.is_ref else "")


def shape(value):
    return None if value.unknown_rank else [dim.size for dim in value.dim]


def number(value: float):
    return value if value == value and abs(value) != float("inf") else str(value)


def plain(value: attr_value_pb2.AttrValue):
    kind = value.WhichOneof("value")
    if kind == "list":
        items = value.list
        for field in ("i", "b", "type"):
            if len(getattr(items, field)):
                return list(getattr(items, field))
        if items.s:
            return [item.decode("ascii") for item in items.s]
        if items.f:
            return [number(item) for item in items.f]
        if items.shape:
            return [shape(item) for item in items.shape]
        return []
    if kind == "s":
        return value.s.decode("ascii")
    if kind == "shape":
        return shape(value.shape)
    if kind == "f":
        return number(value.f)
    if kind in ("i", "b", "type"):
        return getattr(value, kind)
    if kind == "func":
        return value.func.name
    raise ValueError(f"default of kind {kind}")


def attribute(attr: op_def_pb2.OpDef.AttrDef) -> list:
    # Two ops default an attribute to an empty tensor; neither serves.
    known = attr.HasField("default_value") and attr.type != "tensor"
    return [attr.name, attr.type] + ([plain(attr.default_value)] if known else [])


def signatures() -> dict:
    """Of all ops that are registered."""
    ops = op_def_pb2.OpList()
    ops.ParseFromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {
        op.name: [
            [argument(arg) for arg in op.input_arg],
            [argument(arg) for arg in op.output_arg],
            [attribute(attr) for attr in op.attr],
            int(op.is_stateful),
        ]
        for op in ops.op
    }


def is_inference(name: str) -> bool:
    return name.startswith(("SimpleMLInference", "SimpleMLLoadModel", "SimpleMLCreateModelResource"))


def write(name: str, table: dict) -> None:
    path = os.path.join(os.path.dirname(__file__), "..", "packages", "graph", "src", name)
    with open(path, "w", encoding="ascii") as file:
        entries = (f"{json.dumps(name)}:{json.dumps(table[name], separators=(',', ':'))}" for name in sorted(table))
        file.write("{\n" + ",\n".join(entries) + "\n}\n")


def main() -> None:
    own = signatures()
    if "forests" in sys.argv:
        import tensorflow_decision_forests  # noqa: F401  registers its ops

        # Those of training stay out: Serving has none of them.
        write("op-table-forests.json", {name: entry for name, entry in signatures().items() if name not in own and is_inference(name)})
        return
    write("op-table.json", DROPPED | own)
    import tensorflow_text  # noqa: F401  registers its ops

    write("op-table-text.json", {name: entry for name, entry in signatures().items() if name not in own})


if __name__ == "__main__":
    main()
