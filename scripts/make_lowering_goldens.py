"""What TensorFlow answers for single ops: the truth that the ONNX lowerings are tested against.

    python scripts/make_lowering_goldens.py        (TensorFlow 2.21, CPU)

Writes packages/onnx/test/goldens/golden-FAMILY.json: a list of cases
  {op, attrs, in: [tensor], out: [tensor] | error: 1, only?: [output index]}
where a tensor is {d: DataType number, s: shape, b: base64 of little-endian data, c?: 1 when it is a constant of the graph}.
"""
import base64, json, os, sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

tf1 = tf.compat.v1
rng = np.random.default_rng(20)
OUT = os.path.join(os.path.dirname(__file__), "..", "packages", "onnx", "test", "goldens")
CONFORMANCE = os.path.join(os.path.dirname(__file__), "..", "test", "conformance", "goldens")
F32, F64, F16 = np.float32, np.float64, np.float16
I8, I16, I32, I64 = np.int8, np.int16, np.int32, np.int64
U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64
FLOATS = [F32, F64, F16]
SIGNED = [I8, I16, I32, I64]
UNSIGNED = [U8, U16, U32, U64]
INTS = SIGNED + UNSIGNED
FAMILIES = {}
cases = None


def family(make):
    FAMILIES[make.__name__] = make
    return make


class C:
    """A constant input."""
    def __init__(self, value):
        self.value = value


def rand(dtype, shape, low=-3, high=3):
    if dtype == bool:
        return rng.integers(0, 2, shape).astype(bool)
    if np.issubdtype(dtype, np.floating):
        return rng.uniform(low, high, shape).astype(dtype)
    if np.issubdtype(dtype, np.unsignedinteger):
        low = max(low, 0)
    return rng.integers(low, high + 1, shape).astype(dtype)


def attr_value(value):
    kind = value.WhichOneof("value")
    if kind == "list":
        for name in ("s", "i", "f", "b", "type"):
            items = getattr(value.list, name)
            if len(items):
                return [x.decode() if name == "s" else x for x in items]
        return []
    if kind == "s":
        return value.s.decode()
    if kind == "shape":
        return None if value.shape.unknown_rank else [d.size for d in value.shape.dim]
    if kind in ("i", "f", "b", "type"):
        found = getattr(value, kind)
        if kind == "f" and not np.isfinite(found):
            return repr(found)
        return found
    raise ValueError(kind)


def encode(array, constant=False):
    array = np.asarray(array)
    result = {"d": tf.as_dtype(array.dtype).as_datatype_enum, "s": list(array.shape),
              "b": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}
    if constant:
        result["c"] = 1
    return result


def raw_op(op):
    return getattr(tf.raw_ops, op, None) or getattr(gen_xla_ops, op)


def case(op, _only=None, _producer=None, **kwargs):
    """Runs raw op `op`. Array arguments are fed; C(...) are constants; lists of arrays are list inputs; the rest are attributes."""
    feeds, inputs, fed = {}, [], {}
    with tf.Graph().as_default() as graph:
        if _producer:  # for ops that newer graphs may not have any more
            tf.import_graph_def(tf1.GraphDef(versions={"producer": _producer}), name="")
        def value(v):
            if isinstance(v, C):
                inputs.append(encode(v.value, True))
                return tf.constant(np.asarray(v.value))
            if isinstance(v, np.ndarray) or isinstance(v, np.generic):
                v = np.asarray(v)
                inputs.append(encode(v))
                p = tf1.placeholder(v.dtype, None)
                feeds[p] = v
                return p
            return v
        for name, v in kwargs.items():
            if isinstance(v, list) and v and isinstance(v[0], (np.ndarray, C)):
                fed[name] = [value(x) for x in v]
            else:
                fed[name] = value(v)
        entry = {"op": op}
        try:
            result = raw_op(op)(**fed)
            node = [n for n in graph.get_operations() if n.type == op][-1]
            # Inputs in the order of the node, not of the arguments.
            entry["attrs"] = {k: attr_value(v) for k, v in node.node_def.attr.items() if not k.startswith("_")}
            outputs = list(node.outputs)
            by_tensor = {}
            flat = []
            for name, v in fed.items():
                flat += v if isinstance(v, list) else [v]
            flat = [t for t in flat if isinstance(t, tf.Tensor)]
            assert len(flat) == len(inputs)
            for t, e in zip(flat, inputs):
                by_tensor[t.name] = e
            entry["in"] = [by_tensor[t.name] for t in node.inputs]
            with tf1.Session(graph=graph) as session:
                values = session.run(outputs, feeds)
            entry["out"] = [encode(v) for v in values]
            if _only is not None:
                entry["only"] = _only
        except (tf.errors.InvalidArgumentError, tf.errors.InternalError, tf.errors.OutOfRangeError) as error:
            if "in" not in entry:
                raise
            if "No OpKernel" in str(error):
                return
            entry["error"] = 1
        except (ValueError, TypeError) as error:
            print("skipped", op, str(error).split("\n")[0][:150], file=sys.stderr)
            return
        except tf.errors.UnimplementedError as error:
            print("no kernel", op, str(error).split("\n")[0][:100], file=sys.stderr)
            return
        except tf.errors.NotFoundError as error:
            return
    cases.append(entry)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 1e-6, -1e-6, 3e5, -3e5, np.inf, -np.inf, np.nan])


@family
def arithmetic():
    for op in ["AddV2", "Sub", "Mul", "Maximum", "Minimum", "SquaredDifference", "FloorDiv", "FloorMod"]:
        for dtype in FLOATS + INTS:
            y = rand(dtype, [3], 1, 5)
            if dtype in FLOATS + SIGNED:
                y = y * rng.choice([-1, 1], 3).astype(dtype)
            case(op, x=rand(dtype, [2, 3], -9, 9), y=y)
    for op in ["Add", "RealDiv", "DivNoNan", "MulNoNan", "Xdivy", "Xlogy", "Xlog1py", "Pow", "Atan2", "TruncateMod", "Mod"]:
        for dtype in FLOATS:
            kw = {"y": rand(dtype, [2, 3], 0, 4), "x": rand(dtype, [2, 1], 0.1, 4)}
            case(op, **kw)
            zero = np.array([0, 1, 0, 2], dtype)
            case(op, x=np.array([0, 0, 5, 3], dtype), y=zero) if op not in ("TruncateMod", "Mod", "Atan2") else None
    case("MulNoNan", x=np.array([np.nan, np.inf, 2], F32), y=np.array([0, 0, 3], F32))
    case("DivNoNan", x=np.array([np.nan, np.inf, 2], F32), y=np.array([0, 0, 3], F32))
    for signs in [(1, 1), (1, -1), (-1, 1), (-1, -1)]:
        case("Atan2", y=np.array([1.0, 0.5, 3], F32) * signs[0], x=np.array([0.3, 2, 0.7], F32) * signs[1])
    case("Atan2", y=np.array([1, -1, 0], F32), x=np.array([0, 0, 0], F32))
    for op in ["Div", "TruncateDiv", "FloorDiv", "FloorMod", "TruncateMod", "Mod"]:
        for dtype in [I32, I64, I8, I16]:
            if op in ("TruncateDiv",) or dtype in (I32, I64):
                case(op, x=np.array([7, -7, 7, -7, 0, 6], dtype), y=np.array([2, 2, -2, -2, -1, -1], dtype))
        case(op, x=np.array([1, 2], I32), y=np.array([1, 0], I32))
    for dtype in [I32, I64]:
        low = np.iinfo(dtype).min
        case("FloorMod", x=np.array([low, low + 1], dtype), y=np.array([3, 7], dtype))
        case("Mul", x=np.array([low, 2**30], dtype), y=np.array([3, 7], dtype))
        case("AddV2", x=np.array([np.iinfo(dtype).max], dtype), y=np.array([1], dtype))
    for op in ["FloorMod", "FloorDiv"]:
        for dtype in [F32, F64]:
            case(op, x=np.array([7.5, -7.5, 7.5, -7.5, 6, -6], dtype), y=np.array([2, 2, -2, -2, 3, 3], dtype))
    for dtype in FLOATS + [I32, I64]:
        case("AddN", inputs=[rand(dtype, [2, 2]) for _ in range(3)])
        case("ClipByValue", t=rand(dtype, [2, 3], -5, 5), clip_value_min=np.array(-1, dtype), clip_value_max=np.array(2, dtype))
    for low, high in [(-1.0, 2.0), (0.0, 0.0), (2.0, -1.0)]:
        odd = np.array([[np.nan, np.inf, -np.inf], [-0.0, 1.5, -7]], F32)
        case("ClipByValue", t=odd, clip_value_min=C(F32(low)), clip_value_max=C(F32(high)))
    case("AddV2", x=np.zeros([0, 3], F32), y=np.zeros([3], F32))
    case("AddV2", x=np.zeros([2, 3], F32), y=np.zeros([4], F32))
    for op in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
        for dtype in INTS:
            case(op, x=rand(dtype, [4], -100, 100), y=rand(dtype, [4], -100, 100))
    for dtype in INTS:
        case("Invert", x=rand(dtype, [4], -100, 100))
    for op in ["LeftShift", "RightShift"]:
        for dtype in [U8, U32, U64]:
            case(op, x=rand(dtype, [4], 0, 100), y=np.array([0, 1, 3, 7], dtype))


