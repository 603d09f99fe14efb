"""Ops that only older or rarer graphs have, and those that belong nowhere else."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, some, texts


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


def older_and_rarer(g):
    """Fractional pooling, isotonic regression, data formats, first versions of ops."""
    for op in ["FractionalMaxPool", "FractionalAvgPool"]:
        for dtype in [np.float32, np.float64, np.int32, np.int64]:
            x = some(dtype, (2, 7, 6, 2))
            for pseudo in [False, True]:
                for overlapping in [False, True]:
                    g.case(op, value=x, pooling_ratio=[1.0, 1.44, 1.73, 1.0], pseudo_random=pseudo, overlapping=overlapping, deterministic=True, seed=5, seed2=6)
        p = g.program(op)
        for n in range(3):
            p.again(op, n == 0, value=some(np.float32, (1, 9, 9, 1), n), pooling_ratio=[1.0, 1.5, 1.5, 1.0], deterministic=True, seed=3, seed2=9)
        for pseudo in [False, True]:
            g.case(op, value=some(np.float32, (1, 8, 8, 1)), pooling_ratio=[1.0, 2.0, 2.0, 1.0], pseudo_random=pseudo, deterministic=True, seed=3)
            g.case(op, value=some(np.float32, (1, 23, 10, 1)), pooling_ratio=[1.0, 2.3, 3.1, 1.0], pseudo_random=pseudo, deterministic=True, seed=3)
        x = some(np.float32, (1, 4, 4, 1))
        g.case(op, value=np.where(x > 0, np.nan, x).astype(np.float32), pooling_ratio=[1.0, 1.5, 1.5, 1.0], deterministic=True, seed=3)
        for value, ratio in [(x[0], [1.0, 1.5, 1.5, 1.0]), (x, [1.0, 1.5, 1.5]), (x, [2.0, 1.5, 1.5, 2.0]), (x, [1.0, 5.0, 1.0, 1.0]), (x[:0], [1.0, 1.5, 1.5, 1.0])]:
            g.case(op, value=value, pooling_ratio=ratio, deterministic=True, seed=3)
        g.case(op, only=[], value=x, pooling_ratio=[1.0, 1.5, 1.5, 1.0])
        g.case(op, value=x, pooling_ratio=[1.0, 1.5, 1.5, 1.0], seed=3)
    for dtype, out in [(np.float32, tf.float32), (np.float64, tf.float64), (np.float16, tf.float16), (np.int8, tf.float32), (np.int16, tf.float32), (np.int32, tf.float64), (np.int64, tf.float64)]:
        for shape in [(6,), (2, 5), (2, 2, 3), (0, 3), (3, 0), (1, 1)]:
            g.case("IsotonicRegression", input=some(dtype, shape, 4), output_dtype=out)
    g.case("IsotonicRegression", input=np.array([3, 1, 2, np.nan, 5, 4, np.inf, 1], np.float32))
    for dtype in [np.int32, np.int64]:
        for source, target in [("NHWC", "NCHW"), ("NCHW", "NHWC"), ("HWNC", "NHWC"), ("NDHWC", "NCDHW"), ("NHWC", "NHWC")]:
            formats = dict(src_format=source, dst_format=target)
            g.case("DataFormatDimMap", x=np.arange(-len(source), len(source), dtype=dtype).reshape(2, -1), **formats)
            g.case("DataFormatDimMap", x=np.array(1, dtype), **formats)
            for shape in [(len(source),), (2,), (len(source), 2), (2, 2), (3,), (2, 3), (len(source), 1), (4,), (3, 2), (5,), (2, 2, 2), (0,)]:
                g.case("DataFormatVecPermute", x=np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape), **formats)
    for source, target in [("NHWC", "NHWX"), ("NHW", "NWH"), ("NHHC", "NHHC"), ("ABCD", "DCBA"), ("NHWC", "NCDHW")]:
        g.case("DataFormatDimMap", x=i32(0, 1), src_format=source, dst_format=target)
        g.case("DataFormatVecPermute", x=i32(0, 1), src_format=source, dst_format=target)
    for dtype in [np.float32, np.float64, np.uint8, np.int8, np.int16, np.int32]:
        for shape in [(2, 3, 4, 2), (3, 2, 1), (0, 2, 2, 3), (2, 0, 2, 3)]:
            g.case("AdjustContrast", 1e-5, images=some(dtype, shape), contrast_factor=np.float32(1.7), min_value=np.float32(-3), max_value=np.float32(4))
    x = some(np.float32, (2, 2, 2))
    for images, factor, low in [(x[0], 1, 0), (x, [1], 0), (x, 1, [0])]:
        g.case("AdjustContrast", images=images, contrast_factor=np.float32(factor) if factor == 1 else np.ones(1, np.float32), min_value=np.float32(0) if low == 0 else np.zeros(1, np.float32), max_value=np.float32(1))
    for dtype in [np.float32, np.float64]:
        x = np.concatenate([some(dtype, (2, 4)), np.array([[0.5, -0.5, 1.5, 2.5]], dtype)])
        for signed in [True, False]:
            for given in [True, False]:
                for bits in [8, 4]:
                    g.case("QuantizeAndDequantize", 1e-5, input=x, signed_input=signed, range_given=given, num_bits=bits, input_min=-2.0, input_max=3.0)
        g.case("QuantizeAndDequantize", input=x, range_given=True, input_min=3.0, input_max=-2.0)
        g.case("QuantizeAndDequantize", input=x[:0])
        g.case("QuantizeAndDequantize", input=x, num_bits=0)
        g.case("QuantizeAndDequantize", input=x, num_bits=63)
    for dtype in [np.float32, np.float16]:
        for k in [0, 1, 3, 5]:
            g.case("ApproxTopK", input=some(dtype, (2, 4)), k=k, static=True)
    for dtype in [np.float32, np.int64, object, np.complex64]:
        g.case("ParallelConcat", values=[some(dtype, (1, 3), n) for n in range(3)], shape=[3, 3], static=True)
    g.case("Fact")


def leftovers(g):
    """Ops that no other family has: old names, and what takes a variable."""
    for dtype in [np.float32, np.int64, object, np.bool_]:
        g.case("Reverse", tensor=some(dtype, (2, 3)), dims=np.array([True, False]))
        g.case("PlaceholderWithDefault", input=some(dtype, (2,)), shape=tf.TensorShape([2]))
        if dtype != object:
            g.case("Snapshot", input=some(dtype, (2,)))
        g.case("PreventGradient", input=some(dtype, (2,)))
        g.case("GuaranteeConst", input=some(dtype, (2,)))
        g.case("Empty", shape=i32(2, 3), dtype=tf.as_dtype(dtype if dtype != object else tf.string), init=True)
    g.case("DeepCopy", x=some(np.float32, (2, 3)))
    g.case("Reverse", tensor=some(np.float32, (2, 3)), dims=np.array([True]))
    p = g.program("variable of a resource")
    v = p.step("VarHandleOp", dtype=tf.float32, shape=[4, 2], shared_name="rows")
    p.step("AssignVariableOp", resource=v, value=some(np.float32, (4, 2)))
    for ids in [i64(3, 0, 3), np.array([[1], [2]], np.int32), i32(4), i32(-1)]:
        p.step("ResourceGather", resource=v, indices=ids, dtype=tf.float32)
    for ids in [i64(3, 1), np.array([[1], [2]], np.int32), np.array([[4]], np.int32)]:
        p.step("ResourceGatherNd", resource=v, indices=ids, dtype=tf.float32)
    for table in ["AnonymousHashTable", "AnonymousMutableHashTable"]:
        p = g.program(table)
        t = p.step(table, key_dtype=tf.string, value_dtype=tf.int64)
        p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(-1))
        p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("AnonymousMutableHashTableOfTensors")
    t = p.step("AnonymousMutableHashTableOfTensors", key_dtype=tf.int64, value_dtype=tf.float32, value_shape=[2])
    p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("AnonymousMutableDenseHashTable")
    t = p.step("AnonymousMutableDenseHashTable", empty_key=np.int64(-1), deleted_key=np.int64(-2), value_dtype=tf.float32, value_shape=[])
    p.step("LookupTableSizeV2", table_handle=t)
    p = g.program("variable of a reference")
    v = p.step("VariableV2", shape=[2], dtype=tf.float32, shared_name="old")
    p.step("IsVariableInitialized", ref=v)
    p.step("Assign", ref=v, value=some(np.float32, (2,)), validate_shape=True)
    p.step("AssignAdd", ref=v, value=some(np.float32, (2,), 2))
    p.step("AssignSub", ref=v, value=some(np.float32, (2,), 3))


def optionals(g):
    """What a branch hands to its gradient: values that may be absent."""
    p = g.program("optional values")
    for dtype in [np.float32, np.int64, object, np.bool_]:
        x = some(dtype, (2, 3))
        v = p.step("OptionalFromValue", components=[x, x[0]])
        p.step("OptionalHasValue", optional=v)
        given = tf.as_dtype(dtype if dtype != object else tf.string)
        for types, shapes in [([given, given], [[2, 3], [3]]), ([given, given], [[2, None], None]), ([given], [[2, 3]]), ([given, tf.int8], [[2, 3], [3]]), ([given, given], [[2, 3], [4]])]:
            p.step("OptionalGetValue", optional=v, output_types=types, output_shapes=shapes)
    none = p.step("OptionalNone")
    p.step("OptionalHasValue", optional=none)
    p.step("OptionalGetValue", text=True, optional=none, output_types=[tf.float32], output_shapes=[[]])


def list_of(p, values, shape=-1, dtype=tf.float32):
    """A list in a program; None: an element that is not set."""
    made = p.step("TensorListReserve", element_shape=np.array(shape, np.int32), num_elements=np.int32(len(values)), element_dtype=dtype)
    for i, value in enumerate(values):
        if value is not None:
            made = p.step("TensorListSetItem", input_handle=made, index=np.int32(i), item=value)
    return made


def variant_sums(g):
    """Zeros like lists and values that may be absent, sums of them, and lists one behind the other."""
    p = g.program("sums of lists")
    whole = np.array(-1, np.int32)
    rows = [some(np.float32, (3,)), some(np.float32, (1,)), None]
    texts, truths = np.array(["a", "b"], object), np.array([True, False])
    for a, b in [(rows[:1], rows[:1]), (rows, rows), (rows[:1], rows[1:2]), (rows[:1], rows[2:]), (rows[2:], rows[2:]), (rows, rows[:1])]:
        total = p.step("AddN", text=True, inputs=[list_of(p, a), list_of(p, b)])
        if "error" not in p.entry["steps"][-1]:
            for i, items in enumerate(zip(a, b)):
                if any(item is not None for item in items):
                    p.step("TensorListGetItem", input_handle=total, index=np.int32(i), element_shape=whole, element_dtype=tf.float32)
    p.step("AddN", text=True, inputs=[list_of(p, rows[:1], [3]), list_of(p, rows[1:2], [1])])
    for item, dtype in [(texts, tf.string), (truths, tf.bool)]:
        p.step("AddN", inputs=[list_of(p, [item], dtype=dtype), list_of(p, [item], dtype=dtype)])
        zeros = p.step("ZerosLike", text=True, x=list_of(p, [item], dtype=dtype))
        if "error" not in p.entry["steps"][-1]:
            p.step("TensorListGetItem", input_handle=zeros, index=np.int32(0), element_shape=whole, element_dtype=dtype)
    p = g.program("sums of optional values")
    for components in [rows[0], rows[1], texts]:
        one, other = (p.step("OptionalFromValue", components=[value]) for value in (rows[0] if components is rows[1] else components, components))
        p.step("AddN", inputs=[one, other])
        p.step("ZerosLike", x=one)
    p = g.program("lists behind lists")
    item = rows[0][:2]
    for a, b in [([-1], [2]), ([2], [2]), ([-1], [-1]), (-1, [2]), (-1, -1)]:
        p.step("TensorListConcatLists", text=True, input_a=list_of(p, [item], a), input_b=list_of(p, [item], b), element_dtype=tf.float32)


FAMILIES = {
    "variant-sums": variant_sums,
    "optionals": optionals,
    "example-json": example_json,
    "passed-on": passed_on,
    "to-bool": to_bool,
    "suppression-by-overlaps": suppression_by_overlaps,
    "reference-writes": reference_writes,
    "leftovers": leftovers,
    "older-and-rarer": older_and_rarer,
}
