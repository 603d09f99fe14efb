#!/usr/bin/env python3
"""Fills the gaps of the hand-written op goldens: every implemented op in every dtype that TensorFlow's CPU kernel takes.

    python scripts/make_op_conformance.py [op ...]        (TensorFlow 2.21, CPU; the project must be built)

With names, only the cases of those ops are made anew; the others stay.

The hand-written cases (packages/host-ops/test/goldens, packages/onnx/test/goldens) serve as patterns. For each op and each
value of each type attribute that a kernel is registered for, a pattern is run with its inputs cast to that dtype; then
with special values (NaN, infinities, largest and smallest integers), with no elements, and with ranks 0 to 5 where
the op is element-wise. What the hand-written cases have already is not made again.

Writes test/conformance/goldens/golden-op-N.json, one case a line: {op, attrs, in: [tensor], out: [tensor] | error: code},
where a tensor is {d: dtype, s: shape, v: [value]} as make_op_goldens.py writes them.
"""

import json
import multiprocessing
import os
import subprocess
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import base64  # noqa: E402
import glob  # noqa: E402
import zlib  # noqa: E402

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from make_op_goldens import ERROR_CODES, attr_json, producer_for, value_json  # noqa: E402
from tensorflow.core.framework import attr_value_pb2, graph_pb2, types_pb2  # noqa: E402
from tensorflow.python.framework import kernels, op_def_registry  # noqa: E402

tf1 = tf.compat.v1
ROOT = os.path.join(HERE, "..")
OUT = os.path.join(ROOT, "test", "conformance", "goldens")
DTYPES = """float32 float64 float16 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool complex64 complex128
string qint8 quint8 qint16 quint16 qint32""".split()
FLOATS = ["float32", "float64", "float16", "bfloat16"]
# Their outputs are nobody's promise, or depend on files and state; the hand-written programs are all that can be said.
LEFT_OUT = set("""RandomStandardNormal RandomUniform RandomUniformInt RandomShuffle Multinomial TruncatedNormal ParameterizedTruncatedNormal
RandomGamma RandomPoisson RandomPoissonV2 StatelessRandomGammaV2 StatelessRandomGammaV3 StatelessRandomPoisson Empty ReadFile IteratorGetNext DecodeJpeg DecodePng DecodeGif DecodeBmp DecodeImage
DecodeAndCropJpeg ExtractJpegShape EncodeJpeg EncodePng Placeholder PlaceholderV2 Timestamp SelfAdjointEig BatchSelfAdjointEig""".split())
ELEMENTS_MAX = 64  # of a pattern's inputs together, and of a result
SECONDS_MAX = 20
FILES = 10


# ---- patterns


def tensor_of(json_value):
    """An input of either kind of golden as (dtype name, array)."""
    if isinstance(json_value.get("d"), int):
        dtype = tf.as_dtype(json_value["d"])
        raw = base64.b64decode(json_value["b"])
        return dtype.name, np.frombuffer(raw, dtype.as_numpy_dtype).reshape(json_value["s"])
    name, shape = json_value["d"], json_value["s"]
    if name == "string":
        values = [base64.b64decode(b) for b in json_value["b"]] if "b" in json_value else [v.encode("latin-1") for v in json_value["v"]]
        return name, np.array(values + [b""], object)[:-1].reshape(shape)
    dtype = tf.as_dtype(name)
    plain = np.dtype({"qint8": "i1", "quint8": "u1", "qint16": "i2", "quint16": "u2", "qint32": "i4"}.get(name, dtype.as_numpy_dtype))
    if "z" in json_value:
        return name, np.frombuffer(zlib.decompress(base64.b64decode(json_value["z"])), plain).reshape(shape)
    if "b" in json_value:
        return name, np.frombuffer(base64.b64decode(json_value["b"][0]), plain).reshape(shape)
    values = [float(v) if v in ("NaN", "Infinity", "-Infinity", "-0") else int(v) if isinstance(v, str) else v for v in json_value["v"]]
    if name in ("float16", "bfloat16"):
        return name, np.array(values, np.uint16).view(plain).reshape(shape)
    if name.startswith("complex"):
        half = np.array(values, np.float32 if name == "complex64" else np.float64)
        return name, half.view(plain).reshape(shape)
    return name, np.array(values, plain).reshape(shape)


