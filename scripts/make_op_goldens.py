#!/usr/bin/env python3
"""Writes packages/host-ops/test/goldens/*.json: single ops run by real TensorFlow (2.21) on small inputs.

Each case builds one node of tf.raw_ops over placeholders of unknown shape (so that kernels, not shape inference, judge
the input), runs it, and records the NodeDef's attributes, the inputs, and the outputs or the class of the error.

    python scripts/make_op_goldens.py [family ...]        (text families: with tensorflow-text 2.21 and sentencepiece)
"""

import base64
import functools
import json
import os
import sys
import tempfile
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow.core.framework import graph_pb2, versions_pb2  # noqa: E402
from tensorflow.python.framework import op_def_library, op_def_registry, versions  # noqa: E402

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "packages", "host-ops", "test", "goldens")


def dtype_name(dtype):
    return tf.as_dtype(dtype).base_dtype.name


def is_text(array):
    return array.dtype == object or array.dtype.kind in "SU"


def value_json(array, name=None):
    """A tensor as JSON: d(type), s(hape), v(alues). Strings are latin-1 texts of their bytes; odd numbers are texts. What is
    long has its bytes as b(ase64) instead, what is very long z(ipped) in base64."""
    # NumPy would cut the zeros off the end of plain bytes.
    array = np.array(array, object) if isinstance(array, bytes) else np.asarray(array)
    if is_text(array):
        flat = [v if isinstance(v, bytes) else v.encode() for v in array.reshape(-1).tolist()]
        if any(len(v) > 60 and not v.isascii() for v in flat):
            return {"d": "string", "s": list(array.shape), "v": [], "b": [base64.b64encode(v).decode() for v in flat]}
        return {"d": "string", "s": list(array.shape), "v": [v.decode("latin-1") for v in flat]}
    name = name or dtype_name(array.dtype)
    if array.dtype.names:
        array = array.view(array.dtype[0])  # quantised integers are records of one field
    if array.size > 4096 and name == "uint8":
        return {"d": name, "s": list(array.shape), "v": [], "z": base64.b64encode(zlib.compress(array.tobytes(), 9)).decode()}
    if array.size > 40 and name in ("uint8", "uint16", "float32"):
        return {"d": name, "s": list(array.shape), "v": [], "b": [base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()]}
    if name in ("bfloat16", "float16"):
        values = array.reshape(-1).view(np.uint16).tolist()
    elif name == "bool":
        values = [int(v) for v in array.reshape(-1).tolist()]
    elif name.startswith("complex"):
        half = np.float32 if name == "complex64" else np.float64
        values = [number(v) for v in array.reshape(-1).view(half).tolist()]
    elif name == "float32":
        values = [number(float(np.format_float_positional(v, unique=True)) if np.isfinite(v) else float(v)) for v in array.reshape(-1)]
    else:
        values = [number(v) for v in array.reshape(-1).tolist()]
    return {"d": name, "s": list(array.shape), "v": values}


def number(v):
    if isinstance(v, float):
        if np.isnan(v):
            return "NaN"
        if np.isinf(v):
            return "Infinity" if v > 0 else "-Infinity"
        if v == 0 and np.signbit(v):
            return "-0"
        return int(v) if v == int(v) and abs(v) < 2**53 else v
    return str(v) if abs(v) > 2**53 else v


def shape_json(shape):
    return None if shape.unknown_rank else [d.size for d in shape.dim]


def attr_json(attr):
    kind = attr.WhichOneof("value")
    if kind == "s" and len(attr.s) > 512:
        return {"z": base64.b64encode(zlib.compress(attr.s, 9)).decode()}
    if kind == "s":
        return {"s": attr.s.decode("latin-1")}
    if kind == "shape":
        return {"shape": shape_json(attr.shape)}
    if kind == "i":
        return {"i": str(attr.i)}
    if kind == "f":
        return {"f": number(attr.f)}
    if kind == "list":
        out = {}
        for field, value in attr.list.ListFields():
            if field.name == "s":
                out["s"] = [v.decode("latin-1") for v in value]
            elif field.name == "shape":
                out["shape"] = [shape_json(v) for v in value]
            elif field.name == "i":
                out["i"] = [str(v) for v in value]
            else:
                out[field.name] = list(value)
        return {"list": out}
    return {kind: getattr(attr, kind)}