@family
def unary():
    small = np.concatenate([rng.uniform(-1, 1, 6), [1e-7, -1e-7, 1e-4]])
    for op in ["Neg", "Abs", "Square", "Sign", "Exp", "Floor", "Ceil", "Round", "Rint", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh",
               "Asinh", "Erf", "Erfc", "Expm1", "Sigmoid", "Tanh", "Softsign", "Reciprocal", "Inv"]:
        for dtype in FLOATS:
            case(op, **{"features" if op == "Softsign" else "x": (rand(dtype, [3, 4], -4, 4))})
            case(op, **{"features" if op == "Softsign" else "x": small.astype(dtype)})
    for op in ["Relu", "Relu6", "Elu", "Selu", "Softplus", "LeakyRelu"]:
        for dtype in FLOATS + (INTS if op in ("Relu", "Relu6") else []):
            case(op, features=rand(dtype, [3, 4], -9, 9))
            if dtype in FLOATS:
                case(op, features=small.astype(dtype))
                case(op, features=np.array([0, -0.0, 40, -40, 90, -90], dtype))
    case("LeakyRelu", features=rand(F32, [5]), alpha=0.01)
    case("LeakyRelu", features=rand(F64, [5]), alpha=0.3)
    for op in ["Sqrt", "Rsqrt", "Log", "Log1p"]:
        for dtype in FLOATS:
            case(op, x=rand(dtype, [3, 4], 0.01, 9))
            case(op, x=np.abs(small).astype(dtype))
    for dtype in FLOATS:
        case("Log1p", x=np.array([-0.5, -0.999, 1e-5, -1e-5, 0, 1e4], dtype))
        case("Expm1", x=np.array([-20, -0.999, 1e-5, -1e-5, 0, 5], dtype))
        case("Log1p", x=np.array([np.inf, -1, 0], dtype))
        case("Expm1", x=np.array([np.inf, -np.inf, 0, 100], dtype)) if dtype != F16 else None
    for op in ["Asin", "Acos", "Atanh"]:
        for dtype in FLOATS:
            case(op, x=rand(dtype, [6], -0.95, 0.95))
    for dtype in FLOATS:
        case("Acosh", x=rand(dtype, [6], 1.01, 9))
    for op in ["IsNan", "IsInf", "IsFinite", "Round", "Rint", "Floor", "Ceil", "Abs", "Neg", "Sigmoid", "Tanh", "Relu", "Sign", "Square"]:
        for dtype in FLOATS:
            case(op, **{"features" if op == "Relu" else "x": SPECIAL.astype(dtype)})
    for op in ["Neg", "Abs", "Square", "Sign", "Round"]:
        for dtype in SIGNED:
            case(op, x=rand(dtype, [5], -9, 9))
    for op in ["Softmax", "LogSoftmax"]:
        for dtype in FLOATS:
            case(op, logits=rand(dtype, [2, 5], -9, 9))
            case(op, logits=rand(dtype, [2, 3, 4], -9, 9))
        case(op, logits=rand(F32, [4]))
        case(op, logits=np.zeros([0, 4], F32))
    everything = FLOATS + INTS + [bool]
    for source in everything:
        for target in everything:
            if target in UNSIGNED:
                low, high = (0, 100)
            else:
                low, high = (-100, 100)
            case("Cast", x=rand(source, [4], low, high), DstT=tf.as_dtype(target))
    case("Cast", x=SPECIAL.astype(F32), DstT=tf.int32)
    case("Cast", x=np.array([1e20, -1e20, 3e9, np.nan], F32), DstT=tf.int64)
    case("Cast", x=np.array([1e20, -1e20, 3e9, np.nan], F64), DstT=tf.int64)
    case("Cast", x=SPECIAL.astype(F64), DstT=tf.int32)
    case("Cast", x=SPECIAL.astype(F32), DstT=tf.bool)
    case("Cast", x=SPECIAL.astype(F64), DstT=tf.float16)
    case("Cast", x=np.array([2**40 + 5, -1, 2**31], I64), DstT=tf.int32)
    case("Cast", x=np.array([2**24 + 1, 2**53 + 1, -2**62 - 1], I64), DstT=tf.float32)
    case("Cast", x=np.array([300, -1, 256], I32), DstT=tf.uint8)


@family
def selection():
    for op in ["Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"]:
        for dtype in FLOATS + INTS + [bool]:
            if dtype == bool and op not in ("Equal", "NotEqual"):
                continue
            case(op, x=rand(dtype, [3, 4], 0, 2), y=rand(dtype, [4], 0, 2))
        case(op, x=SPECIAL.astype(F32), y=np.array(1, F32))
    case("ApproximateEqual", x=np.array([1, 1.001, 2], F32), y=np.array([1, 1, 1], F32), tolerance=0.01)
    for op in ["LogicalAnd", "LogicalOr"]:
        case(op, x=rand(bool, [3, 4]), y=rand(bool, [4]))
    case("LogicalNot", x=rand(bool, [5]))
    for dtype in FLOATS + INTS + [bool]:
        t, e = rand(dtype, [3, 2], -50, 50), rand(dtype, [3, 2], -50, 50)
        case("SelectV2", condition=rand(bool, [3, 1]), t=t, e=e)
        case("Select", condition=rand(bool, [3, 2]), x=t, y=e)
        case("Select", condition=rand(bool, [3]), x=t, y=e)
        case("Select", condition=np.array(True), x=t, y=e)
        case("SelectV2", condition=np.array(False), t=t, e=np.array(1, dtype))
    case("Select", condition=rand(bool, [2]), x=rand(F32, [2, 3, 4]), y=rand(F32, [2, 3, 4]))
    case("Select", condition=rand(bool, [0]), x=rand(F32, [0, 3]), y=rand(F32, [0, 3]))
    big = np.array([2**63 - 1, -2**63], I64)
    case("SelectV2", condition=np.array([True, False]), t=big, e=big[::-1].copy())
    case("SelectV2", condition=np.array([True, False]), t=np.array([2**64 - 1, 0], U64), e=np.array([1, 2**63 + 1], U64))
    for dtype in FLOATS + INTS + [bool]:
        case("Where", condition=rand(dtype, [3, 4], -1, 1))
    case("Where", condition=rand(bool, [7]))
    case("Where", condition=rand(bool, [2, 3, 2]))
    case("Where", condition=np.zeros([0, 2], bool))
    case("Where", condition=np.zeros([3], bool))
    case("Where", condition=SPECIAL.astype(F32))


