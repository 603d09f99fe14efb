"""Small SavedModels with loops, branches and lists, and what TensorFlow answers for them.

    python scripts/make_control_flow_models.py [NAME ...]        (TensorFlow 2.21 with tf_keras, CPU)

Writes packages/engine/test/testdata/control-flow/NAME/{saved_model.pb, variables, golden.json}; the goldens have the
format of testkit's readGolden.
"""
import json, os, shutil, sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tensorflow as tf
import tf_keras as keras
from tensorflow.core.protobuf import saved_model_pb2

tf1 = tf.compat.v1
OUT = os.path.join(os.path.dirname(__file__), "..", "packages", "engine", "test", "testdata", "control-flow")
rng = np.random.default_rng(3)
F = lambda *shape: rng.normal(size=shape).astype(np.float32)
I = lambda *values: np.array(values if len(values) > 1 else values[0], np.int32)


def tensor_json(value):
    value = np.asarray(value)
    dtype = tf.as_dtype(value.dtype if value.dtype.kind not in "OSU" else tf.string)
    if dtype == tf.string:
        data = [v.decode() if isinstance(v, bytes) else str(v) for v in value.ravel()]
    elif dtype in (tf.int64, tf.uint64):
        data = [str(v) for v in value.ravel()]
    else:
        # JSON has no such numbers; JavaScript reads them from text.
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        data = [names.get(str(v), v.item()) for v in value.ravel()]
    return {"dtype": "DT_" + dtype.name.upper().replace("FLOAT32", "FLOAT"), "shape": list(value.shape), "data": data}


def write_golden(name, feeds, stateful=False):
    cases = []
    for feed in feeds:
        with tf.Graph().as_default(), tf1.Session() as session:  # a fresh state for every case
            meta = tf1.saved_model.load(session, ["serve"], os.path.join(OUT, name))
            signature = meta.signature_def["serving_default"]
            case = {"inputs": {k: tensor_json(v) for k, v in feed.items()}}
            try:
                values = session.run(
                    {k: v.name for k, v in signature.outputs.items()},
                    {signature.inputs[k].name: v for k, v in feed.items()},
                )
                case["outputs"] = {k: tensor_json(v) for k, v in values.items()}
                for k, info in signature.outputs.items():  # quantised integers come as plain ones
                    if tf.as_dtype(info.dtype).name.startswith("q"):
                        case["outputs"][k]["dtype"] = "DT_" + tf.as_dtype(info.dtype).name.upper()
            except tf.errors.OpError as error:
                case["error"] = type(error).__name__ + ": " + error.message.split("\n")[0]
            cases.append(case)
    signatures = {"serving_default": {"method": "tensorflow/serving/predict", "cases": cases, "stateful": stateful}}
    with open(os.path.join(OUT, name, "golden.json"), "w") as file:
        json.dump({"tags": ["serve"], "load": "ok", "signatures": signatures}, file)
    shutil.rmtree(os.path.join(OUT, name, "assets"), ignore_errors=True)
    for extra in ["fingerprint.pb", "keras_metadata.pb"]:
        if os.path.exists(os.path.join(OUT, name, extra)):
            os.remove(os.path.join(OUT, name, extra))
    print(name, [c.get("error", "ok")[:90] for c in cases])


def v2(name, function, specs, feeds, stateful=False, module=None):
    module = module or tf.Module()
    module.f = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, os.path.join(OUT, name), signatures=module.f)
    slim(os.path.join(OUT, name, "saved_model.pb"))
    write_golden(name, feeds, stateful)


def slim(path):
    """Drops what only debuggers read, so that the models stay small."""
    with open(path, "rb") as file:
        message = saved_model_pb2.SavedModel.FromString(file.read())
    for meta in message.meta_graphs:
        for node in [*meta.graph_def.node, *(n for f in meta.graph_def.library.function for n in f.node_def)]:
            node.attr.pop("_output_shapes", None)
            node.ClearField("experimental_debug_info")
        for function in meta.graph_def.library.function:
            for arg in function.arg_attr.values():
                arg.attr.pop("_output_shapes", None)
        meta.meta_info_def.ClearField("stripped_op_list")
    with open(path, "wb") as file:
        file.write(message.SerializeToString())


