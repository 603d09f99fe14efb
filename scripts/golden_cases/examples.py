"""Records of features (tf.Example, SequenceExample) and other protocol buffers."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i64, texts


def example(**features):
    built = {}
    for key, value in features.items():
        if value is None:
            built[key] = tf.train.Feature()
        elif isinstance(value[0], bytes) if value else False:
            built[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        elif value and isinstance(value[0], float):
            built[key] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
        else:
            built[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Example(features=tf.train.Features(feature=built)).SerializeToString(deterministic=True)


def feature(value):
    """A Feature of the values' kind; None: one without a list."""
    if value is None:
        return tf.train.Feature()
    if not value or isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def sequence(context, lists):
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={k: feature(v) for k, v in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list={k: tf.train.FeatureList(feature=[feature(v) for v in rows]) for k, rows in lists.items()}),
    ).SerializeToString(deterministic=True)


def parse(g):
    def one(serialized, names=(), sparse=(), dense=(), ragged=(), **kw):
        """Runs ParseExampleV2 and, where it can say the same, ParseExample. dense: (key, shape, default array)."""
        serialized = np.array(serialized, object)
        names = np.array(list(names), object)
        keys = lambda specs: texts(*[k for k, *_ in specs])  # noqa: E731
        common = dict(serialized=serialized, names=names, dense_shapes=[tf.TensorShape(s) for _, s, _ in dense], sparse_types=[t for _, t in sparse])
        defaults = [d for _, _, d in dense]
        g.case("ParseExampleV2", **kw, **common, dense_defaults=defaults, sparse_keys=keys(sparse), dense_keys=keys(dense), ragged_keys=keys(ragged),
               num_sparse=len(sparse), ragged_value_types=[t for _, t, _ in ragged], ragged_split_types=[t for _, _, t in ragged])
        if serialized.ndim == 1 and not ragged:
            g.case("ParseExample", **kw, **common, dense_defaults=defaults, sparse_keys=[np.array(k.encode(), object) for k, _ in sparse],
                   dense_keys=[np.array(k.encode(), object) for k, *_ in dense])

    none_f, none_i, none_s = np.array([], np.float32), np.array([], np.int64), np.array([], object)
    a = example(x=[1.5], i=[1, -2, 2**62], s=[b"hi", b""], v=[1.0, 2.0])
    b = example(x=[-2.5], i=[7], s=[b"\xff\x00"], v=[])
    c = example(i=[], x=None)
    dense = [("x", [], none_f)]
    one([a, b], dense=dense)
    one([a], dense=[("x", [1], none_f)], sparse=[("i", tf.int64), ("s", tf.string), ("v", tf.float32), ("none", tf.int64)])
    one([a, b, c], sparse=[("i", tf.int64), ("s", tf.string), ("v", tf.float32)], dense=[("x", [1], np.array([9.0], np.float32))])
    one([a, b, c], ragged=[("i", tf.int64, tf.int64), ("s", tf.string, tf.int32), ("v", tf.float32, tf.int64)])
    one([a, b, c], dense=[("i", [None], none_i)], text=True)
    one([a, b, c], dense=[("i", [None], i64(4)), ("s", [None], texts("pad")), ("v", [None, 2], np.array([-1.0], np.float32))])
    one([a, b, c], dense=[("i", [None], np.array([5], np.int64))])
    one([c, a], dense=dense, text=True)
    one([a, c], dense=[("s", [2], none_s)], text=True)
    one([a, b], dense=[("x", [1], none_i)], text=True)
    one([a, b], dense=[("i", [], none_i)], text=True)
    one([a, b], dense=[("v", [1], none_f)], text=True)
    one([a, b], dense=[("s", [1], none_s)], names=[b"first", b"second"], text=True)
    one([a, b], names=[b"first", b"second"], sparse=[("x", tf.int64)], text=True)
    one([a], dense=[("v", [None, 3], np.array([0.0], np.float32))], text=True)
    one([a], ragged=[("x", tf.int64, tf.int64)], text=True)
    one([a], dense=[("x", [2], np.array([1.0], np.float32))])
    one([a], names=[b"x", b"y"], dense=dense)
    one([], dense=[("x", [2], none_f), ("i", [None], i64(3))], sparse=[("i2", tf.int64)], ragged=[("r", tf.int64, tf.int32)])
    one(a, dense=dense + [("i", [None], np.int64(2))], sparse=[("s", tf.string)])
    one(a, ragged=[("i", tf.int64, tf.int64)])
    one([a, b], dense=[("s", [2], none_s)], text=True)
    one([b"garbage"], dense=dense, text=True)
    one([b""], dense=[("x", [], np.array(3.5, np.float32))])
    # Duplicate keys (last wins), unpacked lists, unknown fields, features in two parts.
    entry = lambda key, feature: b"\x0a" + bytes([len(key) + len(feature) + 4]) + b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(feature)]) + feature  # noqa: E731
    wrap = lambda body: b"\x0a" + bytes([len(body)]) + body  # noqa: E731
    f = lambda v: b"\x12\x06\x0a\x04" + np.float32(v).tobytes()  # noqa: E731
    one([wrap(entry(b"x", f(1)) + entry(b"x", f(2)))], dense=dense)
    one([wrap(entry(b"x", f(1)) + entry(b"x", b""))], dense=dense)
    one([wrap(entry(b"x", f(1))) + wrap(entry(b"y", f(2)))], dense=dense + [("y", [], none_f)])
    one([wrap(entry(b"x", b"\x12\x0a\x0d" + np.float32(1).tobytes() + b"\x0d" + np.float32(2).tobytes()))], dense=[("x", [2], none_f)])
    one([wrap(entry(b"i", b"\x1a\x05\x08\x01\x08\xac\x02"))], dense=[("i", [2], none_i)], sparse=[("z", tf.int64)])
    one([b"\x10\x01" + wrap(entry(b"x", f(1)))], dense=dense)
    one([wrap(entry(b"x", b"\x12\x05\x0a\x03abc"))], dense=dense, text=True)
    one([wrap(entry(b"x", b"\x12\x05\x0a\x03abc"))], sparse=[("x", tf.float32)])
    one([wrap(entry(b"x", b"\x22\x00"))], sparse=[("x", tf.float32)], text=True)
    one([wrap(entry(b"x", b"\x22\x00"))], dense=dense, text=True)
    one([wrap(entry(b"i", b"\x1a\x03\x0a\x01\xff"))], dense=[("i", [], none_i)], text=True)
    for s in [a, c]:
        g.case("ParseSingleExample", serialized=np.array(s, object), dense_defaults=[np.array(1.0, np.float32), np.array([3], np.int64)], num_sparse=2,
               sparse_keys=["s", "none"], dense_keys=["x", "i"], sparse_types=[tf.string, tf.int64], dense_shapes=[[], [None]])