@family
def products():
    for dtype in FLOATS + [I32, I64]:
        for ta in [False, True]:
            for tb in [False, True]:
                a, b = rand(dtype, [2, 3]), rand(dtype, [3, 4])
                case("MatMul", a=a.T.copy() if ta else a, b=b.T.copy() if tb else b, transpose_a=ta, transpose_b=tb)
                a, b = rand(dtype, [2, 1, 2, 3]), rand(dtype, [3, 3, 4])
                case("BatchMatMulV2", x=a.swapaxes(-1, -2).copy() if ta else a, y=b.swapaxes(-1, -2).copy() if tb else b, adj_x=ta, adj_y=tb)
        case("BatchMatMul", x=rand(dtype, [2, 2, 3]), y=rand(dtype, [2, 3, 2]))
        case("BiasAdd", value=rand(dtype, [2, 3]), bias=rand(dtype, [3]))
        case("BiasAdd", value=rand(dtype, [2, 2, 2, 3]), bias=rand(dtype, [3]))
        case("BiasAdd", value=rand(dtype, [2, 3, 2, 2]), bias=rand(dtype, [3]), data_format="NCHW")
        case("Einsum", inputs=[rand(dtype, [2, 3, 4]), rand(dtype, [4, 5])], equation="abc,cd->abd")
    case("MatMul", a=rand(F32, [0, 3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [2, 0]), b=rand(F32, [0, 4]))
    case("MatMul", a=rand(F32, [2, 3]), b=rand(F32, [4, 4]))
    case("MatMul", a=rand(F32, [3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [1, 2, 3]), b=rand(F32, [3, 4]))
    case("MatMul", a=rand(F32, [33, 70]), b=rand(F32, [70, 5]))
    case("BatchMatMulV2", x=rand(F32, [2, 3, 4]), y=rand(F32, [4, 5]))
    case("BatchMatMulV2", x=rand(F32, [0, 3, 4]), y=rand(F32, [0, 4, 5]), adj_y=False)
    case("BatchMatMulV3", x=rand(F32, [2, 3, 4]), y=rand(F32, [2, 4, 5]), Tout=tf.float32)
    for equation, shapes in [("abcd,aecd->acbe", ([2, 3, 4, 5], [2, 6, 4, 5])), ("ij->ji", ([2, 3],)), ("ij->", ([2, 3],)), ("ij->i", ([2, 3],)),
                             ("...ij,...jk->...ik", ([2, 2, 3], [2, 3, 4])), ("bij,bjk->bik", ([2, 2, 3], [2, 3, 4])), ("i,j->ij", ([2], [3])),
                             ("BTNH,BFNH->BNFT", ([2, 3, 2, 4], [2, 5, 2, 4])), ("abc,cde->abde", ([2, 3, 4], [4, 2, 3])), ("abcd,cde->abe", ([2, 3, 2, 4], [2, 4, 5])),
                             ("ab,cd->ac", ([2, 3], [4, 5])), ("...i,i->...", ([2, 3, 4], [4])), ("i...,j...->ij...", ([2, 3], [4, 3])), ("...ij,jk->...ik", ([2, 3, 4, 2], [2, 3])),
                             ("...ab,...bc->...ac", ([3, 1, 2, 4], [5, 4, 2])), ("abc,cd->abd", ([0, 3, 4], [4, 5])), ("abcd,aecd->acbe", ([0, 3, 4, 5], [0, 6, 4, 5])), ("ab,bc->ac", ([2, 0], [0, 3])),
                             ("ab,bc->ac", ([2, 3], [4, 3]))]:
        case("Einsum", inputs=[rand(F32, s) for s in shapes], equation=equation)
    for left in [I8, U8, tf.bfloat16.as_numpy_dtype]:
        for right in [I8, U8, tf.bfloat16.as_numpy_dtype]:
            for ta, tb in [(False, False), (True, False), (False, True), (True, True)] if left != right else [(False, False), (True, True)]:
                a, b = (rand(dtype if dtype in (I8, U8) else F32, shape, -128, 127).astype(dtype) for dtype, shape in [(left, [2, 1, 2, 3]), (right, [3, 3, 4])])
                out = tf.int32 if left in (I8, U8) and right in (I8, U8) else tf.bfloat16
                case("BatchMatMulV3", x=a.swapaxes(-1, -2).copy() if ta else a, y=b.swapaxes(-1, -2).copy() if tb else b, Tout=out, adj_x=ta, adj_y=tb)
    for dtype, out in [(F64, tf.float64), (I16, tf.int16), (I32, tf.int32), (I64, tf.int64)]:
        case("BatchMatMulV3", x=rand(dtype, [2, 3, 2]), y=rand(dtype, [3, 1]), Tout=out, adj_x=True)
    case("BatchMatMulV3", x=np.full([1, 1, 600], -128, I8), y=np.full([1, 600, 1], 255, U8), Tout=tf.int32)
    case("BatchMatMulV3", x=rand(I8, [2, 0, 3]), y=rand(U8, [2, 3, 2]), Tout=tf.int32)


@family
def arrays():
    for dtype in FLOATS + INTS + [bool]:
        x = rand(dtype, [2, 3, 4], -50, 50)
        case("Reshape", tensor=x, shape=C(np.array([4, -1], I32)))
        case("Transpose", x=x, perm=C(np.array([2, 0, 1], I32)))
        case("ConcatV2", values=[x, x], axis=C(np.array(-1, I32)))
        case("Pack", values=[x, x], axis=1)
        case("Unpack", value=x, num=3, axis=1)
        case("Slice", input=x, begin=C(np.array([0, 1, 1], I32)), size=C(np.array([1, -1, 2], I32)))
        case("Tile", input=x, multiples=C(np.array([1, 2, 1], I32)))
        case("ReverseV2", tensor=x, axis=C(np.array([1, -1], I32)))
        case("PadV2", input=x, paddings=C(np.array([[1, 0], [0, 2], [1, 1]], I32)), constant_values=np.array(1, dtype))
        case("MirrorPad", input=x, paddings=C(np.array([[1, 0], [0, 2], [1, 1]], I32)), mode="REFLECT")
        case("MirrorPad", input=x, paddings=C(np.array([[2, 1], [0, 3], [1, 1]], I32)), mode="SYMMETRIC")
        case("BroadcastTo", input=x, shape=C(np.array([2, 2, 3, 4], I32)))
        case("Fill", dims=np.array([2, 3], I32), value=rand(dtype, []))
        case("ZerosLike", x=x)
        case("OnesLike", x=x)
        case("Roll", input=x, shift=C(np.array([1, -6], I32)), axis=C(np.array([0, 2], I32)))
        case("Split", axis=C(np.array(2, I32)), value=x, num_split=2)
        case("StridedSlice", input=x, begin=C(np.array([0, 1], I32)), end=C(np.array([1, 3], I32)), strides=C(np.array([1, 1], I32)), shrink_axis_mask=1)
    x = rand(F32, [2, 3, 4])
    for shape in [[2, 12], [-1], [24, 1], [2, 0], [3, -1, 2]]:
        case("Reshape", tensor=x, shape=np.array(shape, I64))
    case("Reshape", tensor=rand(F32, [0, 3]), shape=np.array([-1, 3], I32))
    case("Reshape", tensor=rand(F32, [0, 3]), shape=np.array([0, 7], I32))
    case("Reshape", tensor=rand(F32, [1]), shape=np.array([], I32))
    case("ExpandDims", input=x, axis=C(np.array(-1, I32)))
    case("ExpandDims", input=x, axis=C(np.array(1, I64)))
    case("ExpandDims", input=x, axis=np.array(-2, I32))
    case("ExpandDims", input=np.array(3, F32), axis=C(np.array(0, I32)))
    case("Squeeze", input=rand(F32, [1, 2, 1]))
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[-1])
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[0, 2])
    case("Squeeze", input=rand(F32, [1, 2, 1]), axis=[1])
    case("ConcatV2", values=[rand(F32, [2, 0]), rand(F32, [2, 3]), rand(F32, [2, 1])], axis=C(np.array(1, I32)))
    case("Concat", concat_dim=C(np.array(0, I32)), values=[rand(F32, [1, 3]), rand(F32, [2, 3])])
    case("ConcatV2", values=[rand(F32, [2, 2]), rand(F32, [3, 3])], axis=C(np.array(1, I32)))
    case("Pack", values=[np.array(1, I32), np.array(2, I32)])
    case("Pack", values=[rand(F32, [2, 3])], axis=-1)
    case("Unpack", value=rand(F32, [3]), num=3)
    case("Unpack", value=rand(F32, [2, 3]), num=3, axis=-1)
    case("Unpack", value=rand(F32, [2, 3]), num=2, axis=-1)
    case("Split", axis=C(np.array(-1, I32)), value=rand(F32, [2, 12]), num_split=4)
    case("Split", axis=C(np.array(1, I32)), value=rand(F32, [2, 5]), num_split=2)
    case("Split", axis=C(np.array(0, I32)), value=rand(F32, [0, 5]), num_split=2)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=C(np.array([2, -1, 1], I32)), axis=C(np.array(1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, 4, 1], I64), axis=C(np.array(-1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, 4, 2], I64), axis=C(np.array(-1, I32)), num_split=3)
    case("SplitV", value=rand(F32, [2, 7]), size_splits=np.array([2, -1, 2], I64), axis=C(np.array(-1, I32)), num_split=3)
    for begin, size in [([0, 1, 1], [2, 2, -1]), ([1, 0, 0], [1, 3, 4]), ([0, 0, 0], [0, 3, 4]), ([0, 2, 0], [2, 2, 4]), ([-1, 0, 0], [1, 1, 1]), ([2, 0, 0], [0, 1, 1])]:
        case("Slice", input=x, begin=np.array(begin, I64), size=np.array(size, I64))
        case("Slice", input=x, begin=C(np.array(begin, I32)), size=C(np.array(size, I32)))
    case("Tile", input=rand(F32, [2, 3]), multiples=np.array([0, 2], I32))
    case("Tile", input=rand(F32, [2, 3]), multiples=np.array([3, 2], I64))
    case("BroadcastTo", input=rand(F32, [3, 1]), shape=np.array([2, 3, 4], I32))
    case("BroadcastTo", input=np.array(2, F32), shape=np.array([2, 0], I32))
    case("Fill", dims=np.array([], I32), value=np.array(2, F32))
    case("Fill", dims=np.array([2, 0], I64), value=np.array(2, F32))
    for dtype in [F32, F64, I32, I64, I16]:
        case("Range", start=np.array(1, dtype), limit=np.array(8, dtype), delta=np.array(2, dtype))
        case("Range", start=np.array(5, dtype), limit=np.array(0, dtype), delta=np.array(-2, dtype)) if dtype != I16 else None
        case("Range", start=np.array(0, dtype), limit=np.array(0, dtype), delta=np.array(1, dtype))
    case("Range", start=np.array(0, F32), limit=np.array(1, F32), delta=np.array(0.1, F32))
    case("Range", start=np.array(0, I32), limit=np.array(1, I32), delta=np.array(0, I32))
    for dtype in [F32, F64]:
        for num in [1, 2, 5]:
            case("LinSpace", start=np.array(1, dtype), stop=np.array(3, dtype), num=np.array(num, I32))
    case("Shape", input=x)
    case("Shape", input=x, out_type=tf.int64)
    case("ShapeN", input=[x, rand(F32, [5])])
    case("Size", input=x)
    case("Rank", input=x)
    case("Rank", input=np.array(1, F32))
    case("Shape", input=np.array(1, F32))
    case("Pad", input=rand(F32, [2, 3]), paddings=C(np.array([[0, 0], [2, 1]], I32)))
    case("Pad", input=rand(F32, [2, 3]), paddings=np.array([[0, 1], [2, 1]], I32))
    case("Pad", input=rand(F32, [2, 3]), paddings=np.array([[0, -1], [2, 1]], I32))
    case("Pad", input=rand(F32, [0, 3]), paddings=C(np.array([[0, 1], [2, 1]], I32)))
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[2, 2]], I32)), mode="REFLECT")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[3, 0]], I32)), mode="REFLECT")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[3, 3]], I32)), mode="SYMMETRIC")
    case("MirrorPad", input=rand(F32, [3]), paddings=C(np.array([[4, 0]], I32)), mode="SYMMETRIC")
    case("ReverseV2", tensor=rand(F32, [3]), axis=C(np.array([], I32)))
    case("ReverseV2", tensor=rand(F32, [0, 3]), axis=C(np.array([0], I32)))
    case("ReverseSequence", input=rand(F32, [2, 4, 3]), seq_lengths=np.array([3, 0], I64), seq_dim=1, batch_dim=0)
    case("ReverseSequence", input=rand(F32, [4, 2]), seq_lengths=np.array([1, 4], I32), seq_dim=0, batch_dim=1)
    case("ReverseSequence", input=rand(F32, [4, 2]), seq_lengths=np.array([1, 5], I32), seq_dim=0, batch_dim=1)
    case("Roll", input=rand(F32, [5]), shift=C(np.array(2, I32)), axis=C(np.array(0, I32)))
    case("Roll", input=rand(F32, [0, 2]), shift=C(np.array([2], I32)), axis=C(np.array([0], I32)))
    case("Identity", input=x)
    case("IdentityN", input=[x, rand(I32, [2])])
    case("EnsureShape", input=x, shape=[2, 3, 4])