def v1(name, build, feeds, stateful=False):
    """build() -> (inputs, outputs), in a graph with TF1 control flow."""
    tf1.disable_control_flow_v2()
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        tf1.set_random_seed(1)
        inputs, outputs = build()
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        tf1.saved_model.simple_save(session, os.path.join(OUT, name), inputs, outputs, legacy_init_op=tf1.tables_initializer())
    tf1.enable_control_flow_v2()
    write_golden(name, feeds, stateful)


def spec(shape, dtype, name):
    return tf.TensorSpec(shape, dtype, name)


def numeric_loops():
    def f(x, n):
        power, _ = tf.while_loop(lambda m, i: i < n, lambda m, i: (tf.matmul(m, x), i + 1), (x, 0))
        grown, _ = tf.while_loop(
            lambda m, i: i < n,
            lambda m, i: (tf.concat([m, x * tf.cast(i, tf.float32)], 0), i + 1),
            (x, 0),
            shape_invariants=(tf.TensorShape([None, 2]), tf.TensorShape([])),
        )
        total = tf.constant(0.0)
        for i in tf.range(n):
            if i == 3:
                continue
            if i > 6:
                break
            inner = tf.constant(0)
            while inner < i:
                inner += 1
                total += tf.cast(inner, tf.float32) * x[0, 0]
        return {"power": power, "grown": grown, "total": total}

    v2(
        "loops",
        f,
        [spec([2, 2], tf.float32, "x"), spec([], tf.int32, "n")],
        [{"x": F(2, 2), "n": I(n)} for n in (0, 1, 3, 9)],
    )


def branches():
    def f(x, c, i):
        a, b = tf.cond(c, lambda: (x * 2.0, tf.constant("yes")), lambda: (tf.cond(x[0] > 0, lambda: tf.exp(x), lambda: x), tf.strings.as_string(x[0], precision=2)))
        s = tf.switch_case(i, [lambda: x, lambda: tf.reverse(x, [0]), lambda: tf.zeros([1])])
        checked = tf.cond(c, lambda: tf.gather(x, i), lambda: tf.constant(0.0))
        return {"a": a, "b": b, "s": s, "checked": checked}

    x = F(3)
    feeds = [{"x": sign * x, "c": np.array(c), "i": I(i)} for sign in (1, -1) for c in (True, False) for i in (0, 1, 2, 7, -1)]
    v2("branches", f, [spec([None], tf.float32, "x"), spec([], tf.bool, "c"), spec([], tf.int32, "i")], feeds)


def assertions():
    def f(x, n):
        tf.debugging.assert_less(n, 4, message="too many")
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(x < 9.0), ["large", x])]):
            return {"y": x * tf.cast(n, tf.float32)}

    feeds = [{"x": np.array(x, np.float32), "n": I(n)} for x in ([1.0], [3.0, 12.0]) for n in (3, 4)]
    v2("assertions", f, [spec([None], tf.float32, "x"), spec([], tf.int32, "n")], feeds)


def unranked_asserts():
    """Conditions of unknown rank: TensorFlow squeezes them for the If around an Assert, in a branch, too."""

    def f(x, n):
        low, high = n < 1, n < 5
        return {"y": tf.case([(low, lambda: x), (high, lambda: x * 2.0)], exclusive=True)}

    feeds = [{"x": np.array([1.5, -2.0], np.float32), "n": I(n)} for n in (0, 3, 7)]
    v2("unranked-asserts", f, [spec(None, tf.float32, "x"), spec(None, tf.int32, "n")], feeds)