def parse_sequence(g):
    none = {tf.float32: np.array([], np.float32), tf.int64: np.array([], np.int64), tf.string: np.array([], object)}

    def one(serialized, cs=(), cd=(), cr=(), ls=(), ld=(), lr=(), names=()):
        """cs, ls: (key, type). cd: (key, type, shape, default). ld: (key, type, shape, may be missing). cr, lr: (key, type, splits)."""
        serialized = np.array(serialized, object)
        keys = lambda specs: texts(*[s[0] for s in specs])  # noqa: E731
        defaults = [s[3] if s[3] is not None else none[s[1]] for s in cd]
        types = dict(context_sparse_types=[s[1] for s in cs], context_dense_shapes=[s[2] for s in cd], feature_list_sparse_types=[s[1] for s in ls],
                     feature_list_dense_types=[s[1] for s in ld], feature_list_dense_shapes=[s[2] for s in ld])
        names = np.array(list(names), object)
        ragged = {}
        for prefix, specs in [("context", cr), ("feature_list", lr)]:
            ragged[f"{prefix}_ragged_keys"] = keys(specs)
            ragged[f"{prefix}_ragged_value_types"] = [s[1] for s in specs]
            ragged[f"{prefix}_ragged_split_types"] = [s[2] for s in specs]
        g.case("ParseSequenceExampleV2", serialized=serialized, debug_name=names if serialized.ndim else np.array(names[0] if len(names) else b"", object), context_sparse_keys=keys(cs), context_dense_keys=keys(cd),
               feature_list_sparse_keys=keys(ls), feature_list_dense_keys=keys(ld), feature_list_dense_missing_assumed_empty=np.array([s[3] for s in ld], np.bool_),
               context_dense_defaults=defaults, Ncontext_sparse=len(cs), Nfeature_list_sparse=len(ls), Nfeature_list_dense=len(ld), **types, **ragged)
        if cr or lr:
            # Row splits of a single example: a scalar that TensorFlow does not initialise.
            for output in g.cases[-1].get("outputs", []):
                if serialized.ndim == 0 and output["s"] == [] and output["d"] in ("int32", "int64"):
                    output["v"] = [0]
            return
        missing = [s[0] for s in ld if s[3]]
        if serialized.ndim == 1:
            g.case("ParseSequenceExample", serialized=serialized, debug_name=names, context_dense_defaults=defaults, feature_list_dense_missing_assumed_empty=missing,
                   context_sparse_keys=[s[0] for s in cs], context_dense_keys=[s[0] for s in cd], feature_list_sparse_keys=[s[0] for s in ls], feature_list_dense_keys=[s[0] for s in ld],
                   Ncontext_sparse=len(cs), Ncontext_dense=len(cd), Nfeature_list_sparse=len(ls), Nfeature_list_dense=len(ld), **types)
        else:
            each = lambda specs: [np.array(s[0].encode(), object) for s in specs]  # noqa: E731
            g.case("ParseSingleSequenceExample", serialized=serialized, feature_list_dense_missing_assumed_empty=texts(*missing), context_sparse_keys=each(cs),
                   context_dense_keys=each(cd), feature_list_sparse_keys=each(ls), feature_list_dense_keys=each(ld), context_dense_defaults=defaults,
                   debug_name=np.array(names[0] if len(names) else b"", object), **types)

    a = sequence({"x": [1.5], "i": [1, -2], "s": [b"hi"]}, {"f": [[1.0, 2.0], [3.0, 4.0]], "n": [[1], [], [2, 3]], "t": [[b"a"], [b"bc"]]})
    b = sequence({"x": [2.5], "i": []}, {"f": [[5.0, 6.0]], "n": [[7]], "t": []})
    c = sequence({}, {"n": [None, [4]]})
    f, i, s = tf.float32, tf.int64, tf.string
    for batch in [[a, b], [b, a, b], [], a]:
        one(batch, cs=[("i", i), ("s", s)], cd=[("x", f, [1], None)], ls=[("n", i), ("t", s)], ld=[("f", f, [2], False)])
        one(batch, cr=[("i", i, tf.int64), ("s", s, tf.int32)], lr=[("n", i, tf.int64), ("t", s, tf.int32)])
    for batch in [[a, c], [c], c]:
        one(batch, cs=[("i", i)], cd=[("x", f, [], np.float32(9))], ls=[("n", i), ("f", f)], ld=[("f2", f, [2], True)])
        one(batch, ld=[("f", f, [2], True), ("t", s, [1], True)])
        one(batch, ld=[("f", f, [2], False)])
        one(batch, cd=[("x", f, [], None)])
        one(batch, cr=[("x", f, tf.int64)], lr=[("f", f, tf.int64), ("n", i, tf.int32)])
    one([a, b], ld=[("n", i, [1], False)])
    one([a], ld=[("f", i, [2], False)])
    one([a], ls=[("f", i)])
    one([a], cs=[("x", i)])
    one([a], cd=[("i", i, [1], None)])
    one([a], cd=[("i", i, [2], None)], names=[b"first"])
    one([a], cd=[("x", f, [1], np.array([1, 2], np.float32))])
    one([b"garbage"], cs=[("x", f)])
    one([a, b], cs=[("x", f)], names=[b"one"])


