"""Ragged tensors."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, some, texts


def ragged(g):
    for dtype in [np.float32, object, np.int64]:
        values = some(dtype, (5,))
        default = some(dtype, (), 8)
        for shape in [np.int64(-1), i64(-1, -1), i64(2, 2), i64(-1, 5), i64(4, -1)]:
            g.case("RaggedTensorToTensor", shape=shape, values=values, default_value=default, row_partition_tensors=[i64(0, 2, 2, 5)], row_partition_types=["ROW_SPLITS"])
            g.case("RaggedTensorToTensor", shape=shape, values=values, default_value=default, row_partition_tensors=[np.int64(4), i64(0, 0, 1, 3, 3)],
                   row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"])
        g.case("RaggedTensorToTensor", shape=np.int64(-1), values=values, default_value=default, row_partition_tensors=[i64(0, 1, 3), i64(0, 2, 2, 5)], row_partition_types=["ROW_SPLITS", "ROW_SPLITS"])
        g.case("RaggedTensorToTensor", shape=i64(-1, 1, 4), values=values, default_value=default, row_partition_tensors=[np.int64(2), i64(0, 1, 1), i64(0, 0, 2, 2, 2)],
               row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS", "VALUE_ROWIDS"])
    g.case("RaggedTensorToTensor", shape=np.int32(-1), values=some(np.float32, (3, 2)), default_value=np.float32(7), row_partition_tensors=[i32(0, 1, 3)], row_partition_types=["ROW_SPLITS"])
    g.case("RaggedTensorToTensor", shape=np.int32(-1), values=some(np.float32, (3, 2)), default_value=some(np.float32, (2,)), row_partition_tensors=[i32(0, 1, 3)], row_partition_types=["ROW_SPLITS"])
    g.case("RaggedTensorToTensor", shape=np.int64(-1), values=some(np.float32, (0,)), default_value=np.float32(7), row_partition_tensors=[i64(0, 0)], row_partition_types=["ROW_SPLITS"])
    for dtype in [np.int32, np.int64, np.float32]:
        g.case("RaggedRange", starts=np.array([0, 5, 8], dtype), limits=np.array([3, 5, 4], dtype), deltas=np.array([1, 1, -2], dtype))
        g.case("RaggedRange", starts=np.array(0, dtype), limits=np.array([3, 1], dtype), deltas=np.array(1, dtype), Tsplits=tf.int32)
    for ids in [i32(2, 0, 2), np.array([[1, 2], [0, 0]], np.int64), i32(3), i32()]:
        g.case("RaggedGather", params_nested_splits=[i64(0, 2, 2, 5)], params_dense_values=some(object, (5,)), indices=ids, OUTPUT_RAGGED_RANK=ids.ndim)
        g.case("RaggedGather", params_nested_splits=[i64(0, 1, 3, 3), i64(0, 2, 2, 5)], params_dense_values=some(np.float32, (5, 2)), indices=ids, OUTPUT_RAGGED_RANK=ids.ndim + 1)
    for kind in ["a-b", "b-a", "intersection", "union"]:
        for dtype in [np.int64, np.int32]:
            g.case("DenseToDenseSetOperation", set1=np.array([[1, 5, 3], [7, 7, -2]], dtype), set2=np.array([[3, 9], [7, 7]], dtype), set_operation=kind)
        g.case("DenseToDenseSetOperation", set1=texts("b", "a", "c").reshape(1, 3), set2=texts("c", "d").reshape(1, 2), set_operation=kind)


def ragged_more(g):
    for dtype in [np.float32, object]:
        for splits in [i64(0, 2, 2, 5), i32(0, 5)]:
            g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(dtype, (5,)))
            g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(dtype, (5, 2)))
        g.case("RaggedTensorToSparse", rt_nested_splits=[i64(0, 1, 1, 3), i64(0, 2, 2, 5)], rt_dense_values=some(dtype, (5,)))
        g.case("RaggedTensorToSparse", rt_nested_splits=[i64(0)], rt_dense_values=some(dtype, (0,)))
        g.case("RaggedFillEmptyRows", value_rowids=i64(0, 2, 2), values=some(dtype, (3,)), nrows=np.int64(4), default_value=some(dtype, (), 3))
        g.case("RaggedFillEmptyRows", value_rowids=i64(), values=some(dtype, (0,)), nrows=np.int64(2), default_value=some(dtype, (), 3))
    for splits in [i64(1, 5), i64(0, 3, 2, 5), i64(0, 4), i64(0, 6)]:
        g.case("RaggedTensorToSparse", rt_nested_splits=[splits], rt_dense_values=some(np.float32, (5,)))
    g.case("RaggedFillEmptyRows", value_rowids=i64(5), values=some(np.float32, (1,)), nrows=np.int64(4), default_value=np.float32(0))
    g.case("RaggedFillEmptyRows", value_rowids=i64(0, 1), values=some(np.float32, (1,)), nrows=np.int64(4), default_value=np.float32(0))
    words, numbers = texts("a", "bb", "c"), i64(7, -1, 2**60)
    sparse = dict(sparse_indices=[np.array([[0, 0], [1, 0], [1, 1]], np.int64)], sparse_shape=[i64(2, 2)])
    for splits_type in [np.int64, np.int32]:
        splits = np.array([0, 2, 3], splits_type)
        for order, kw in [("RD", dict(sparse_indices=[], sparse_values=[], sparse_shape=[])), ("DSR", dict(**sparse, sparse_values=[words]))]:
            args = dict(ragged_values=[words], ragged_row_splits=[splits], dense_inputs=[numbers[:2].reshape(2, 1)], input_order=order, out_row_splits_type=tf.as_dtype(splits_type), **kw)
            g.case("RaggedCross", hashed_output=False, num_buckets=0, hash_key=0, out_values_type=tf.string, **args)
            for buckets in [0, 1000, 2**53 - 1]:
                g.case("RaggedCross", hashed_output=True, num_buckets=buckets, hash_key=956888297470, out_values_type=tf.int64, **args)
        g.case("RaggedCross", ragged_values=[numbers], ragged_row_splits=[splits], dense_inputs=[words.reshape(3, 1)], sparse_indices=[], sparse_values=[], sparse_shape=[], input_order="RD",
               hashed_output=True, num_buckets=5, hash_key=3, out_values_type=tf.int64, out_row_splits_type=tf.as_dtype(splits_type))


FAMILIES = {
    "ragged": ragged,
    "ragged-more": ragged_more,
}