def maps():
    def f(x, words):
        mapped = tf.map_fn(lambda row: tf.reduce_sum(row) * row, x)
        texts = tf.map_fn(lambda word: tf.strings.join([word, tf.strings.as_string(tf.strings.length(word))], "-"), words)
        two = tf.map_fn(lambda pair: (pair[0] + 1.0, tf.strings.length(pair[1])), (x[:, 0], words), fn_output_signature=(tf.float32, tf.int32))
        scanned = tf.scan(lambda a, row: a + row, x, initializer=tf.zeros([2]))
        folded = tf.foldr(lambda a, row: a * 0.5 + row, x)
        return {"mapped": mapped, "texts": texts, "first": two[0], "second": two[1], "scanned": scanned, "folded": folded}

    words = np.array(["a", "bcd", "", "wörter"], object)
    feeds = [{"x": F(n, 2), "words": words[:n]} for n in (1, 4)]
    feeds.append({"x": F(0, 2), "words": words[:0]})
    v2("maps", f, [spec([None, 2], tf.float32, "x"), spec([None], tf.string, "words")], feeds)


def lists():
    def f(x, n):
        array = tf.TensorArray(tf.float32, size=0, dynamic_size=True, element_shape=[2])
        for i in tf.range(n):
            array = array.write(i * 2, x[i % tf.shape(x)[0]])
        unstacked = tf.TensorArray(tf.float32, size=tf.shape(x)[0]).unstack(x)
        split = tf.TensorArray(tf.float32, size=2, infer_shape=False).split(x, [1, tf.shape(x)[0] - 1])
        scattered = tf.TensorArray(tf.float32, size=5, element_shape=[2]).scatter([3, 1], x[:2])
        return {
            "array": array.stack(),
            "size": array.size(),
            "gathered": unstacked.gather([1, 0, 1]),
            "concat": split.concat(),
            "part": split.read(1),
            "scattered": scattered.stack(),
        }

    v2("lists", f, [spec([None, 2], tf.float32, "x"), spec([], tf.int32, "n")], [{"x": F(3, 2), "n": I(n)} for n in (0, 1, 4)])


def tables_and_state():
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64)), -1)
    module.rows = tf.Variable(F(4, 2))
    module.count = tf.Variable(5.0)

    def f(words, n):
        ids = tf.cond(n > 0, lambda: module.table.lookup(words), lambda: tf.zeros_like(words, tf.int64))
        total = tf.zeros([2])
        for i in tf.range(n):
            total += tf.gather(module.rows, i)
        tf.cond(n > 1, lambda: module.count.assign_add(tf.cast(n, tf.float32)), lambda: module.count.assign(0.0))
        return {"ids": ids, "total": total, "count": module.count.read_value()}

    words = np.array(["b", "x", "a"], object)
    feeds = [{"words": words, "n": I(n)} for n in (0, 1, 4, 6)]
    v2("tables-and-state", f, [spec([None], tf.string, "words"), spec([], tf.int32, "n")], feeds, True, module)


def recurrent():
    keras.utils.set_random_seed(4)
    x = keras.Input([None, 3], name="x")
    masked = keras.layers.Masking()(x)
    lstm, h, c = keras.layers.LSTM(4, return_sequences=True, return_state=True)(masked)
    gru = keras.layers.GRU(3, go_backwards=True)(x)
    old = keras.layers.GRU(3, reset_after=False, return_sequences=True)(masked)
    both = keras.layers.Bidirectional(keras.layers.LSTM(2, activation="relu", recurrent_activation="hard_sigmoid"))(lstm)
    simple = keras.layers.RNN([keras.layers.SimpleRNNCell(2), keras.layers.LSTMCell(2)])(x)
    conv = keras.layers.ConvLSTM1D(2, 2)(keras.layers.Reshape([-1, 3, 1])(x))
    model = keras.Model(x, {"lstm": lstm, "h": h, "c": c, "gru": gru, "old": old, "both": both, "simple": simple, "conv": conv})
    model.export(os.path.join(OUT, "recurrent"))
    padded = F(2, 5, 3)
    padded[0, 3:] = 0
    write_golden("recurrent", [{"x": padded}, {"x": F(1, 1, 3)}, {"x": F(3, 12, 3)}])


