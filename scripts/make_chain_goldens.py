"""What TensorFlow answers for chains of ops on 16-bit floats, which round after each op.

    python scripts/make_chain_goldens.py        (TensorFlow 2.21, CPU)

Writes packages/onnx/test/testdata/golden-chains.json: a list of cases
  {dtype, nodes: [{op, attrs, in: [value], constant?: tensor}], in: [tensor], out: tensor}
where a value is a number: first the inputs, then the nodes' results. Inputs and output are float32; the nodes cast. The ops are
run one by one: TensorFlow's own fusions (oneDNN, Grappler) round less.
"""
import json, os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import numpy as np
import tensorflow as tf
from lowering_cases.recorded import encode

OUT = os.path.join(os.path.dirname(__file__), "..", "packages", "onnx", "test", "testdata", "golden-chains.json")
F32 = np.float32
rng = np.random.default_rng(5)


class Chain:
    """Runs ops eagerly and notes them down. A value is its number."""

    def __init__(self, dtype, arrays):
        self.dtype, self.nodes, self.inputs = dtype, [], [np.asarray(a, F32) for a in arrays]
        self.values = [tf.constant(a) for a in self.inputs]

    def __call__(self, op, names, inputs, attrs={}, noted={}):
        """attrs: for tf.raw_ops and the note; noted: attributes that TensorFlow infers."""
        result = getattr(tf.raw_ops, op)(**dict(zip(names, (self.values[i] for i in inputs))), **attrs)
        self.values.append(result)
        attrs = {k: v.as_datatype_enum if isinstance(v, tf.DType) else v for k, v in {**attrs, **noted}.items()}
        self.nodes.append({"op": op, "attrs": attrs, "in": list(inputs)})
        return len(self.values) - 1

    def cast(self, value, to):
        return self("Cast", ["x"], [value], {"DstT": to}, {"SrcT": self.values[value].dtype})

    def constant(self, value):
        self.values.append(tf.constant(value))
        self.nodes.append({"op": "Const", "constant": encode(np.asarray(value, np.int32)), "attrs": {}, "in": []})
        return len(self.values) - 1

    def binary(self, op, x, y):
        return self(op, ["x", "y"], [x, y], {}, {"T": self.dtype})

    def unary(self, op, x):
        names = ["features" if op in ("Relu", "Elu", "Selu", "Softsign", "LeakyRelu") else "x"]
        return self(op, names, [x], {"alpha": 0.2} if op == "LeakyRelu" else {}, {"T": self.dtype})

    def case(self, last):
        last = self.cast(last, tf.float32)
        return {"dtype": self.dtype.name, "nodes": self.nodes, "in": [encode(a) for a in self.inputs],
                "out": encode(self.values[last].numpy())}


def chains(dtype):
    def chain(shapes, make):
        chain = Chain(dtype, [rng.uniform(-3, 3, shape) for shape in shapes])
        halves = [chain.cast(i, dtype) for i in range(len(shapes))]
        return chain.case(make(chain, *halves))

    for ops in ["AddV2 AddV2", "Mul AddV2", "Sub Mul", "Mul Mul", "RealDiv Sub", "Maximum Mul", "AddV2 Sub Mul",
                "Mul RealDiv AddV2", "Mul Minimum Sub", "SquaredDifference Mul", "FloorDiv Mul"]:
        def left(c, x, y):
            for op in ops.split():
                x = c.binary(op, x, y)
            return x
        yield chain([[4, 16], [16]], left)
    for ops in ["Exp Neg", "Square Sqrt", "Abs Rsqrt Square", "Tanh Exp", "Square Log", "Sin Square Exp", "Relu Exp Square", "Elu Square", "Selu Square",
                "Softsign Exp", "LeakyRelu Exp"]:
        def line(c, x):
            for op in ops.split():
                x = c.unary(op, x)
            return x
        yield chain([[64]], line)
    # An op that only moves elements between two that compute.
    def moved(c, x, y):
        turned = c("Transpose", ["x", "perm"], [c.binary("Mul", x, x), c.constant([1, 0])], {}, {"T": dtype})
        return c.binary("Mul", turned, y)
    yield chain([[4, 6], [6, 4]], moved)
    # A value with two readers.
    def twice(c, x, y):
        product = c.binary("Mul", x, y)
        return c.binary("AddV2", c.unary("Exp", product), product)
    yield chain([[5, 8], [8]], twice)
    # A comparison and a choice by it, which see the rounded values.
    def choice(c, x, y):
        product = c.binary("Mul", x, y)
        is_greater = c.binary("Greater", product, x)
        return c.binary("Mul", c("SelectV2", ["condition", "t", "e"], [is_greater, product, y], {}, {"T": dtype}), y)
    yield chain([[5, 8], [8]], choice)
    # A sum of several, each of which rounds.
    def several(c, x, y):
        c.values.append(tf.raw_ops.AddN(inputs=[c.values[i] for i in (x, y, y, x)]))
        c.nodes.append({"op": "AddN", "attrs": {"N": 4, "T": dtype.as_datatype_enum}, "in": [x, y, y, x]})
        return c.binary("Mul", len(c.values) - 1, y)
    yield chain([[5, 8], [5, 8]], several)
    if dtype == tf.float16:  # bfloat16 without oneDNN sums in bfloat16
        def dense(c, x, w, b):
            product = c("MatMul", ["a", "b"], [x, w], {"transpose_a": False, "transpose_b": False}, {"T": dtype})
            return c.unary("Relu", c("BiasAdd", ["value", "bias"], [product, b], {"data_format": "NHWC"}, {"T": dtype}))
        yield chain([[4, 8], [8, 6], [6]], dense)


if __name__ == "__main__":
    cases = [case for dtype in (tf.float16, tf.bfloat16) for case in chains(dtype)]
    os.makedirs(os.path.dirname(OUT), exist_ok=True)
    with open(OUT, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
    print(len(cases), os.path.getsize(OUT))
