"""Loads with TensorFlow what tensorflow.test.ts wrote: a checkpoint and a SavedModel. Prints what it found as JSON.

usage: check_written.py CHECKPOINT_PREFIX MODEL_DIR
"""
import json
import sys

import numpy as np
import tensorflow as tf

prefix, model_dir = sys.argv[1:]
reader = tf.train.load_checkpoint(prefix)
keys = sorted(reader.get_variable_to_shape_map())


def plain(value):
    value = np.asarray(value)
    if value.dtype == object:
        return [x.hex() for x in value.ravel()]
    return value.astype(np.float64 if value.dtype.kind in "fc" else value.dtype).ravel().tolist()


(part,) = tf.raw_ops.RestoreV2(
    prefix=prefix, tensor_names=["p/grid"], shape_and_slices=["10 400 3,4:100,200"], dtypes=[tf.float32]
)

x = np.array([[1, 2], [3, 4]], np.float32)
ids = np.array([2, 0], np.int64)
function = tf.saved_model.load(model_dir).signatures["serving_default"]
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], model_dir)
    signature = meta.signature_def["serving_default"]
    feed = {signature.inputs["x"].name: x, signature.inputs["ids"].name: ids}
    by_session = session.run(signature.outputs["y"].name, feed)

print(
    json.dumps(
        {
            "count": len(keys),
            "tensors": {key: plain(reader.get_tensor(key)) for key in keys if not key.startswith("many/")},
            "many": sum(int(reader.get_tensor(key)[0]) for key in keys if key.startswith("many/")),
            "part": plain(part),
            "by_function": plain(function(x=tf.constant(x), ids=tf.constant(ids))["y"]),
            "by_session": plain(by_session),
        }
    )
)