def dynamic_rnn():
    x = tf1.placeholder(tf.float32, [None, None, 3], "x")
    lengths = tf1.placeholder(tf.int32, [None], "lengths")
    fw, bw = tf1.nn.rnn_cell.LSTMCell(4), tf1.nn.rnn_cell.GRUCell(3)
    outputs, states = tf1.nn.bidirectional_dynamic_rnn(fw, bw, x, lengths, dtype=tf.float32)
    major, _ = tf1.nn.dynamic_rnn(tf1.nn.rnn_cell.BasicRNNCell(2), tf.transpose(x, [1, 0, 2]), dtype=tf.float32, time_major=True)
    return {"x": x, "lengths": lengths}, {"fw": outputs[0], "bw": outputs[1], "state": states[0].h, "major": major}


def old_control():
    x = tf1.placeholder(tf.float32, [None], "x")
    n = tf1.placeholder(tf.int32, [], "n")
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1], tf.int64), ["zero", "one"]), "many")
    weights = tf1.get_variable("w", [3], initializer=tf1.constant_initializer([1.0, 2.0, 3.0]))

    def body(i, total, array):
        step = tf1.cond(tf.equal(i % 2, 0), lambda: weights * tf.reduce_sum(x), lambda: tf1.cond(i > 2, lambda: -weights, lambda: tf.ones([3])))
        inner = tf1.while_loop(lambda j, s: j < i, lambda j, s: (j + 1, s + tf.cast(j, tf.float32)), [0, 0.0])[1]
        return i + 1, total + step + inner, array.write(i, total)

    array = tf.TensorArray(tf.float32, size=n)
    _, total, array = tf1.while_loop(lambda i, *_: i < n, body, [0, tf.zeros([3]), array])
    name = tf1.cond(n > 1, lambda: table.lookup(tf.cast(n, tf.int64)), lambda: table.lookup(tf.constant(1, tf.int64)))
    pick = tf1.case([(n > 5, lambda: tf.constant(5)), (n > 3, lambda: n * 2)], default=lambda: tf.constant(-1))
    with tf.control_dependencies([tf1.assert_less(n, 8, message="too many")]):
        checked = tf.identity(n)
    return {"x": x, "n": n}, {"total": total, "array": array.stack(), "name": name, "pick": pick, "checked": checked}


def walks():
    """Loops that walk lists in every way that the compiler must tell apart: from 0 by one, and otherwise."""
    weights = tf.Variable(F(2, 3))

    def f(x, n):
        rows = tf.shape(x)[0]
        source = tf.TensorArray(tf.float32, size=rows).unstack(x)

        def walk(size, start, step, shape, index=lambda i: i, read=lambda i: i):
            array = tf.TensorArray(tf.float32, size=size, element_shape=shape)
            body = lambda i, a: (i + step, a.write(index(i), tf.matmul(source.read(read(i))[None], weights)[0]))
            return tf.while_loop(lambda i, _: i < n, body, [start, array])[1]

        deep = tf.map_fn(lambda row: tf.map_fn(lambda v: tf.matmul([[v, v]], weights)[0], row), x)
        state = tf.scan(lambda s, row: tf.matmul(s, weights[:, :2]) + row, x, initializer=tf.ones([1, 2]))
        ints = tf.map_fn(lambda i: tf.cast(tf.matmul([[tf.cast(i, tf.float32), 1.0]], weights)[0], tf.int64) + tf.cast(i, tf.int64), tf.range(rows), fn_output_signature=tf.int64)
        picked = walk(rows, 0, 1, [3]).gather([0, rows - 1])
        grown = tf.while_loop(lambda i, *_: i < n, lambda i, m, a: (i + 1, tf.concat([m, m[:1] @ tf.ones([2, 2])], 0), a.write(i, m[0])), [0, x, tf.TensorArray(tf.float32, size=n, element_shape=[2])], shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, 2]), None])
        return {
            "exact": walk(n, 0, 1, [3]).stack(),
            "longer": walk(rows, 0, 1, [3]).stack(),
            "unshaped": walk(rows, 0, 1, [None]).stack(),
            "late": walk(rows, 1, 1, [3]).stack(),
            "every_other": walk(rows, 0, 2, [3]).stack(),
            "backwards": walk(n, 0, 1, [3], lambda i: n - 1 - i).stack(),
            "mirrored": walk(n, 0, 1, [3], read=lambda i: n - 1 - i).stack(),
            "length": walk(n, 0, 1, [3]).size(),
            "deep": deep, "state": state, "ints": ints, "picked": picked, "grown": grown[1], "firsts": grown[2].stack(),
        }

    module = tf.Module()
    module.weights = weights
    v2("walks", f, [spec([None, 2], tf.float32, "x"), spec([], tf.int32, "n")], [{"x": F(4, 2), "n": I(n)} for n in (4, 1, 2, 0, 5)], module=module)