ERROR_CODES = {
    3: "INVALID_ARGUMENT", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION",
    11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL", 15: "DATA_LOSS",
}


def original_message(error):
    """The kernel's own text: the session wraps it in a stack trace and adds the node."""
    inner = error.__context__ if isinstance(error.__context__, tf.errors.OpError) else error
    return inner.message.split("\n\t [[")[0]


def raw_op(name):
    """The function that builds an op of TensorFlow, or one of TensorFlow Text."""
    if hasattr(tf.raw_ops, name):
        return getattr(tf.raw_ops, name)
    import tensorflow_text  # noqa: F401  registers its ops

    return functools.partial(op_def_library.apply_op, name)


def producer_for(op):
    """The version of graphs that may have an op: old ones for what was removed since."""
    definition = op and op_def_registry.get(op)
    removed = definition.deprecation.version if definition else 0
    return removed - 1 if removed else versions.GRAPH_DEF_VERSION


def graph_for(op):
    """An empty graph of that version."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_pb2.GraphDef(versions=versions_pb2.VersionDef(producer=producer_for(op))), name="")
    return graph


class Raw:
    """An input with a dtype that numpy cannot say."""

    def __init__(self, array, dtype):
        self.array, self.dtype = np.asarray(array), dtype


INPUT_TYPES = (np.ndarray, np.generic, Raw)


def to_array(value):
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "SU" else array


class Goldens:
    def __init__(self, family):
        self.family = family
        self.cases = []

    def case(self, op, tolerance=None, text=None, static=False, only=None, **kwargs):
        """Runs one op. `tolerance`: relative, for floats that may differ. `text`: clients see the error's text, so record
        it (True, or a part that it must hold). `static`: shapes are known when the graph is built, for ops that
        insist. `only`: the outputs whose values are promised."""
        graph = graph_for(op)
        feeds = {}
        with graph.as_default():
            args = {}

            def placeholder(value):
                dtype = None
                if isinstance(value, Raw):
                    value, dtype = value.array, value.dtype
                array = to_array(value)
                node = tf.compat.v1.placeholder(dtype or tf.as_dtype(array.dtype if not is_text(array) else tf.string), array.shape if static else None)
                feeds[node] = array
                return node

            for key, value in kwargs.items():
                # Inputs are given as NumPy values, attributes as plain ones.
                if isinstance(value, INPUT_TYPES):
                    args[key] = placeholder(value)
                elif isinstance(value, list) and value and all(isinstance(v, INPUT_TYPES) for v in value):
                    args[key] = [placeholder(v) for v in value]
                else:
                    args[key] = value
            entry = {"op": op}
            try:
                result = raw_op(op)(**args)
                first = tf.nest.flatten(result)[0]
                node = first if isinstance(first, tf.Operation) else first.op
                entry["attrs"] = {k: attr_json(v) for k, v in sorted(node.node_def.attr.items()) if not k.startswith("_")}
                entry["inputs"] = [value_json(feeds[t], dtype_name(t.dtype)) for t in node.inputs]
                config = tf.compat.v1.ConfigProto(graph_options=tf.compat.v1.GraphOptions(optimizer_options=tf.compat.v1.OptimizerOptions(opt_level=-1)))
                with tf.compat.v1.Session(graph=graph, config=config) as session:
                    outputs = session.run(list(node.outputs) or node, feeds)
                entry["outputs"] = [value_json(v, dtype_name(t.dtype)) for v, t in zip(outputs or [], node.outputs)]
                if tolerance:
                    entry["tolerance"] = tolerance
                if only is not None:
                    entry["only"] = only
            except tf.errors.OpError as error:
                entry["error"] = ERROR_CODES[error.error_code]
                if text:
                    message = original_message(error)
                    assert text is True or text in message, f"{op}: {text!r} not in {message!r}"
                    entry["message"] = message
            except (ValueError, TypeError) as error:
                print(f"{self.family}: {op} was not built: {str(error)[:160]}", file=sys.stderr)
                return
        self.cases.append(entry)

    def program(self, name, op=None):
        """A case of several nodes that share state, run one after the other; see Program. `op`: one that was removed since."""
        program = Program(name, op)
        self.cases.append(program.entry)
        return program

    def write(self):
        os.makedirs(OUT, exist_ok=True)
        path = os.path.join(OUT, f"golden-{self.family}.json")
        with open(path, "w") as file:
            file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in self.cases) + "\n]\n")
        print(f"{self.family}: {len(self.cases)} cases, {os.path.getsize(path)} bytes")


class Program:
    """Nodes of one graph and session. An input may be the handle, or the variant, that an earlier step made."""

    def __init__(self, name, op=None):
        self.entry = {"op": name, "steps": []}
        self.graph = graph_for(op)
        self.session = tf.compat.v1.Session(graph=self.graph)
        self.numbers = {}
        self.handle_feeds = {}
        self.paths = {}

    def file(self, content):
        """A file for ops that read one; the golden holds its content and calls it "@0", "@1", ..."""
        files = self.entry.setdefault("files", [])
        files.append(content.decode("latin-1"))
        path = os.path.join(tempfile.mkdtemp(), "file")
        with open(path, "wb") as file:
            file.write(content)
        name = f"@{len(files) - 1}".encode()
        self.paths[name] = path.encode()
        return np.array(name, object)

    def step(self, op, text=None, static=False, **kwargs):
        """Runs a node. `static`: shapes are known when the graph is built, for ops that insist."""
        feeds, args, real = {}, {}, {}
        with self.graph.as_default():

            def placeholder(value):
                array = to_array(value)
                node = tf.compat.v1.placeholder(tf.string if is_text(array) else tf.as_dtype(array.dtype), array.shape if static else None)
                feeds[node] = array
                if is_text(array) and array.ndim == 0 and array.item() in self.paths:
                    real[node] = np.array(self.paths[array.item()], object)
                return node

            for key, value in kwargs.items():
                if isinstance(value, INPUT_TYPES):
                    args[key] = placeholder(value)
                elif isinstance(value, list) and value and all(isinstance(v, INPUT_TYPES) for v in value):
                    args[key] = [placeholder(v) for v in value]
                else:
                    args[key] = value
            result = raw_op(op)(**args)
        node = result if isinstance(result, tf.Operation) else (result[0] if isinstance(result, (tuple, list)) else result).op
        entry = {"op": op, "name": node.name, "attrs": {k: attr_json(v) for k, v in sorted(node.node_def.attr.items()) if not k.startswith("_")}}
        entry["inputs"] = [{"step": self.numbers[t.name]} if t.name in self.numbers else value_json(feeds[t]) for t in node.inputs]
        is_handle = len(node.outputs) == 1 and (node.outputs[0].dtype in (tf.resource, tf.variant) or (node.outputs[0].dtype._is_ref_dtype and not node.inputs))
        try:
            if is_handle:
                self.numbers[node.outputs[0].name] = len(self.entry["steps"])
                self.handle_feeds.update({**feeds, **real})
                if node.outputs[0].dtype in (tf.resource, tf.variant):
                    self.session.run(node.outputs[0].op, self.handle_feeds)
            else:
                values = self.session.run(list(node.outputs) or node, {**self.handle_feeds, **feeds, **real})
                entry["outputs"] = [value_json(v, dtype_name(t.dtype)) for v, t in zip(values or [], node.outputs)]
        except tf.errors.OpError as error:
            entry["error"] = ERROR_CODES[error.error_code]
            if text:
                entry["message"] = original_message(error)
        self.entry["steps"].append(entry)
        return result


    def again(self, op, is_new, **kwargs):
        """Runs the node of the previous step once more, or makes it."""
        if is_new:
            self.step(op, **kwargs)
            self.node = self.graph.get_operations()[-1]
            return
        entry = dict(self.entry["steps"][-1])
        feeds = {t: to_array(v) for t, v in zip(self.node.inputs, [v for v in kwargs.values() if isinstance(v, INPUT_TYPES)])}
        values = self.session.run(list(self.node.outputs), feeds)
        entry["inputs"] = [value_json(feeds[t]) for t in self.node.inputs]
        entry["outputs"] = [value_json(v, dtype_name(t.dtype)) for v, t in zip(values, self.node.outputs)]
        self.entry["steps"].append(entry)


def main():
    from golden_cases import FAMILIES

    for name in sys.argv[1:] or FAMILIES:
        goldens = Goldens(name)
        FAMILIES[name](goldens)
        goldens.write()


if __name__ == "__main__":
    main()