def attr_proto(op_attr, value):
    """An attribute of either kind of golden as AttrValue."""
    proto = attr_value_pb2.AttrValue()
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "list":
            getattr(proto, "list").SetInParent()
            for of, items in inner.items():
                for item in items:
                    add_to_list(proto, of, item)
        elif kind == "shape":
            set_shape(proto.shape, inner)
        elif kind == "s":
            proto.s = inner.encode("latin-1")
        elif kind == "z":
            proto.s = zlib.decompress(base64.b64decode(inner))
        elif kind == "i":
            proto.i = int(inner)
        elif kind == "f":
            proto.f = float(inner)
        elif kind in ("b", "type"):
            setattr(proto, kind, inner)
        else:
            raise ValueError(kind)
        return proto
    kind = op_attr.type
    if kind.startswith("list("):
        proto.list.SetInParent()
        of = {"int": "i", "float": "f", "string": "s", "type": "type", "bool": "b", "shape": "shape"}[kind[5:-1]]
        for item in value:
            add_to_list(proto, of, item)
    elif kind == "shape":
        set_shape(proto.shape, value)
    elif kind == "string":
        proto.s = value.encode()
    elif kind == "float":
        proto.f = float(value)
    else:
        setattr(proto, {"int": "i", "bool": "b", "type": "type"}[kind], value)
    return proto


def set_shape(proto, dims):
    if dims is None:
        proto.unknown_rank = True
    else:
        proto.SetInParent()
        for d in dims:
            proto.dim.add().size = d


def add_to_list(proto, of, item):
    if of == "shape":
        set_shape(proto.list.shape.add(), item)
    else:
        getattr(proto.list, of).append(item.encode("latin-1") if of == "s" else int(item) if of == "i" else item)


def patterns():
    """Op -> [(attrs, inputs)] of hand-written cases that TensorFlow answered, smallest first; and dtypes they cover."""
    found, covered = {}, {}
    for path in sorted(glob.glob(os.path.join(ROOT, "packages/*/test/goldens/golden-*.json"))):
        for case in json.load(open(path)):
            if "steps" in case:
                continue
            op_def = op_def_registry.get(case["op"])
            if op_def is None:  # of TensorFlow Text
                continue
            by_name = {a.name: a for a in op_def.attr}
            attrs = {k: attr_proto(by_name[k], v) for k, v in case["attrs"].items() if k in by_name}
            for k, v in attrs.items():
                if v.WhichOneof("value") == "type":
                    covered.setdefault((case["op"], k), set()).add(tf.as_dtype(v.type).name)
            inputs = [tensor_of(v) for v in case.get("inputs", case.get("in"))]
            if "error" in case or sum(a.size for _, a in inputs) > 4 * ELEMENTS_MAX:
                continue
            found.setdefault(case["op"], []).append((attrs, inputs))
    for op, cases in found.items():
        # Rather a rich case than a degenerate one, but a small one.
        cases.sort(key=lambda c: (min((a.size for _, a in c[1]), default=0) == 0, abs(sum(a.size for _, a in c[1]) - 12)))
    return found, covered


# ---- variations


def input_types(op_def, attrs):
    """For each flat input the attribute that gives its dtype, or None."""
    types = []
    for arg in op_def.input_arg:
        if arg.type_list_attr:
            types += [None] * len(attrs[arg.type_list_attr].list.type)
        else:
            count = attrs[arg.number_attr].i if arg.number_attr else 1
            types += [arg.type_attr or None] * count
    return types


def numbers(array):
    if array.dtype == object:
        return np.array([len(v) for v in array.reshape(-1)], np.float64).reshape(array.shape)
    if array.dtype.names:
        array = array.view(array.dtype[0])
    if array.dtype.kind == "c":
        array = array.real
    return np.nan_to_num(array.astype(np.float64), posinf=7, neginf=-7)


def cast(array, name):
    """The same values, as far as they exist in another dtype."""
    values = numbers(array)
    if name == "string":
        return np.array([str(int(v)).encode() for v in values.reshape(-1)] + [b""], object)[:-1].reshape(array.shape)
    if name == "bool":
        return np.asarray(np.abs(values) % 2 >= 1)
    if name.startswith("complex"):
        return (values + 1j * np.roll(values.reshape(-1), 1).reshape(values.shape)).astype(name)
    plain = plain_type(name)
    if plain.kind == "u":
        return np.clip(np.abs(values), 0, np.iinfo(plain).max).astype(plain)
    if plain.kind == "i":
        return np.clip(values, np.iinfo(plain).min, np.iinfo(plain).max).astype(plain)
    return values.astype(plain)


