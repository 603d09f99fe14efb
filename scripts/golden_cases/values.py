"""Tensors that cases are made of: random ones of any dtype, edges of a dtype, shapes that broadcast."""

import numpy as np
import tensorflow as tf

INT_TYPES = [np.int32, np.int64, np.int8, np.uint8, np.int16, np.uint16, np.uint32, np.uint64]
FLOAT_TYPES = [np.float32, np.float64, np.float16, tf.bfloat16.as_numpy_dtype]
MOVED_TYPES = [np.float32, np.int64, object, np.uint8, np.float16, np.complex64, np.bool_, np.complex128]
BIG = 2**53
SHAPES = [((3,), (3,)), ((2, 1), (3,)), ((), (2, 2)), ((2, 2), ()), ((0,), (1,)), ((2, 1, 2), (1, 3, 1))]
FLOAT_EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 2.5, -2.5, 1e30, -7.25, np.inf, -np.inf, np.nan, 3.0]
INT_EDGES = [0, 1, -1, 7, -7, 2, -2, 100]


def rng():
    return np.random.RandomState(7)


def some(dtype, shape, seed=1):
    """Random elements of a dtype."""
    r = np.random.RandomState(seed)
    if dtype == object:
        words = [b"", b"a", b"bc", b"\xff\x00z", "\u00e9t\u00e9".encode(), b"long" * 9]
        return np.array([words[i] for i in r.randint(0, len(words), int(np.prod(shape)))] or [b''], object)[: int(np.prod(shape))].reshape(shape)
    if dtype == np.bool_:
        return np.asarray(r.rand(*shape) < 0.5)
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return np.asarray(r.randint(max(info.min, -100), min(info.max, 100), shape)).astype(dtype)
    if np.dtype(dtype).kind == "c":
        return np.asarray(r.randn(*shape) + 1j * r.randn(*shape)).astype(dtype)
    return np.asarray(r.randn(*shape) * 3).astype(dtype)


def i32(*values):
    return np.array(values, np.int32)


def i64(*values):
    return np.array(values, np.int64)


def texts(*values):
    return np.array([v if isinstance(v, bytes) else v.encode() for v in values], object)


def pairs(values, dtype):
    a = np.array([x for x in values for _ in values])
    b = np.array([y for _ in values for y in values])
    return a.astype(dtype), b.astype(dtype)


def int_values(dtype):
    info = np.iinfo(dtype)
    if dtype not in (np.int32, np.int64):
        return [v for v in [1, 7, -7, 100] if v >= info.min] + [info.max, info.min]
    values = [v for v in INT_EDGES if v >= info.min] + [info.max, info.min, info.max - 1]
    if info.bits == 64:
        values += [2**53 + 1, 2**32, 3037000500, 2**31]
    return values