def recurrent_layers():
    """Keras' recurrent layers in the forms that the first model of them lacks."""
    keras.utils.set_random_seed(5)
    x = keras.Input([None, 3], name="x")
    h = keras.Input([4], name="h")
    layers = keras.layers
    outputs = {
        "stateful": layers.LSTM(4, return_sequences=True)(x, initial_state=[h, h * 0.5]),
        "unrolled": layers.GRU(2, unroll=True, return_sequences=True)(layers.Lambda(lambda v: tf.ensure_shape(v[:, :3], [None, 3, 3]))(x)),
        "concat": layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="concat")(x),
        "sum": layers.Bidirectional(layers.LSTM(3, return_sequences=True, go_backwards=True), merge_mode="sum")(x),
        "zeroed": layers.RNN(layers.LSTMCell(3), return_sequences=True, zero_output_for_mask=True)(layers.Masking()(x)),
        "major": layers.RNN(layers.GRUCell(2), time_major=True, return_sequences=True)(layers.Permute([1, 2])(x)),
        "sigmoid": layers.GRU(3, activation="sigmoid", recurrent_activation="tanh", reset_after=False, use_bias=False)(x),
        "plain": layers.SimpleRNN(3, return_sequences=True)(x),
    }
    model = keras.Model([x, h], outputs)
    model.export(os.path.join(OUT, "recurrent-layers"))
    padded = F(2, 5, 3)
    padded[1, 2:] = 0
    holed, endless = F(3, 4, 3), F(3, 4, 3)
    holed[1, 2, 0], endless[2, 1, 1] = np.nan, np.inf
    write_golden(
        "recurrent-layers",
        [{"x": padded, "h": F(2, 4)}, {"x": F(1, 3, 3), "h": F(1, 4)}, {"x": F(3, 9, 3), "h": F(3, 4)}]
        # What ONNX's LSTM does not do: NaN, an empty batch, a state that is broadcast.
        + [{"x": holed, "h": F(3, 4)}, {"x": endless, "h": F(3, 4)}, {"x": F(0, 3, 3), "h": F(0, 4)}, {"x": F(3, 3, 3), "h": F(1, 4)}],
    )


def list_ops():
    """List ops that tf.TensorArray does not use."""
    raw = tf.raw_ops

    def f(x, n):
        rows = tf.constant([2], tf.int32)
        scattered = raw.TensorListScatterV2(tensor=x, indices=[2, 0], element_shape=rows, num_elements=n)
        old = raw.TensorListScatter(tensor=x, indices=[0, 1], element_shape=rows)
        longer = raw.TensorListResize(input_handle=old, size=n)
        empty = raw.EmptyTensorList(element_shape=rows, max_num_elements=4, element_dtype=tf.float32)
        pushed = raw.TensorListPushBack(input_handle=raw.TensorListPushBack(input_handle=empty, tensor=x[0]), tensor=x[1])
        shorter, last = raw.TensorListPopBack(input_handle=pushed, element_shape=rows, element_dtype=tf.float32)
        stack = lambda handle: raw.TensorListStack(input_handle=handle, element_shape=rows, element_dtype=tf.float32)
        return {
            "scattered": stack(scattered), "old": stack(old), "longer": stack(longer), "pushed": stack(pushed), "last": last,
            "length": raw.TensorListLength(input_handle=shorter),
            "shape": raw.TensorListElementShape(input_handle=pushed, shape_type=tf.int32),
        }

    v2("list-ops", f, [spec([2, 2], tf.float32, "x"), spec([], tf.int32, "n")], [{"x": F(2, 2), "n": I(n)} for n in (3, 1, 5)])


