"""Runs a SavedModel of writeDlrm in TensorFlow, through both of its loaders, and compares it with the same network in numpy.

usage: check_dlrm.py VERSION_DIR
"""
import sys

import numpy as np
import tensorflow as tf

model_dir = sys.argv[1]
reader = tf.train.load_checkpoint(f"{model_dir}/variables/variables")
shapes = reader.get_variable_to_shape_map()
tables = sorted(key for key in shapes if key.startswith("tables/"))

random = np.random.default_rng(3)
batch = 64
width = shapes["bottom/layer1/kernel"][0]
dense = random.random((batch, width), dtype=np.float32)
sparse = np.stack([random.integers(0, shapes[table][0], batch) for table in tables], 1).astype(np.int64)


def mlp(x, scope, sigmoid):
    layer = 1
    while f"{scope}/layer{layer}/kernel" in shapes:
        x = x @ reader.get_tensor(f"{scope}/layer{layer}/kernel") + reader.get_tensor(f"{scope}/layer{layer}/bias")
        layer += 1
        is_last = f"{scope}/layer{layer}/kernel" not in shapes
        x = 1 / (1 + np.exp(-x)) if is_last and sigmoid else np.maximum(x, 0)
    return x


bottom = mlp(dense, "bottom", False)
vectors = np.stack([bottom] + [reader.get_tensor(t)[sparse[:, i]] for i, t in enumerate(tables)], 1)
products = vectors @ vectors.transpose(0, 2, 1)
i, j = np.tril_indices(len(tables) + 1, -1)
expected = mlp(np.concatenate([bottom, products[:, i, j]], 1), "top", True)

function = tf.saved_model.load(model_dir).signatures["serving_default"]
by_function = function(dense=tf.constant(dense), sparse=tf.constant(sparse))["prediction"].numpy()
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signature = tf.compat.v1.saved_model.loader.load(session, ["serve"], model_dir).signature_def["serving_default"]
    feed = {signature.inputs["dense"].name: dense, signature.inputs["sparse"].name: sparse}
    by_session = session.run(signature.outputs["prediction"].name, feed)

difference = max(abs(expected - by_function).max(), abs(expected - by_session).max())
print(f"{len(tables)} tables, {batch} examples, predictions {expected.min():.4f} to {expected.max():.4f}, difference {difference:.2e}")
assert difference < 1e-5 and expected.std() > 1e-3
