"""Cases of make_op_goldens.py of ops that only older or rarer graphs have."""

import numpy as np
import tensorflow as tf

from op_golden_cases import i32, some


def passed_on(g):
    """What the debugger puts between nodes, and which device it is."""
    for dtype in [np.float32, np.int64, np.bool_, object, np.complex64]:
        x = some(dtype, (2, 3))
        for op in ["Copy", "CopyHost", "DebugIdentityV2"]:
            g.case(op, input=x)
        for op in ["DebugIdentity", "DebugIdentityV3"]:
            g.case(op, input=x, tensor_name="x:0")
    for names in [["CPU", "GPU"], ["GPU", "CPU"], ["GPU", "TPU"], ["CPU"]]:
        g.case("DeviceIndex", device_names=names)


def to_bool(g):
    types = [np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_]
    for dtype in types:
        for value in [0, 1]:
            g.case("ToBool", input=np.array(value, dtype))
        g.case("ToBool", input=np.zeros((2, 1), dtype))
        g.case("ToBool", input=np.zeros((2, 0), dtype))
    for value in [-0.0, np.nan, np.inf]:
        g.case("ToBool", input=np.float32(value))
    g.case("ToBool", input=np.int64(2**62))
    for text in [b"", b"a", b"\x00"]:
        g.case("ToBool", input=np.array(text, object))
    g.case("ToBool", input=np.array([b""], object))


def suppression_by_overlaps(g):
    r = np.random.RandomState(3)
    for count in [6, 1, 0]:
        overlaps = r.rand(count, count).astype(np.float32)
        scores = r.rand(count).astype(np.float32)
        for size in [0, 3, 10]:
            for most, least in [(0.5, 0.0), (0.3, 0.4), (1.5, -1.0), (-0.5, 0.0)]:
                g.case("NonMaxSuppressionWithOverlaps", overlaps=overlaps, scores=scores, max_output_size=np.int32(size), overlap_threshold=np.float32(most), score_threshold=np.float32(least))
    common = dict(max_output_size=np.int32(2), overlap_threshold=np.float32(0.5), score_threshold=np.float32(0))
    f = some(np.float32, (2, 3))
    g.case("NonMaxSuppressionWithOverlaps", overlaps=f, scores=f[0], **common)
    g.case("NonMaxSuppressionWithOverlaps", overlaps=f[:, :2], scores=f[0], **common)
    g.case("NonMaxSuppressionWithOverlaps", overlaps=f[0], scores=f[0], **common)
    ties = np.array([1, 2, 2, 1], np.float32)
    g.case("NonMaxSuppressionWithOverlaps", overlaps=np.eye(4, dtype=np.float32), scores=ties, **common)


def reference_writes(g):
    """Parts of TF1 variables of the reference kind, and counters."""
    for dtype in [np.float32, np.float64, np.int32, np.int64]:
        name = np.dtype(dtype).name
        p = g.program(f"parts of a reference to {name}")
        v = p.step("VariableV2", shape=[4, 2], dtype=tf.as_dtype(dtype), shared_name=f"parts {name}")
        p.step("Assign", ref=v, value=some(dtype, (4, 2)), validate_shape=True)
        for kind in ["Update", "Add", "Sub", "Mul", "Max", "Min"] + (["Div"] if dtype in (np.float32, np.float64) else []):
            p.step(f"Scatter{kind}", ref=v, indices=i32(3, 0, 3), updates=some(dtype, (3, 2), 2))
            p.step(f"Scatter{kind}", ref=v, indices=np.array([[1], [2]], np.int64), updates=dtype(3))
            p.step(f"Scatter{kind}", ref=v, indices=i32(4), updates=some(dtype, (1, 2), 2))
            p.step(f"Scatter{kind}", ref=v, indices=np.zeros(0, np.int32), updates=some(dtype, (0, 2), 2))
        for kind in ["Update", "Add", "Sub", "Max", "Min"]:
            p.step(f"ScatterNd{kind}", ref=v, indices=np.array([[3, 1], [0, 0]], np.int32), updates=some(dtype, (2,), 2))
            p.step(f"ScatterNd{kind}", ref=v, indices=np.array([[2]], np.int64), updates=some(dtype, (1, 2), 2))
            p.step(f"ScatterNd{kind}", ref=v, indices=np.array([[2, 2]], np.int32), updates=some(dtype, (1,), 2))
        p.step("StridedSliceAssign", ref=v, begin=i32(0, 1), end=i32(4, 2), strides=i32(2, 1), value=some(dtype, (2, 1), 5))
    for dtype in [np.int32, np.int64]:
        p = g.program(f"counter of {np.dtype(dtype).name}")
        v = p.step("VariableV2", shape=[], dtype=tf.as_dtype(dtype), shared_name=f"counter {np.dtype(dtype).name}")
        p.step("CountUpTo", ref=v, limit=3)
        p.step("Assign", ref=v, value=dtype(1), validate_shape=True)
        for _ in range(3):
            p.step("CountUpTo", text=True, ref=v, limit=3)
        r = p.step("VarHandleOp", dtype=tf.as_dtype(dtype), shape=[], shared_name=f"handle {np.dtype(dtype).name}")
        p.step("AssignVariableOp", resource=r, value=dtype(1))
        for _ in range(3):
            p.step("ResourceCountUpTo", text=True, resource=r, limit=3, T=tf.as_dtype(dtype))
        p.step("ReadVariableOp", resource=r, dtype=tf.as_dtype(dtype))


def example_json(g):
    wrapped = lambda feature: '{"features":{"feature":' + feature + "}}"
    good = [
        wrapped('{"b":{"int64List":{"value":["5",6,-7]}},"a":{"floatList":{"value":[1.5,"NaN",2,"-Infinity"]}},"s":{"bytesList":{"value":["aGk=","_w"]}}}'),
        "{}", wrapped('{"x":{"int64_list":{"value":[]}}}'), wrapped('{"x":{}}'), '{"features":null}', " {\n} ", wrapped("{}"), '{"features":{}}',
        wrapped('{"x":{"int64List":{"value":["-9223372036854775808","9223372036854775807",0]}}}'), wrapped('{"\\u00e9":{"bytesList":{"value":[""]}}}'),
    ]
    for text in good:
        g.case("DecodeJSONExample", json_examples=np.array(text.encode(), object))
    g.case("DecodeJSONExample", json_examples=np.array([[text.encode() for text in good]], object))
    g.case("DecodeJSONExample", json_examples=np.array([], object))
    bad = ['{"feature":1}', "{", "", "[]", wrapped('{"x":{"int64List":{"value":[1.5]}}}'), wrapped('{"x":{"int64List":{"value":[99999999999999999999]}}}'), wrapped('{"x":{"floatList":{"value":[1e39]}}}'),
           wrapped('{"x":{"int64List":{},"floatList":{}}}'), wrapped('{"x":{"bytesList":{"value":["*"]}}}')]
    for text in bad:
        g.case("DecodeJSONExample", json_examples=np.array([b"{}", text.encode()], object))


FAMILIES = {
    "example-json": example_json,
    "passed-on": passed_on,
    "to-bool": to_bool,
    "suppression-by-overlaps": suppression_by_overlaps,
    "reference-writes": reference_writes,
}