def old_arrays():
    x = tf1.placeholder(tf.float32, [None, 2], "x")
    split = tf.TensorArray(tf.float32, size=2, infer_shape=False, clear_after_read=False).split(x, [1, tf.shape(x)[0] - 1])
    scattered = tf.TensorArray(tf.float32, size=5, element_shape=[2]).scatter([3, 1], x[:2])
    return {"x": x}, {"concat": split.concat(), "size": tf.raw_ops.TensorArraySizeV3(handle=split.handle, flow_in=split.flow), "part": split.read(1), "scattered": scattered.stack()}


def old_layers():
    """What the Graph Transform Tool made of layers: quantised ones, and padding as part of a convolution. And rows of a reference that a request adds to."""
    x = tf1.placeholder(tf.float32, [None, 6, 6, 3], "x")
    raw = tf.raw_ops
    weights = lambda *shape: tf.constant(rng.integers(0, 256, shape).astype(np.uint8).astype(tf.quint8.as_numpy_dtype), dtype=tf.quint8)
    q = raw.QuantizeV2(input=x, min_range=tf.reduce_min(x), max_range=tf.reduce_max(x), T=tf.quint8, mode="MIN_FIRST")

    def narrowed(wide, low, high):
        ends = raw.RequantizationRange(input=wide, input_min=low, input_max=high)
        return raw.Requantize(input=wide, input_min=low, input_max=high, requested_output_min=ends.output_min, requested_output_max=ends.output_max, out_type=tf.quint8)

    conv = raw.QuantizedConv2D(input=q.output, filter=weights(3, 3, 3, 4), min_input=q.output_min, max_input=q.output_max, min_filter=-1.0, max_filter=0.8, strides=[1, 1, 1, 1], padding="SAME")
    small = narrowed(*conv)
    biased = raw.QuantizedBiasAdd(input=small.output, bias=weights(4), min_input=small.output_min, max_input=small.output_max, min_bias=-0.5, max_bias=1.0, out_type=tf.qint32)
    again = narrowed(*biased)
    act = raw.QuantizedRelu(features=again.output, min_features=again.output_min, max_features=again.output_max)
    pooled = raw.QuantizedMaxPool(input=act.activations, min_input=act.min_activations, max_input=act.max_activations, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID")
    flat = raw.QuantizedReshape(tensor=pooled.output, shape=tf.constant([-1, 36]), input_min=pooled.min_output, input_max=pooled.max_output)
    product = raw.QuantizedMatMul(a=flat.output, b=weights(36, 2), min_a=flat.output_min, max_a=flat.output_max, min_b=-1.0, max_b=1.0)
    y = raw.Dequantize(input=product.out, min_range=product.min_out, max_range=product.max_out, mode="MIN_FIRST")
    padded = raw.FusedPadConv2D(input=x[:1], paddings=tf.constant([[0, 0], [1, 1], [2, 0], [0, 0]]), filter=tf.constant(F(3, 3, 3, 2)), mode="REFLECT", strides=[1, 1, 1, 1], padding="VALID")
    counts = tf1.get_variable("counts", initializer=np.zeros((3, 2), np.float32), use_resource=False)
    counted = tf1.scatter_add(counts, tf.constant([0, 2, 0]), tf.ones([3, 2]))
    return {"x": x}, {"y": y, "sums": product.out, "padded": padded, "counted": tf.identity(counted)}


def images():
    """Loops whose states are images."""
    keras.utils.set_random_seed(6)
    x = keras.Input([None, 5, 4, 2], name="x")
    every = keras.layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(x)
    last, h, c = keras.layers.ConvLSTM2D(2, 2, strides=2, go_backwards=True, return_state=True, recurrent_activation="sigmoid")(every)
    model = keras.Model(x, {"every": every, "last": last, "h": h, "c": c})
    model.export(os.path.join(OUT, "images"))
    write_golden("images", [{"x": F(2, 3, 5, 4, 2)}, {"x": F(1, 1, 5, 4, 2)}])


def open_kernels():
    """Convolutions whose kernels, or numbers of channels, only a request tells."""

    def f(x, k):
        x = tf.image.sobel_edges(x)[..., 0] + x
        every = tf.nn.depthwise_conv2d(x, k, [1, 1, 1, 1], "SAME")
        return {
            "likeness": tf.image.ssim(x, x * 0.9, 1.0, filter_size=3),
            "every": every,
            "second": tf.nn.depthwise_conv2d(x, k, [1, 2, 2, 1], "VALID"),
            "grouped": tf.raw_ops.Conv2D(input=every, filter=tf.tile(k[:, :, :1], [1, 1, 1, tf.shape(x)[-1]]), strides=[1, 1, 1, 1], padding="SAME"),
            "line": tf.nn.conv1d(x[:, 0], k[0], 1, "SAME"),
        }

    feeds = [{"x": F(2, 6, 7, 3), "k": F(3, 2, 3, 2)}, {"x": F(1, 5, 5, 1), "k": F(2, 2, 1, 3)}, {"x": F(1, 5, 5, 2), "k": F(2, 2, 1, 3)}]
    v2("open-kernels", f, [spec([None] * 4, tf.float32, "x"), spec([None] * 4, tf.float32, "k")], feeds)


def branch_gradients():
    """What a gradient needs of a branch that was not taken is a value that is absent."""

    def f(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x) * x, lambda: tf.sin(x) * 2.0)
            z = tf.switch_case(tf.shape(x)[0], [lambda: y, lambda: tf.exp(y) * y, lambda: tf.sqrt(tf.abs(y)) + x])
        return {"gradient": tape.gradient(z, x), "z": z}

    v2("branch-gradients", f, [spec([None, 3], tf.float32, "x")], [{"x": F(1, 3)}, {"x": np.abs(F(2, 3))}, {"x": -np.abs(F(3, 3))}, {"x": -np.abs(F(1, 3))}])