@family
def strided_slices():
    x = rand(F32, [4, 5, 6])
    def ss(spec, data=x, fed=False, dtype=I32):
        begin, end, strides = [], [], []
        masks = dict(begin_mask=0, end_mask=0, ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0)
        for i, s in enumerate(spec):
            if s is Ellipsis:
                masks["ellipsis_mask"] |= 1 << i; begin.append(0); end.append(0); strides.append(1)
            elif s is None:
                masks["new_axis_mask"] |= 1 << i; begin.append(0); end.append(0); strides.append(1)
            elif isinstance(s, slice):
                if s.start is None: masks["begin_mask"] |= 1 << i
                if s.stop is None: masks["end_mask"] |= 1 << i
                begin.append(s.start or 0); end.append(s.stop or 0); strides.append(s.step or 1)
            else:
                masks["shrink_axis_mask"] |= 1 << i; begin.append(s); end.append(s + 1); strides.append(1)
        wrap = (lambda a: np.array(a, dtype)) if fed else (lambda a: C(np.array(a, dtype)))
        case("StridedSlice", input=data, begin=wrap(begin), end=wrap(end), strides=C(np.array(strides, dtype)), **masks)
    S = slice
    for spec in [(0,), (-1,), (S(1, 3),), (S(None, None, -1),), (S(3, 0, -2),), (S(None, 2), S(-2, None)), (Ellipsis, 0), (Ellipsis, -1), (0, Ellipsis, 2),
                 (None, 0), (S(None), None), (Ellipsis, None), (None, Ellipsis, S(1, 4, 2), None), (1, 2, 3), (S(None), 2, None, S(1, None)), (Ellipsis, 1, S(2, 4)),
                 (S(10, 20),), (S(-100, 100),), (S(2, 1),), (S(None), S(None), S(None, None, -2)), (Ellipsis,), (None, 1, Ellipsis, 2, None), (S(5, None, -1),),
                 (4,), (-5,), (0, 5), (S(None, -1), Ellipsis, S(1, None)), (Ellipsis, 0, 1), (Ellipsis, S(None, 3), 1, None)]:
        ss(spec)
        ss(spec, fed=True, dtype=I64)
    v = np.array([7, 8, 9], I32)
    for spec in [(0,), (2,), (S(1, 2),), (S(None, -1),), (S(1, None),), (None,)]:
        ss(spec, v)
        ss(spec, v, fed=True)
    ss((S(None), 0), rand(F32, [0, 3]))
    ss((S(1, 3),), rand(F32, [0, 3]))