def protos(g):
    """Every type of field, as every dtype that it may become; fields that lack, repeat, are packed or written in another form; damaged messages."""
    from google.protobuf import descriptor_pb2

    kind = descriptor_pb2.FieldDescriptorProto
    scalars = "DOUBLE FLOAT INT64 UINT64 INT32 FIXED64 FIXED32 BOOL STRING GROUP MESSAGE BYTES UINT32 ENUM SFIXED32 SFIXED64 SINT32 SINT64".split()
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="t.proto", package="t", syntax="proto2")
    message = file.message_type.add(name="M")
    group = message.nested_type.add(name="Group")
    group.field.add(name="x", number=1, type=kind.TYPE_INT32, label=1)
    numbers = {}
    for n, scalar in enumerate(scalars, 1):
        of = {"GROUP": ".t.M.Group", "MESSAGE": ".t.M", "ENUM": ".t.E"}.get(scalar)
        for prefix, first, label in (("", 0, 1), ("r_", 30, 3)):
            # The name of a group's field is that of its type.
            name = prefix + scalar.lower()
            numbers[name] = first + n
            message.field.add(name=name, number=first + n, type=getattr(kind, f"TYPE_{scalar}"), type_name=of, label=label)
    message.field.add(name="seven", number=61, type=kind.TYPE_INT64, label=1, default_value="7")
    message.field.add(name="hey", number=62, type=kind.TYPE_STRING, label=1, default_value="hey")
    message.field.add(name="five", number=63, type=kind.TYPE_ENUM, type_name=".t.E", label=1, default_value="B")
    message.field.add(name="half", number=64, type=kind.TYPE_DOUBLE, label=1, default_value="0.5")
    enum = file.enum_type.add(name="E")
    enum.value.add(name="A", number=3)
    enum.value.add(name="B", number=5)
    source = b"bytes://" + files.SerializeToString()

    def varint(value):
        value &= 2**64 - 1
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def field(name, wire, payload):
        return varint(numbers.get(name, name if isinstance(name, int) else 0) << 3 | wire) + payload

    def decode(messages, names, types, **options):
        array = np.array(messages, object) if isinstance(messages, list) else messages
        g.case("DecodeProtoV2", bytes=array, message_type=options.pop("message_type", "t.M"), field_names=names, output_types=types, descriptor_source=options.pop("source", source), **options)

    f32, f64, i32, i64, u32, u64, flag, text = tf.float32, tf.float64, tf.int32, tf.int64, tf.uint32, tf.uint64, tf.bool, tf.string
    for scalar in scalars:
        name = scalar.lower()
        eight, four = bytes(range(0xF0, 0xF8)), b"\x01\x02\x83\xc4"
        wire, values = {
            "DOUBLE": (1, [eight, bytes(6) + b"\xf0\x3f"]), "FLOAT": (5, [four, b"\x00\x00\xc0\x7f"]), "FIXED64": (1, [eight]), "FIXED32": (5, [four]), "SFIXED32": (5, [four]), "SFIXED64": (1, [eight]),
            "STRING": (2, [b"\x02\xff\xfe", b"\x00"]), "BYTES": (2, [b"\x02\xff\xfe"]), "MESSAGE": (2, [b"\x02\x28\x01"]), "GROUP": (3, [b"\x08\x05" + varint(10 << 3 | 4)]),
        }.get(scalar, (0, [varint(v) for v in (1, -1, 2**31, 2**32 + 5, 2**63 - 2)]))
        for type_ in (f32, f64, i32, i64, u32, u64, flag, text):
            decode([b"".join(field(name, wire, v) for v in values[:1])], [name], [type_])
        allowed = {"DOUBLE": f64, "FLOAT": f64, "INT64": i64, "UINT64": u64, "INT32": i64, "FIXED64": u64, "FIXED32": u64, "BOOL": flag, "UINT32": u64, "ENUM": i32, "SFIXED32": i64, "SFIXED64": i64, "SINT32": i64, "SINT64": i64}.get(scalar, text)
        for value in values:
            decode([field(name, wire, value), b""], [name], [allowed])
        if wire != 3:
            many = b"".join(field("r_" + name, wire, v) for v in values)
            decode([[many], [b""], [many + many]], ["r_" + name], [allowed])
        if wire in (0, 1, 5):
            packed = b"".join(values)
            decode([field("r_" + name, 2, varint(len(packed)) + packed) + field("r_" + name, wire, values[0]), b""], ["r_" + name], [allowed])
            decode([field("r_" + name, 2, varint(len(packed) + 1) + packed + b"\xff")], ["r_" + name], [allowed])
        decode([field(name, 2 if wire != 2 else 0, b"\x00"), b""], [name], [allowed])
        decode([field(name, 5 if wire != 5 else 1, bytes(4 if wire != 5 else 8))], [name], [allowed])
    one = lambda value: field("int32", 0, varint(value))
    decode([one(5) + one(6), b""], ["int32", "string"], [i32, text])
    decode([[one(5), b""], [one(6), one(-7)]], ["int32", "seven", "hey", "five", "half"], [i32, i64, text, i32, f64])
    decode(np.array(one(5), object), ["int32"], [i32])
    decode([one(5)], [], [])
    decode([one(5)], ["int32", "int32"], [i32, i64])
    decode(np.zeros([0], object), ["int32"], [i32])
    decode(np.zeros([0, 2], object), ["int32"], [i32])
    decode([one(5)], ["none"], [i32])
    decode([one(5)], ["int32"], [i32], message_type="t.N")
    decode([one(5)], ["int32"], [i32], source="local://")
    decode([b"", field("int32", 2, b"\x02\x05\x06")], ["int32"], [i32])
    decode([field("int32", 2, b"\x02\x05\x06") + one(4)], ["int32"], [i32])
    decode([one(4) + field("int32", 2, b"\x02\x05\x06")], ["int32"], [i32])
    decode([field("r_int64", 2, b"\x02\xff\xff"), field("r_int64", 2, b"\x03\x01\xff\xff")], ["r_int64"], [i64])
    decode([field("r_int64", 2, b"\x02\xff\xff")], ["r_int64"], [i64])
    for damage in (field("int32", 0, b""), b"\xff", field("string", 2, b"\x05ab"), field(99, 2, b"\x05ab"), field(99, 0, b""), field(99, 3, b""), field(99, 4, b""), b"\x00\x01", field("r_int32", 2, b"\x05\x01"), field("fixed32", 5, b"\x01"), field(99, 6, b""), field("group", 3, b"\x08\x05")):
        decode([b"", one(1) + damage], ["int32", "string", "r_int32", "fixed32", "group"], [i32, text, i32, u32, text])
    unknown = field(99, 3, field(98, 0, b"\x01") + field(97, 3, field(97, 4, b"")) + field(99, 4, b"")) + field(96, 1, bytes(8)) + field(95, 5, bytes(4)) + field(94, 2, b"\x01x")
    decode([unknown + one(8) + unknown], ["int32"], [i32])
    example = tf.train.Example()
    example.features.feature["a"].int64_list.value.extend([1, 2])
    decode([example.SerializeToString()], ["features"], [text], message_type="tensorflow.Example", source="local://")
    decode([example.features.SerializeToString()], ["feature"], [text], message_type="tensorflow.Features", source="local://")


FAMILIES = {
    "parse": parse,
    "parse-sequence": parse_sequence,
    "protos": protos,
}