def plain_type(name):
    return np.dtype({"qint8": "i1", "quint8": "u1", "qint16": "i2", "quint16": "u2", "qint32": "i4"}.get(name, tf.as_dtype(name).as_numpy_dtype))


def special(array, name, offset):
    """Every second element is a value of the edge."""
    if name in FLOATS:
        edge = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-6, -1e-6, 1.5, -2.5, 3e4, -3e4], np.float64).astype(plain_type(name))
    elif plain_type(name).kind in "iu":
        info = np.iinfo(plain_type(name))
        edge = np.array([info.min, info.max, 0, 1, info.max - 1], plain_type(name))
    else:
        return None
    flat = array.copy().reshape(-1)
    if flat.dtype.names:
        return None
    for i in range(0, flat.size, 2):
        flat[i] = edge[(i // 2 + offset) % len(edge)]
    return flat.reshape(array.shape)


RANKS = [[], [0], [3, 0, 2], [1, 2, 1, 2, 1], [2, 1, 2, 1]]


def variations(op, op_def, found, covered):
    registered = [k for k in kernels.get_registered_kernels_for_op(op).kernel if k.device_type in ("CPU", "DEFAULT")]
    allowed = {}
    for kernel in registered:
        for c in kernel.constraint:
            allowed.setdefault(c.name, set()).update(tf.as_dtype(t).name for t in c.allowed_values.list.type)
    for a in op_def.attr:
        if a.type == "type" and a.name not in allowed:
            types = [tf.as_dtype(t).name for t in a.allowed_values.list.type] or (DTYPES if registered else [])
            allowed[a.name] = set(types)
    cases = found.get(op, [])
    type_attrs = [a.name for a in op_def.attr if a.type == "type"]
    for attr in type_attrs:
        for name in DTYPES:
            if name not in allowed.get(attr, ()) or name in covered.get((op, attr), ()):
                continue
            for attrs, inputs in cases[:2]:
                types = input_types(op_def, attrs)
                changed = {k: attr_value_pb2.AttrValue.FromString(v.SerializeToString()) for k, v in attrs.items()}
                changed[attr].type = tf.as_dtype(name).as_datatype_enum
                yield changed, [(name, cast(a, name)) if t == attr else (d, a) for (d, a), t in zip(inputs, types)], False
    # Values of the edge, and other ranks, in the dtypes that matter most.
    for attrs, inputs in cases[:1]:
        types = input_types(op_def, attrs)
        main = next((t for t in types if t and not t.lower().startswith(("tidx", "tind", "index", "tshape"))), None)
        data = [i for i, t in enumerate(types) if t == main and main is not None]
        if not data or attrs[main].type == types_pb2.DT_STRING:
            continue
        for name in ["float32", "float64", "float16", "bfloat16", "int32", "int64", "int8", "uint8"]:
            if name not in allowed.get(main, ()):
                continue
            changed = {k: attr_value_pb2.AttrValue.FromString(v.SerializeToString()) for k, v in attrs.items()}
            changed[main].type = tf.as_dtype(name).as_datatype_enum
            changed_inputs = [(name, cast(a, name)) if i in data else (d, a) for i, (d, a) in enumerate(inputs)]
            edged = [(n, special(a, n, 3 * i) if i in data else a) for i, (n, a) in enumerate(changed_inputs)]
            if all(a is not None for _, a in edged):
                yield changed, edged, True
        same = all(inputs[i][1].shape == inputs[data[0]][1].shape for i in data)
        if same and len(data) == len(inputs):
            for shape in RANKS:
                count = int(np.prod(shape))
                pick = [(d, np.resize(a.reshape(-1), count).reshape(shape) if a.size else np.zeros(shape, a.dtype)) for d, a in inputs]
                yield attrs, pick, True


# ---- running


def run_case(op, op_def, attrs, inputs):
    graph_def = graph_pb2.GraphDef()
    graph_def.versions.producer = producer_for(op)
    node = graph_def.node.add(name="node", op=op)
    for i, (name, array) in enumerate(inputs):
        placeholder = graph_def.node.add(name=f"in{i}", op="Placeholder")
        placeholder.attr["dtype"].type = tf.as_dtype(name).as_datatype_enum
        placeholder.attr["shape"].shape.unknown_rank = True
        node.input.append(f"in{i}")
    for k, v in attrs.items():
        node.attr[k].CopyFrom(v)
    with tf.Graph().as_default() as graph:
        try:
            tf.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError):
            return None  # no such node can be in a graph
        made = graph.get_operation_by_name("node")
        entry = {"op": op, "attrs": {k: attr_json(v) for k, v in sorted(made.node_def.attr.items()) if not k.startswith("_")}}
        entry["in"] = [value_json(a, n) for n, a in inputs]
        options = tf1.OptimizerOptions(opt_level=tf1.OptimizerOptions.L0)
        config = tf1.ConfigProto(graph_options=tf1.GraphOptions(optimizer_options=options), intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        with tf1.Session(graph=graph, config=config) as session:
            feeds = {f"in{i}:0": a.astype(tf.as_dtype(n).as_numpy_dtype) if n.startswith(("q", "bf")) else a for i, (n, a) in enumerate(inputs)}
            try:
                values = session.run(list(made.outputs) or made, feeds)
            except tf.errors.OpError as error:
                text = str(error).lower()
                if "no opkernel" in text or "no kernel" in text or error.error_code not in ERROR_CODES or error.error_code == 12:
                    return None
                entry["error"] = ERROR_CODES[error.error_code]
                return entry
            if any(np.asarray(v).size > 4 * ELEMENTS_MAX for v in values or []):
                return None
            entry["out"] = [value_json(v, t.dtype.base_dtype.name) for v, t in zip(values or [], made.outputs)]
    return entry


def run_op(op, found, covered, queue):
    op_def = op_def_registry.get(op)
    for attrs, inputs, may_fail in variations(op, op_def, found, covered):
        try:
            entry = run_case(op, op_def, attrs, inputs)
        except Exception as error:  # a dtype that NumPy or the session cannot feed
            print(f"{op}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
            continue
        # A kernel that is registered for a dtype and then refuses it does not have it.
        if entry and (may_fail or "error" not in entry):
            queue.put(entry)
    queue.put(None)


def cases_of(op, found, covered):
    """In a process of its own: some kernels end it (a division of the smallest integer by -1)."""
    queue = multiprocessing.SimpleQueue()
    worker = multiprocessing.Process(target=run_op, args=(op, found, covered, queue))
    worker.start()
    cases = []
    import select
    while True:
        ready, _, _ = select.select([queue._reader], [], [], SECONDS_MAX if worker.is_alive() else 0.2)
        if not ready:
            if worker.is_alive():
                worker.kill()
            print(f"{op}: ended after {len(cases)} cases", file=sys.stderr)
            break
        entry = queue.get()
        if entry is None:
            break
        cases.append(entry)
    worker.join()
    return cases


def main():
    ops = json.loads(subprocess.check_output(["node", os.path.join(HERE, "list-ops.mjs")]))
    found, covered = patterns()
    implemented = sorted(set(ops["host"]) | set(ops["device"]))
    wanted = set(sys.argv[1:])
    files = {number: kept_lines(number, wanted) for number in range(FILES)}
    for op in implemented:
        if op in LEFT_OUT or op not in found or op_def_registry.get(op) is None or (wanted and op not in wanted):
            continue
        made = cases_of(op, found, covered)
        seen = set()
        for case in made:
            line = json.dumps(case, separators=(",", ":"))
            if line not in seen:
                seen.add(line)
                files[zlib.crc32(op.encode()) % FILES].append(line)
        print(op, len(seen), flush=True)
    os.makedirs(OUT, exist_ok=True)
    for number, lines in files.items():
        with open(os.path.join(OUT, f"golden-op-{number}.json"), "w") as file:
            lines.sort(key=lambda line: json.loads(line)["op"])
            file.write("[\n" + ",\n".join(lines) + "\n]\n")


def kept_lines(number, wanted):
    """The cases that a file has of other ops than the wanted."""
    if not wanted:
        return []
    with open(os.path.join(OUT, f"golden-op-{number}.json")) as file:
        lines = [line.rstrip(",\n") for line in file.read().splitlines()[1:-1]]
    return [line for line in lines if json.loads(line)["op"] not in wanted]


if __name__ == "__main__":
    main()