@family
def reductions():
    for op in ["Sum", "Prod", "Max", "Min", "Mean"]:
        for dtype in FLOATS + INTS:
            x = rand(dtype, [2, 3, 4], -2, 3)
            case(op, input=x, axis=C(np.array([0, -1], I32)))
            case(op, input=x, axis=C(np.array(1, I32)), keep_dims=True)
    for op in ["Sum", "Prod", "Max", "Min", "Mean", "EuclideanNorm"]:
        x = rand(F32, [2, 3, 4])
        case(op, input=x, axis=np.array([1, 2], I32))
        case(op, input=x, axis=np.array([], I32))
        case(op, input=x, axis=C(np.array([], I32)))
        case(op, input=x, axis=C(np.array([0, 1, 2], I64)))
        case(op, input=np.array(3, F32), axis=C(np.array([], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([0], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([1], I32)), keep_dims=True)
        case(op, input=np.zeros([2, 0], F32), axis=C(np.array([0, 1], I32)))
        case(op, input=np.zeros([0, 3], F32), axis=C(np.array([-1], I32)))
        case(op, input=np.zeros([2, 0, 3], F32), axis=C(np.array([-2, 0], I32)), keep_dims=True)
        case(op, input=rand(F32, [3, 400]), axis=C(np.array([1], I32)))
    for dtype in [I32, I64]:
        for op in ["Sum", "Prod", "Max", "Min"]:
            case(op, input=np.zeros([0, 3], dtype), axis=C(np.array([0], I32)))
    case("Sum", input=np.array([2**62, 2**62], I64), axis=C(np.array([0], I32)))
    case("Sum", input=np.array([2**31 - 1, 1], I32), axis=C(np.array([0], I32)))
    case("Prod", input=np.array([2**20, 2**20], I32), axis=C(np.array([0], I32)))
    case("Max", input=np.array([2**62 + 1, 2**62], I64), axis=C(np.array([0], I32)))
    for dtype in [F64, F16]:
        case("EuclideanNorm", input=rand(dtype, [2, 3]), axis=C(np.array([1], I32)))
    for op in ["All", "Any"]:
        for _ in range(3):
            case(op, input=rand(bool, [2, 3]), axis=C(np.array([1], I32)))
        case(op, input=rand(bool, [2, 3]), axis=C(np.array([0, 1], I32)), keep_dims=True)
        case(op, input=np.zeros([0, 2], bool), axis=C(np.array([0], I32)))
        case(op, input=np.ones([0, 2], bool), axis=C(np.array([0, 1], I32)))
    for op in ["ArgMax", "ArgMin"]:
        for dtype in FLOATS + INTS + [bool]:
            case(op, input=rand(dtype, [3, 4], -3, 3), dimension=C(np.array(1, I32)))
            case(op, input=rand(dtype, [3, 4], -3, 3), dimension=C(np.array(0, I32)), output_type=tf.int32)
        case(op, input=rand(F32, [2, 3, 4]), dimension=C(np.array(-2, I64)))
        case(op, input=np.zeros([0, 4], F32), dimension=C(np.array(1, I32)))
        case(op, input=np.zeros([0, 4], F32), dimension=C(np.array(0, I32)))
        case(op, input=np.array([1, 1, 1], F32), dimension=C(np.array(0, I32)))
    for dtype in FLOATS + INTS:
        case("Cumsum", x=rand(dtype, [2, 4], -3, 3), axis=C(np.array(1, I32)))
    for exclusive in [False, True]:
        for reverse in [False, True]:
            case("Cumsum", x=rand(F32, [2, 4]), axis=np.array(-1, I32), exclusive=exclusive, reverse=reverse)
            case("Cumsum", x=rand(I64, [4]), axis=C(np.array(0, I64)), exclusive=exclusive, reverse=reverse)
    case("Cumsum", x=np.zeros([0], I64), axis=C(np.array(0, I32)))
    for dtype in FLOATS + INTS:
        case("TopKV2", input=rand(dtype, [3, 6], -3, 3), k=C(np.array(4, I32)))
    case("TopKV2", input=np.array([1, 3, 3, 2, 3, 1], F32), k=np.array(4, I32))
    case("TopKV2", input=rand(F32, [2, 3, 5]), k=C(np.array(5, I32)))
    case("TopKV2", input=rand(F32, [5]), k=C(np.array(0, I32)))
    case("TopKV2", input=rand(F32, [5]), k=np.array(6, I32))
    case("TopKV2", input=rand(F32, [0, 5]), k=C(np.array(2, I32)))
    case("TopKV2", input=rand(F32, [1, 300]), k=C(np.array(10, I32)))
    for dtype in FLOATS:
        case("L2Loss", t=rand(dtype, [2, 3]))


@family
def gathers():
    for dtype in FLOATS + INTS + [bool]:
        p = rand(dtype, [5, 3], -50, 50)
        case("GatherV2", params=p, indices=rand(I32, [2, 2], 0, 4), axis=C(np.array(0, I32)))
        case("GatherV2", params=p, indices=rand(I64, [4], 0, 2), axis=C(np.array(-1, I32)))
        case("GatherNd", params=p, indices=np.array([[0, 1], [4, 2]], I32))
        case("OneHot", indices=np.array([0, 2, -1, 5], I64), depth=C(np.array(3, I32)), on_value=np.array(1, dtype), off_value=np.array(0, dtype))
    p = rand(F32, [5, 3])
    for index in [-1, 5, 4]:
        case("GatherV2", params=p, indices=np.array([0, index], I32), axis=C(np.array(0, I32)))
        case("GatherV2", params=p, indices=C(np.array([0, index], I64)), axis=C(np.array(0, I32)))
        case("Gather", params=p, indices=np.array([0, index], I64))
        case("GatherNd", params=p, indices=np.array([[0], [index]], I64))
    case("GatherV2", params=p, indices=np.array(2, I32), axis=C(np.array(0, I32)))
    case("GatherV2", params=p, indices=np.zeros([0], I32), axis=C(np.array(0, I32)))
    case("GatherV2", params=np.zeros([0, 3], F32), indices=np.zeros([0], I32), axis=C(np.array(0, I32)))
    p = rand(F32, [2, 3, 4, 5])
    case("GatherV2", params=p, indices=rand(I32, [2, 2], 0, 3), axis=C(np.array(2, I32)))
    for batch, axis, shape in [(1, 1, [2, 2]), (1, 1, [2]), (2, 2, [2, 3, 2]), (1, 2, [2, 2]), (1, 3, [2, 2, 2]), (-1, 1, [2, 2]), (1, -1, [2, 2]), (2, 3, [2, 3])]:
        limit = p.shape[axis] - 1
        case("GatherV2", params=p, indices=rand(I32, shape, 0, limit), axis=C(np.array(axis, I32)), batch_dims=batch)
    case("GatherV2", params=p, indices=np.array([[0, -1], [1, 1]], I32), axis=C(np.array(1, I32)), batch_dims=1)
    case("GatherV2", params=p, indices=np.array([[0, 3], [1, 1]], I32), axis=C(np.array(1, I32)), batch_dims=1)
    case("GatherNd", params=p, indices=np.array([[[0, 1], [1, 2]]], I32))
    case("GatherNd", params=p, indices=np.array([0, 1, 2, 3], I32))
    case("GatherNd", params=p, indices=np.zeros([0, 2], I32))
    case("GatherNd", params=p, indices=np.array([[0, -1]], I32))
    case("GatherNd", params=p, indices=np.array([[0, 3]], I32))
    for axis in [-1, 0, 1]:
        for dtype in [F32, I32, bool]:
            case("OneHot", indices=np.array([[0, 2, -1], [3, 1, -7]], I32), depth=np.array(3, I32), on_value=rand(dtype, []), off_value=rand(dtype, []), axis=axis)
    case("OneHot", indices=np.array([0, 2, 255], U8), depth=np.array(3, I32), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    case("OneHot", indices=np.array(1, I64), depth=C(np.array(3, I32)), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    case("OneHot", indices=np.zeros([0], I64), depth=C(np.array(3, I32)), on_value=np.array(5, F32), off_value=np.array(-1, F32))
    for dtype in [F32, F64] + INTS:
        x = rand(dtype, [9], 0, 3)
        if dtype in (F32, F64):
            x = np.round(x)
        case("Unique", x=x)
        case("UniqueWithCounts", x=x, out_idx=tf.int64)
        case("UniqueV2", x=x, axis=C(np.zeros([0], I64)))
    case("UniqueV2", x=np.array([3, 1, 3], I64), axis=C(np.array([0], I64)))
    case("Unique", x=np.zeros([0], I64))
    for lower, upper in [(0, 0), (-1, 0), (0, -1), (1, 1), (-1, -1), (2, 0), (0, 5)]:
        case("MatrixBandPart", input=rand(F32, [2, 3, 4]), num_lower=C(np.array(lower, I64)), num_upper=C(np.array(upper, I64)))
    for dtype in [F32, I32, I64, bool]:
        case("MatrixBandPart", input=rand(dtype, [4, 4]), num_lower=C(np.array(-1, I32)), num_upper=C(np.array(0, I32)))
        case("MatrixDiag", diagonal=rand(dtype, [2, 3]))


@family
def scatters():
    for dtype in FLOATS + [I32, I64, I8, U8]:
        case("ScatterNd", indices=np.array([[1], [3], [1]], I32), updates=rand(dtype, [3, 2], -9, 9), shape=np.array([5, 2], I32))
        for op in ["TensorScatterUpdate", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax", "TensorScatterMin"]:
            case(op, tensor=rand(dtype, [4, 2], -9, 9), indices=np.array([[3], [0]], I32), updates=rand(dtype, [2, 2], -9, 9))
    for index in [-1, 5]:
        case("ScatterNd", indices=np.array([[1], [index]], I32), updates=rand(F32, [2, 2]), shape=np.array([5, 2], I32))
        case("TensorScatterUpdate", tensor=rand(F32, [5, 2]), indices=np.array([[1], [index]], I32), updates=rand(F32, [2, 2]))
    case("ScatterNd", indices=np.array([[0, 1], [1, 1]], I64), updates=rand(F32, [2]), shape=C(np.array([2, 2], I64)))
    for op in ["UnsortedSegmentSum", "UnsortedSegmentProd", "UnsortedSegmentMax", "UnsortedSegmentMin"]:
        for dtype in [F32, F64, I32, I64]:
            case(op, data=rand(dtype, [4, 2], -9, 9), segment_ids=np.array([2, 0, 2, -1], I32), num_segments=C(np.array(4, I32)))
        case(op, data=rand(F32, [2, 2, 3]), segment_ids=np.array([[0, 1], [1, 1]], I64), num_segments=np.array(2, I32))
        case(op, data=rand(F32, [2]), segment_ids=np.array([0, 3], I64), num_segments=np.array(3, I32))
        case(op, data=rand(F32, [0, 2]), segment_ids=np.zeros([0], I64), num_segments=np.array(3, I32))
    for op in ["SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin"]:
        for dtype in [F32, F64, I32, I64]:
            case(op, data=rand(dtype, [5, 2], -9, 9), segment_ids=np.array([0, 0, 1, 3, 3], I32))
        case(op, data=rand(F32, [2, 2, 2]), segment_ids=np.array([1, 1], I64))
        case(op, data=rand(F32, [2, 2]), segment_ids=np.array([1, 0], I64))
        case(op, data=rand(F32, [0, 2]), segment_ids=np.zeros([0], I64))
    for op in ["SparseSegmentSum", "SparseSegmentMean", "SparseSegmentSqrtN"]:
        for dtype in [F32, F64]:
            case(op, data=rand(dtype, [5, 2]), indices=np.array([0, 4, 4, 1], I32), segment_ids=np.array([0, 0, 0, 2], I32))
        case(op, data=rand(F32, [5, 2, 2]), indices=np.array([0, 4, 4, 1], I64), segment_ids=np.array([0, 1, 2, 2], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.array([0, 5], I64), segment_ids=np.array([0, 1], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.array([0, -1], I64), segment_ids=np.array([0, 1], I64))
        case(op, data=rand(F32, [5, 2]), indices=np.zeros([0], I64), segment_ids=np.zeros([0], I32))
        case(op + "WithNumSegments", data=rand(F32, [5, 2]), indices=np.array([0, 4, 1], I64), segment_ids=np.array([0, 1, 1], I64), num_segments=np.array(4, I32))
        case(op + "WithNumSegments", data=rand(F32, [5, 2]), indices=np.array([0, 4, 1], I64), segment_ids=np.array([0, 1, 4], I64), num_segments=np.array(4, I32))
    for aa in [False, True]:
        for ab in [False, True]:
            b = rand(F32, [3 if aa else 4, 2])
            case("SparseTensorDenseMatMul", a_indices=np.array([[0, 1], [0, 3], [2, 0]], I64), a_values=rand(F32, [3]), a_shape=np.array([3, 4], I64), b=b.T.copy() if ab else b, adjoint_a=aa, adjoint_b=ab)
    case("SparseTensorDenseMatMul", a_indices=np.zeros([0, 2], I64), a_values=rand(F32, [0]), a_shape=np.array([3, 4], I64), b=rand(F32, [4, 2]))
    for dtype in [F32, I64, bool, F16]:
        case("DynamicPartition", data=rand(dtype, [5, 2]), partitions=np.array([0, 2, 1, 0, 2], I32), num_partitions=4)
        case("DynamicStitch", indices=[np.array([0, 3], I32), np.array([1, 2, 5], I32)], data=[rand(dtype, [2, 2]), rand(dtype, [3, 2])])
    case("DynamicPartition", data=rand(F32, [2, 3, 2]), partitions=np.array([[0, 1, 1], [1, 0, 0]], I32), num_partitions=2)
    case("DynamicPartition", data=rand(F32, [2]), partitions=np.array([0, 2], I32), num_partitions=2)
    case("DynamicStitch", indices=[np.array(1, I32), np.array([[0, 2], [1, 3]], I32)], data=[rand(F32, [2]), rand(F32, [2, 2, 2])])
    case("ParallelDynamicStitch", indices=[np.array([0, 3], I32), np.array([1, 2], I32)], data=[rand(F32, [2]), rand(F32, [2])])
    none = lambda d: C(np.zeros([0], d))
    for dtype in [F32, F64, I32, I64]:
        case("Bincount", arr=np.array([1, 1, 3, 7, 0], I32), size=np.array(5, I32), weights=none(dtype))
        case("Bincount", arr=np.array([1, 1, 3, 7, 0], I32), size=np.array(5, I32), weights=rand(dtype, [5], 1, 4))
        for binary in [False, True]:
            case("DenseBincount", input=np.array([[1, 1, 3], [7, 0, 0]], I64), size=C(np.array(4, I64)), weights=none(dtype), binary_output=binary)
            case("DenseBincount", input=np.array([1, 1, 3], I32), size=C(np.array(4, I32)), weights=none(dtype), binary_output=binary)
    case("DenseBincount", input=np.array([[1, 1, 3], [7, 0, 0]], I64), size=C(np.array(4, I64)), weights=rand(F32, [2, 3]))
    case("DenseBincount", input=np.array([[1, -1, 3]], I64), size=C(np.array(4, I64)), weights=none(F32))
    case("DenseBincount", input=np.zeros([0, 3], I64), size=C(np.array(4, I64)), weights=none(F32))
    for dtype in [F32, F64, I32, I64]:
        case("Bucketize", input=rand(dtype, [2, 6], -5, 5), boundaries=[-2.0, 0.0, 1.5, 3.0])
        case("Bucketize", input=np.array([-2, 0, 3, 100], dtype), boundaries=[-2.0, 0.0, 1.5, 3.0])
    case("Bucketize", input=SPECIAL.astype(F32), boundaries=[0.1, 0.5, 1.0])


@family
def convolutions():
    for padding in ["VALID", "SAME"]:
        for stride in [1, 2, 3]:
            for kernel in [1, 2, 3]:
                case("Conv2D", input=rand(F32, [2, 7, 6, 2]), filter=C(rand(F32, [kernel, kernel, 2, 3])), strides=[1, stride, stride, 1], padding=padding)
                case("DepthwiseConv2dNative", input=rand(F32, [1, 7, 6, 2]), filter=C(rand(F32, [kernel, 2, 2, 2])), strides=[1, stride, stride, 1], padding=padding)
                case("MaxPool", input=rand(F32, [1, 7, 6, 2]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
                case("AvgPool", value=rand(F32, [1, 7, 6, 2]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
                case("Conv2DBackpropInput", input_sizes=np.array([1, 6, 6, 2], I32) if True else None, filter=C(rand(F32, [kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [1, *([-(-6 // stride)] * 2 if padding == "SAME" else [(6 - kernel) // stride + 1] * 2), 3]), strides=[1, stride, stride, 1], padding=padding)
        case("Conv2D", input=rand(F32, [1, 9, 8, 2]), filter=C(rand(F32, [3, 3, 2, 3])), strides=[1, 1, 1, 1], padding=padding, dilations=[1, 2, 3, 1])
        case("DepthwiseConv2dNative", input=rand(F32, [1, 9, 8, 2]), filter=C(rand(F32, [3, 3, 2, 1])), strides=[1, 1, 1, 1], padding=padding, dilations=[1, 2, 2, 1])
        case("Conv3D", input=rand(F32, [1, 4, 5, 4, 2]), filter=C(rand(F32, [2, 3, 2, 2, 3])), strides=[1, 1, 2, 1, 1], padding=padding)
        case("MaxPool3D", input=rand(F32, [1, 4, 5, 4, 2]), ksize=[1, 2, 2, 2, 1], strides=[1, 2, 2, 2, 1], padding=padding)
        case("AvgPool3D", input=rand(F32, [1, 4, 5, 4, 2]), ksize=[1, 2, 3, 2, 1], strides=[1, 2, 2, 2, 1], padding=padding)
    case("Conv2D", input=rand(F32, [1, 7, 6, 2]), filter=C(rand(F32, [3, 3, 2, 3])), strides=[1, 2, 2, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    case("Conv2D", input=rand(F32, [1, 4, 4, 4]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 4, 4, 2]), filter=rand(F32, [3, 3, 2, 4]), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [0, 4, 4, 2]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 4, 4, 3]), filter=C(rand(F32, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F16, [1, 4, 4, 2]), filter=C(rand(F16, [3, 3, 2, 4])), strides=[1, 1, 1, 1], padding="SAME")
    for op in ["FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"]:
        case(op, _only=[0], x=rand(F32, [2, 3, 2, 4], -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=False, epsilon=1e-3)
    case("FusedBatchNormV3", _only=[0], x=rand(F32, [2, 3, 2, 4]) + 1000, scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]) + 1000, variance=rand(F32, [4], 0.1, 4), is_training=False)
    case("FusedBatchNormV3", _only=[0], x=rand(F16, [2, 3, 2, 4]), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=False)
    none = C(np.zeros([0], F32))
    for layout, shape in [("NHWC", [2, 3, 2, 4]), ("NCHW", [1, 4, 6, 1])]:
        case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape, -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=none, variance=none, is_training=True, epsilon=1e-3, data_format=layout)
    case("LRN", input=rand(F32, [1, 2, 2, 7]), depth_radius=2, bias=1.5, alpha=0.3, beta=0.6)
    case("LRN", input=rand(F32, [1, 2, 2, 12]))
    for dtype in [F32, F64]:
        case("DepthToSpace", input=rand(dtype, [2, 2, 3, 12]), block_size=2)
        case("SpaceToDepth", input=rand(dtype, [2, 4, 6, 3]), block_size=2)
    for dtype in [F32, I32]:
        case("SpaceToBatchND", input=rand(dtype, [2, 5, 3]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[2, 1]], I32)))
        case("SpaceToBatchND", input=rand(dtype, [1, 4, 4, 2]), block_shape=C(np.array([2, 2], I32)), paddings=C(np.array([[0, 0], [2, 0]], I32)))
        case("SpaceToBatchND", input=rand(dtype, [2, 4]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[0, 0]], I32)))
        case("BatchToSpaceND", input=rand(dtype, [4, 2, 3, 2]), block_shape=C(np.array([2, 2], I32)), crops=C(np.array([[0, 1], [1, 0]], I32)))
        case("BatchToSpaceND", input=rand(dtype, [6, 2, 3]), block_shape=C(np.array([3], I32)), crops=C(np.array([[0, 0]], I32)))
    case("SpaceToBatchND", input=rand(F32, [2, 5, 3]), block_shape=C(np.array([2], I32)), paddings=C(np.array([[0, 0]], I32)))
    for align, half in [(False, False), (True, False), (False, True)]:
        for size in [[3, 5], [7, 14], [2, 1], [1, 1], [21, 3]]:
            for op in ["ResizeBilinear", "ResizeNearestNeighbor"]:
                case(op, images=rand(F32, [1, 7, 7, 2]), size=C(np.array(size, I32)), align_corners=align, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(U8, [1, 5, 4, 2], 0, 255), size=np.array([6, 3], I32), align_corners=align, half_pixel_centers=half)
        case("ResizeNearestNeighbor", images=rand(I32, [1, 49, 9, 1], 0, 255), size=np.array([7, 27], I32), align_corners=align, half_pixel_centers=half)
    for half in [False, True]:
        for size in [[8, 16], [16, 4], [2, 8], [2, 2], [32, 32], [1, 1], [4, 24]]:
            case("ResizeBilinear", images=rand(F32, [2, 4, 8, 3]), size=C(np.array(size, I32)), align_corners=False, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(F32, [0, 4, 8, 3]), size=C(np.array([8, 16], I32)), align_corners=False, half_pixel_centers=half)
        case("ResizeBilinear", images=rand(U8, [1, 4, 8, 1], 0, 255), size=C(np.array([8, 8], I32)), align_corners=False, half_pixel_centers=half)
    case("ResizeBilinear", images=rand(F32, [1, 4, 8, 3]), size=C(np.array([8, 16], I32)), align_corners=True, half_pixel_centers=False)
    for padding in ["SAME", "VALID"]:
        for length, stride in [(2, 2), (3, 1), (3, 2), (2, 3)]:
            windows = dict(ksize=[1, length, 1, 1], strides=[1, stride, 1, 1], padding=padding)
            case("MaxPool", input=rand(F32, [2, 7, 1, 3]), **windows)
            case("AvgPool", value=rand(F32, [2, 7, 1, 3]), **windows)
        case("MaxPool", input=rand(F32, [2, 7, 1, 8]), ksize=[1, 2, 1, 1], strides=[1, 2, 2, 1], padding=padding)


@family
def quantization():
    for bits in [8, 4, 16]:
        for narrow in [False, True]:
            for low, high in [(-6.0, 6.0), (-1.0, 3.3), (0.5, 4.0), (-5.0, -1.0), (0.0, 0.0), (0.0, 1.0)]:
                case("FakeQuantWithMinMaxVars", inputs=rand(F32, [3, 4], -7, 7), min=np.array(low, F32), max=np.array(high, F32), num_bits=bits, narrow_range=narrow)
    case("FakeQuantWithMinMaxArgs", inputs=rand(F32, [3, 4], -7, 7))
    case("FakeQuantWithMinMaxArgs", inputs=rand(F32, [3, 4], -7, 7), min=-2.0, max=5.0, num_bits=7)
    case("FakeQuantWithMinMaxVarsPerChannel", inputs=rand(F32, [3, 4], -7, 7), min=np.array([-1, -2, -3, 0], F32), max=np.array([1, 2, 3, 4], F32))
    odd = np.array([[np.nan, np.inf, -np.inf, 1.0], [-0.0, 0.5, 5.9, np.nan]], F32)
    for low, high in [(0.0, 0.0), (0.0, 6.0), (-1.0, 3.3), (3.0, 1.0)]:
        for bound in [np.asarray, C]:
            case("FakeQuantWithMinMaxVars", inputs=odd, min=bound(F32(low)), max=bound(F32(high)))
    for bound in [np.asarray, C]:
        for low, high in [([0, 0, -1, 0], [0, 6, 3.3, 0]), ([-1, -2, -3, 0], [1, 2, 3, 4])]:
            case("FakeQuantWithMinMaxVarsPerChannel", inputs=odd, min=bound(np.array(low, F32)), max=bound(np.array(high, F32)))


@family
def transposed_volumes():
    for padding in ["VALID", "SAME"]:
        for stride in [1, 2]:
            for kernel in [1, 2, 3]:
                small = -(-6 // stride) if padding == "SAME" else (6 - kernel) // stride + 1
                case("Conv3DBackpropInputV2", input_sizes=np.array([2, 6, 6, 6, 2], I32), filter=C(rand(F32, [kernel, kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [2, small, small, small, 3]), strides=[1, stride, stride, stride, 1], padding=padding)
    case("Conv3DBackpropInputV2", input_sizes=np.array([1, 4, 6, 2, 2], I64), filter=rand(F32, [2, 3, 1, 2, 1]),
         out_backprop=rand(F32, [1, 2, 6, 1, 1]), strides=[1, 2, 1, 2, 1], padding="SAME")


@family
def sparse_products():
    for left in [F32, tf.bfloat16.as_numpy_dtype]:
        for right in [F32, tf.bfloat16.as_numpy_dtype]:
            for ta in [False, True]:
                for tb in [False, True]:
                    a, b = rand(F32, [2, 3]).astype(left), rand(F32, [3, 4]).astype(right)
                    case("SparseMatMul", a=a.T.copy() if ta else a, b=b.T.copy() if tb else b, transpose_a=ta, transpose_b=tb, a_is_sparse=ta)
    case("SparseMatMul", a=rand(F32, [0, 3]), b=rand(F32, [3, 4]))
    case("SparseMatMul", a=rand(F32, [2, 3]), b=rand(F32, [4, 4]))


@family
def narrow_convolutions():
    for kernel, outputs in [([3, 3], 1), ([3, 3], 4), ([2, 3], 3), ([1, 5], 2), ([7, 7], 1), ([4, 4], 4), ([8, 7], 3)]:
        for padding in ["VALID", "SAME"]:
            case("Conv2D", input=rand(F32, [2, 9, 8, 5]), filter=C(rand(F32, [*kernel, 5, outputs])), strides=[1, 1, 1, 1], padding=padding)
    case("Conv2D", input=rand(F32, [2, 9, 8, 5]), filter=rand(F32, [3, 2, 5, 2]), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [0, 9, 8, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 1, 1, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 7, 6, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    case("Conv2D", input=rand(F32, [1, 7, 6, 5]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 4, 0, 2, 3, 0, 0])
    case("Conv2D", input=rand(F32, [1, 7, 6, 10]), filter=C(rand(F32, [3, 3, 5, 4])), strides=[1, 1, 1, 1], padding="SAME")
    case("Conv2D", input=rand(F32, [1, 7, 6, 4]), filter=C(rand(F32, [3, 3, 5, 2])), strides=[1, 1, 1, 1], padding="SAME")


@family
def window_updates():
    for dtype in [*FLOATS, *INTS, bool, tf.bfloat16.as_numpy_dtype]:
        target, update = rand(F32, [3, 4]).astype(dtype), rand(F32, [2, 3]).astype(dtype)
        for indices in ([1, 0], [-3, 9]):
            case("XlaDynamicUpdateSlice", input=target, update=update, indices=np.array(indices, I32))
    x = rand(F32, [2, 5, 3])
    for update, indices in (([2, 1, 3], [0, 4, 0]), ([1, 5, 2], [1, 0, 1]), ([2, 5, 3], [5, 5, 5]), ([2, 0, 3], [0, 2, 0])):
        case("XlaDynamicUpdateSlice", input=x, update=rand(F32, update), indices=np.array(indices, I64))
        case("XlaDynamicUpdateSlice", input=C(x), update=rand(F32, update), indices=C(np.array(indices, I32)))
    case("XlaDynamicUpdateSlice", input=rand(F32, [0, 3]), update=rand(F32, [0, 3]), indices=np.array([0, 0], I32))
    case("XlaDynamicUpdateSlice", input=rand(F32, []), update=rand(F32, []), indices=np.zeros(0, I32))
    case("XlaDynamicUpdateSlice", input=x, update=rand(F32, [2, 6, 3]), indices=np.zeros(3, I32))
    case("XlaDynamicUpdateSlice", input=x, update=rand(F32, [2, 1, 3]), indices=np.zeros(2, I32))
    for dtype in [F32, F64, F16, I32, I64, U8, bool]:
        value = rand(F32, [3, 4]) > 0 if dtype is bool else rand(dtype, [3, 4])
        for start, size in [([1, 1], [2, 2]), ([9, -3], [2, 2]), ([0, 2], [0, 1])]:
            case("XlaDynamicSlice", input=value, start_indices=np.array(start, I32), size_indices=C(np.array(size, I32)))
    for start, size in [([1, 2], [2, 3]), ([0, 0], [4, 1]), ([0, 0], [-1, 2]), ([0], [1]), ([0, 0], [1, 2, 3]), ([[0, 0]], [[1, 1]])]:
        case("XlaDynamicSlice", input=rand(F32, [3, 4]), start_indices=np.array(start, I64), size_indices=np.array(size, I64))
    case("XlaDynamicSlice", input=rand(F32, []), start_indices=np.zeros(0, I32), size_indices=np.zeros(0, I32))
    case("XlaDynamicSlice", input=rand(F32, [0, 3]), start_indices=np.zeros(2, I32), size_indices=np.array([0, 2], I32))


@family
def window_slices():
    """Convolutions and pooling without an engine kernel, and first and second forms of window ops."""
    for dtype in [F64, I32]:
        for strides, dilation, padding in [(1, 1, "SAME"), (2, 1, "SAME"), (3, 1, "VALID"), (1, 2, "SAME"), (1, 2, "VALID")]:
            case("Conv2D", input=rand(dtype, [2, 7, 6, 3]), filter=C(rand(dtype, [3, 2, 3, 4])), strides=[1, strides, strides, 1], padding=padding, dilations=[1, dilation, dilation, 1])
        case("Conv2D", input=rand(dtype, [1, 5, 5, 2]), filter=C(rand(dtype, [1, 1, 2, 3])), strides=[1, 3, 3, 1], padding="SAME")
        case("Conv2D", input=rand(dtype, [1, 5, 5, 2]), filter=C(rand(dtype, [2, 3, 2, 3])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
        case("Conv2D", input=rand(dtype, [0, 5, 5, 2]), filter=C(rand(dtype, [2, 3, 2, 3])), strides=[1, 2, 2, 1], padding="SAME")
        case("Conv2D", input=rand(dtype, [1, 2, 5, 2]), filter=C(rand(dtype, [4, 3, 2, 3])), strides=[1, 1, 1, 1], padding="VALID")
    for strides, padding in [([1, 1, 1, 1, 1], "SAME"), ([1, 2, 1, 2, 1], "SAME"), ([1, 2, 2, 2, 1], "VALID")]:
        case("Conv3D", input=rand(F64, [1, 4, 5, 6, 2]), filter=C(rand(F64, [2, 3, 2, 2, 3])), strides=strides, padding=padding)
    for strides, padding, multiplier in [(1, "SAME", 1), (2, "SAME", 2), (1, "VALID", 3)]:
        case("DepthwiseConv2dNative", input=rand(F64, [2, 7, 6, 3]), filter=C(rand(F64, [3, 2, 3, multiplier])), strides=[1, strides, strides, 1], padding=padding)
    for dtype in [F64, I64, I32, U8, I16]:
        for kernel, stride, padding in [(2, 2, "VALID"), (3, 2, "SAME"), (2, 3, "SAME")]:
            case("MaxPool", input=rand(dtype, [2, 7, 6, 3]), ksize=[1, kernel, kernel, 1], strides=[1, stride, stride, 1], padding=padding)
            if dtype == F64:
                case("AvgPool", value=rand(dtype, [2, 7, 6, 3]), ksize=[1, kernel, 2, 1], strides=[1, stride, stride, 1], padding=padding)
    for dtype in [F32, F64]:
        case("MaxPoolV2", input=rand(dtype, [2, 7, 6, 3]), ksize=C(np.array([1, 3, 2, 1], I32)), strides=C(np.array([1, 2, 2, 1], I32)), padding="SAME")
    for dtype in [F32, I32]:
        case("SpaceToBatch", input=rand(dtype, [1, 4, 5, 2]), block_size=2, paddings=C(np.array([[0, 0], [1, 0]], I32)))
        case("BatchToSpace", input=rand(dtype, [8, 2, 3, 2]), block_size=2, crops=C(np.array([[0, 1], [1, 0]], I32)))


@family
def channel_windows():
    for beta in [0.5, 0.75, 1.0, 0.6]:
        for radius in [0, 1, 5]:
            case("LRN", input=rand(F32, [2, 3, 2, 9]), depth_radius=radius, bias=1.5, alpha=0.3, beta=beta)
        case("LRN", input=rand(F32, [0, 3, 2, 9]), beta=beta)
        case("LRN", input=np.zeros([1, 1, 2, 3], F32), bias=0.0, beta=beta)
        case("LRN", input=rand(F32, [1, 1, 2, 3]), bias=-1.0, alpha=0.001, beta=beta)
    case("LRN", input=rand(F32, [1, 1, 1, 515]), depth_radius=2, bias=2.0, alpha=1e-2, beta=0.75)
    case("LRN", input=rand(F32, [1, 2, 2, 64]), depth_radius=100, bias=2.0, alpha=1e-2, beta=0.75)


@family
def integer_products():
    for dtype in INTS:
        x = rand(dtype, [2, 3, 4], -2, 3)
        for axes in [[1], [-1, 0], [2, 1, 0], []]:
            for keep in [False, True]:
                case("Prod", input=x, axis=C(np.array(axes, I32)), keep_dims=keep)
        case("Prod", input=rand(dtype, [9], -2, 3), axis=C(np.array([0], I32)))
        case("Prod", input=rand(dtype, [8], -2, 3), axis=C(np.array(-1, I32)))
        case("Prod", input=np.array([100, 101, 7], np.int64).astype(dtype), axis=C(np.array([0], I32)))
    case("Prod", input=np.array([2**40 + 1, 2**30 + 1, 3], I64), axis=C(np.array([0], I64)))
    case("Prod", input=np.array([2**31 - 1, 2**31 - 1, -3], I32), axis=C(np.array([0], I64)))
    case("Prod", input=np.zeros([0, 3], I64), axis=C(np.array([1], I32)))


@family
def wide_strides():
    """Strides beyond the window, in one dimension or in both, and strides with dilations."""
    for length in [1, 4, 7, 8, 9]:
        for op, extra in [("Conv2D", [3]), ("DepthwiseConv2dNative", [1])]:
            case(op, input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [3, 3, 2, *extra])), strides=[1, 4, 4, 1], padding="SAME")
        case("Conv2D", input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [1, 3, 2, 3])), strides=[1, 2, 2, 1], padding="SAME")
        case("Conv2D", input=rand(F32, [1, length, 9, 2]), filter=C(rand(F32, [3, 2, 2, 3])), strides=[1, 2, 3, 1], dilations=[1, 2, 3, 1], padding="SAME")
        case("MaxPool", input=rand(F32, [1, length, 9, 2]) - 2, ksize=[1, 3, 1, 1], strides=[1, 4, 2, 1], padding="SAME")
        case("AvgPool", value=rand(F32, [1, length, 9, 2]), ksize=[1, 3, 1, 1], strides=[1, 4, 2, 1], padding="SAME")


@family
def batch_statistics():
    """Layers in training mode: what they write back to their moving averages."""
    for layout, shape in [("NHWC", [2, 3, 2, 4]), ("NCHW", [2, 4, 3, 2])]:
        for factor in [0.01, 0.25]:
            case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape, -9, 9), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=factor, data_format=layout)
    for op in ["FusedBatchNorm", "FusedBatchNormV2"]:
        case(op, _only=[0, 1, 2], x=rand(F32, [3, 2, 2, 3]), scale=rand(F32, [3]), offset=rand(F32, [3]), mean=rand(F32, [3]), variance=rand(F32, [3], 0.1, 4), is_training=True, exponential_avg_factor=0.1)
    case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F16, [2, 3, 2, 4]), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=0.1)
    # One value per channel, whose variance is 0, and none, whose mean is NaN.
    for shape in [[1, 1, 1, 4], [0, 2, 3, 4]]:
        case("FusedBatchNormV3", _only=[0, 1, 2], x=rand(F32, shape), scale=rand(F32, [4]), offset=rand(F32, [4]), mean=rand(F32, [4]), variance=rand(F32, [4], 0.1, 4), is_training=True, exponential_avg_factor=0.5)


@family
def transposed_lengths():
    """Every length that a convolution may have had for its output's, and the two beside, which are refused."""
    for padding in ["VALID", "SAME"]:
        for stride, kernel in [(2, 3), (3, 2), (2, 4), (3, 1)]:
            longest = 3 * stride if padding == "SAME" else 2 * stride + kernel + stride - 1
            for length in range(longest - stride, longest + 2):
                case("Conv2DBackpropInput", input_sizes=np.array([2, length, longest, 2], I32), filter=C(rand(F32, [kernel, kernel, 2, 3])),
                     out_backprop=rand(F32, [2, 3, 3, 3]), strides=[1, stride, stride, 1], padding=padding)
    case("Conv3DBackpropInputV2", input_sizes=np.array([1, 5, 6, 4, 2], I32), filter=C(rand(F32, [3, 3, 3, 2, 3])),
         out_backprop=rand(F32, [1, 3, 3, 4, 3]), strides=[1, 2, 2, 1, 1], padding="SAME")


@family
def volumes():
    """Convolutions of volumes in blocks of channels, which are computed as those of planes."""
    case("Conv3D", input=rand(F32, [2, 4, 3, 4, 16]), filter=C(rand(F32, [3, 3, 3, 16, 16])), strides=[1, 1, 1, 1, 1], padding="VALID")
    case("Conv3D", input=rand(F32, [1, 3, 4, 3, 16]), filter=C(rand(F32, [2, 3, 3, 16, 16])), strides=[1, 1, 1, 1, 1], padding="SAME")


@family
def reflections_of_nothing():
    """REFLECT refuses what has no element in any dimension, even where it pads others; SYMMETRIC does not."""
    for mode in ["REFLECT", "SYMMETRIC"]:
        for shape, paddings in [([0, 4], [[0, 0], [1, 1]]), ([0, 3, 4, 2], [[0, 0], [1, 1], [2, 1], [0, 0]]), ([0, 3], [[0, 0], [0, 0]]), ([2, 3], [[0, 0], [0, 0]]), ([2, 0], [[1, 0], [0, 0]])]:
            case("MirrorPad", input=rand(F32, shape), paddings=C(np.array(paddings, I32)), mode=mode)


@family
def top_of_nan():
    """Rows of NaN alone, as a NaN in a query makes them, beside others."""
    for dtype in [F32, F16]:
        for length, k in [(5, 1), (5, 3), (9, 9), (300, 5), (300, 100)]:
            x = rand(dtype, [3, length], -9, 9)
            x[1] = np.nan
            case("TopKV2", input=x, k=C(np.array(k, I32)))
        case("TopKV2", input=x, k=np.array(7, I32))
        case("TopKV2", input=np.full([40], np.nan, dtype), k=np.array(6, I32))


@family
def extremes_beside_nan():
    """NaN is never the extreme, and neither is an infinity that could not be one."""
    inf, nan = np.inf, np.nan
    rows = [[nan, 1, 2], [1, nan, 0], [nan, nan, nan], [nan, -inf, inf], [-inf, nan, -inf], [inf, nan, inf], [nan, -inf, nan], [nan, inf, nan]]
    for op in ["ArgMax", "ArgMin"]:
        for dtype in [F32, F64, F16]:
            case(op, input=np.array(rows, dtype), dimension=C(np.array(1, I32)))
            case(op, input=np.array(rows, dtype), dimension=C(np.array(0, I32)))


@family
def compositions():
    """Ops that the compiler puts others in the place of."""
    for dtype in [F32, F16]:
        for scaled in [False, True]:
            for shape in [[2, 3, 2, 4], [0, 2, 2, 4]]:
                case("BatchNormWithGlobalNormalization", _producer=8, t=rand(dtype, shape), m=rand(dtype, [4]), v=rand(dtype, [4], 0.5, 4), beta=rand(dtype, [4]), gamma=rand(dtype, [4]),
                     variance_epsilon=1e-3, scale_after_normalization=scaled)
    pads = C(np.array([[0, 0], [2, 1], [1, 0], [0, 0]], I32))
    for dtype in [F32, F64, F16]:
        for mode in ["REFLECT", "SYMMETRIC"]:
            for stride, padding in [(1, "VALID"), (2, "SAME"), (2, "VALID")]:
                common = dict(paddings=pads, filter=C(rand(dtype, [3, 2, 2, 3])), mode=mode, strides=[1, stride, stride, 1], padding=padding)
                case("FusedPadConv2D", input=rand(dtype, [1, 5, 4, 2]), **common)
                for align in [False, True] if dtype != F64 and stride == 1 else []:
                    for size in [[5, 4], [7, 9], [3, 3]]:
                        case("FusedResizeAndPadConv2D", input=rand(dtype, [1, 5, 4, 2]), size=C(np.array(size, I32)), resize_align_corners=align, **common)
    case("FusedPadConv2D", input=rand(F32, [2, 2, 2, 2]), paddings=pads, filter=C(rand(F32, [3, 2, 2, 3])), mode="REFLECT", strides=[1, 1, 1, 1], padding="VALID")
    for dtype in [F32, F64, F16, I32]:
        for padding in ["SAME", "VALID"]:
            for stride, dilations in [(1, []), (2, []), (1, [1, 2, 1, 1])]:
                case("Conv", input=rand(dtype, [2, 5, 6, 4]), filter=C(rand(dtype, [3, 2, 4, 2])), strides=[1, stride, stride, 1], padding=padding, dilations=dilations)
            if dtype != I32:
                case("Conv", input=rand(dtype, [1, 3, 4, 5, 2]), filter=C(rand(dtype, [2, 2, 3, 2, 3])), strides=[1, 1, 2, 1, 1], padding=padding)
    case("Conv", input=rand(F32, [1, 5, 6, 2]), filter=C(rand(F32, [3, 2, 2, 2])), strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0])
    for padding in ["SAME", "VALID"]:
        for stride in [1, 2]:
            small = [-(-length // stride) if padding == "SAME" else (length - 2) // stride + 1 for length in [4, 5, 4]]
            case("Conv3DBackpropInput", _producer=9, input=rand(F32, [1, 4, 5, 4, 2]), filter=C(rand(F32, [2, 2, 2, 2, 3])), out_backprop=rand(F32, [1, *small, 3]), strides=[1, stride, stride, stride, 1], padding=padding)


@family
def corners():
    """What the engine would read on with, or refuses: batches that differ, no classes, no elements, images without a side."""
    p = rand(F32, [2, 3, 4])
    for shape, batch, axis in [([1, 2], 1, 1), ([3, 2], 1, 1), ([2, 2], 1, 1), ([2, 2, 2], 2, 2), ([1, 3, 2], 2, 2), ([1, 2], 1, 2), ([0, 2], 1, 1)]:
        case("GatherV2", params=p, indices=np.zeros(shape, I32), axis=C(np.array(axis, I32)), batch_dims=batch)
    on = dict(on_value=np.array(5, F32), off_value=np.array(-1, F32))
    for shape in [[], [3], [0], [2, 3]]:
        for axis in [-1, 0, 1]:
            if axis <= len(shape):
                for depth in [0, 1, 4]:
                    case("OneHot", indices=rand(I32, shape, -1, 4), depth=np.array(depth, I32), axis=axis, **on)
                    case("OneHot", indices=rand(I64, shape, -1, 4), depth=C(np.array(depth, I32)), axis=axis, **on)
    case("OneHot", indices=np.array([1], I32), depth=np.array(-1, I32), **on)
    for op in ["Max", "Min"]:
        for dtype in INTS + [F32]:
            for shape, axis in [([0, 3], 0), ([0, 3], 1), ([2, 0], 1)]:
                case(op, input=rand(dtype, shape), axis=C(np.array([axis], I32)))
    for dtype in [F32, I16]:
        for shape, block, paddings in [([2, 5, 3], [2], [[2, 1]]), ([1, 4, 4, 2], [2, 2], [[0, 0], [2, 0]]), ([2, 4], [2], [[0, 0]]), ([2, 3, 2, 1, 2], [3], [[0, 0]]), ([0, 4, 3], [2], [[1, 1]]), ([2, 4, 0], [2], [[0, 0]])]:
            case("SpaceToBatchND", input=rand(dtype, shape), block_shape=C(np.array(block, I32)), paddings=C(np.array(paddings, I32)))
    for op in ["ResizeBilinear", "ResizeNearestNeighbor"]:
        for size in [[0, 5], [5, 0], [1, 1], [-1, 3]]:
            case(op, images=rand(F32, [1, 4, 4, 2]), size=np.array(size, I32))


if __name__ == "__main__":
    only = sys.argv[1:]
    for name, make in FAMILIES.items():
        if only and name not in only:
            continue
        rng = np.random.default_rng(20)
        cases = []
        make()
        # Ops without a lowering of their own: the conformance suite alone can run them.
        path = os.path.join(CONFORMANCE if name == "compositions" else OUT, f"golden-{name}.json")
        with open(path, "w") as out:
            out.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
        print(name, len(cases), sum("error" in c for c in cases), os.path.getsize(path))
