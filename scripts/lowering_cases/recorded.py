"""Runs single ops in TensorFlow and notes what it answers, in the form that make_lowering_goldens.py states."""

import base64
import sys

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

tf1 = tf.compat.v1
rng = np.random.default_rng(20)
FIRST_STATE = rng.bit_generator.state
FAMILIES = {}
cases = []


def record(make):
    """The cases of a family; the same whichever families were recorded before."""
    rng.bit_generator.state = FIRST_STATE
    cases.clear()
    make()
    return list(cases)


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
            raw_op(op)(**fed)
            node = [n for n in graph.get_operations() if n.type == op][-1]
            # Inputs in the order of the node, not of the arguments.
            entry["attrs"] = {k: attr_value(v) for k, v in sorted(node.node_def.attr.items()) if not k.startswith("_")}
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
        except tf.errors.NotFoundError:
            return
    cases.append(entry)