def tiles_of_boxes():
    """Padded suppression compares tiles of 512 boxes with one another, as often as it takes."""

    def f(boxes, scores):
        kept, count = tf.image.non_max_suppression_padded(boxes, scores, 9, 0.5, 0.2, pad_to_max_output_size=True)
        return {"kept": kept, "count": count}

    def feed(batch, count):
        corners = rng.uniform(0, 0.7, (batch, count, 2)).round(3)
        boxes = np.concatenate([corners, corners + rng.uniform(0.05, 0.4, corners.shape).round(3)], -1)
        return {"boxes": boxes.astype(np.float32), "scores": rng.uniform(0, 1, (batch, count)).round(4).astype(np.float32)}

    specs = [spec([None, None, 4], tf.float32, "boxes"), spec([None, None], tf.float32, "scores")]
    v2("tiles-of-boxes", f, specs, [feed(1, 20), feed(2, 520), feed(3, 1), feed(0, 20), feed(2, 0)])


def loop_gradients():
    """What a gradient needs of every turn is a list; of a loop in a loop, and of a turn with lists of its own, a list of lists."""

    def f(x, n):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for i in tf.range(n):
                for j in tf.range(i + 1):
                    y = tf.tanh(y) * x + tf.cast(j, tf.float32)
                if tf.reduce_sum(y) > 3:
                    y = y * 0.5
            each = tf.map_fn(lambda row: tf.nn.softmax(row) * row, x)
            run = tf.scan(lambda sum, row: sum * 0.5 + tf.tanh(row), x)
            all_of_them = tf.reduce_sum(y) + tf.reduce_sum(each) + tf.reduce_sum(run)
        return {"gradient": tape.gradient(all_of_them, x), "y": y}

    feeds = [{"x": F(rows, 2), "n": I(n)} for rows, n in ((2, 3), (1, 0), (3, 1))]
    v2("loop-gradients", f, [spec([None, 2], tf.float32, "x"), spec([], tf.int32, "n")], feeds)


def nested_lists():
    raw = tf.raw_ops

    def f(x, words):
        pushed = lambda values: raw.TensorListPushBack(input_handle=empty(), tensor=values)
        empty = lambda: raw.EmptyTensorList(element_shape=-1, max_num_elements=-1, element_dtype=x.dtype)
        batch = raw.TensorListPushBackBatch(input_handles=tf.stack([pushed(x), pushed(2 * x)]), tensor=tf.stack([3 * x, 4 * x]))
        both = raw.TensorListConcatLists(input_a=batch, input_b=tf.stack([batch[1], batch[0]]), element_dtype=x.dtype)
        one = raw.TensorListConcatLists(input_a=both[0], input_b=pushed(5 * x), element_dtype=x.dtype)
        stacked = lambda list: raw.TensorListStack(input_handle=list, element_shape=-1, element_dtype=x.dtype)
        total = raw.AddN(inputs=[both[0], both[1], raw.ZerosLike(x=both[0])])
        kept = raw.TensorListPushBack(input_handle=raw.EmptyTensorList(element_shape=tf.zeros([0], tf.int32), max_num_elements=-1, element_dtype=tf.variant), tensor=one)
        _, last = raw.TensorListPopBack(input_handle=kept, element_shape=tf.zeros([0], tf.int32), element_dtype=tf.variant)
        sparse = tf.strings.split(words).to_sparse()
        joined = tf.map_fn(lambda row: tf.strings.reduce_join(row.values, separator="+"), sparse, fn_output_signature=tf.string)
        return {"batch": stacked(both[1]), "one": stacked(last), "total": stacked(total), "joined": joined}

    feeds = [{"x": F(n), "words": np.array(words)} for n, words in ((2, ["a b c", "", "d"]), (0, ["e"]))]
    v2("nested-lists", f, [spec([None], tf.float32, "x"), spec([None], tf.string, "words")], feeds)


MODELS = {
    "branch-gradients": branch_gradients,
    "loop-gradients": loop_gradients,
    "nested-lists": nested_lists,
    "open-kernels": open_kernels,
    "images": images,
    "tiles-of-boxes": tiles_of_boxes,
    "list-ops": list_ops,
    "old-arrays": lambda: v1("old-arrays", old_arrays, [{"x": F(3, 2)}, {"x": F(2, 2)}]),
    "old-layers": lambda: v1("old-layers", old_layers, [{"x": F(2, 6, 6, 3)}, {"x": F(1, 6, 6, 3) * 9}], stateful=True),
    "loops": numeric_loops,
    "branches": branches,
    "assertions": assertions,
    "unranked-asserts": unranked_asserts,
    "maps": maps,
    "lists": lists,
    "tables-and-state": tables_and_state,
    "recurrent": recurrent,
    "dynamic-rnn": lambda: v1("dynamic-rnn", dynamic_rnn, [{"x": F(2, 4, 3), "lengths": I(4, 2)}, {"x": F(1, 1, 3), "lengths": np.array([1], np.int32)}]),
    "old-control": lambda: v1("old-control", old_control, [{"x": F(2), "n": I(n)} for n in (1, 2, 4, 7, 9)]),
    "walks": walks,
    "recurrent-layers": recurrent_layers,
}
for name in sys.argv[1:] or MODELS:
    shutil.rmtree(os.path.join(OUT, name), ignore_errors=True)
    MODELS[name]()
