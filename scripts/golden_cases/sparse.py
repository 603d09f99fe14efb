"""Sparse tensors and sparse matrices."""

import numpy as np
import tensorflow as tf

from golden_cases.values import FLOAT_TYPES, INT_TYPES, i32, i64, some, texts


def sparse(g):
    for dtype in [np.float32, np.int64, object]:
        default = some(dtype, (), 6)
        g.case("SparseToDense", sparse_indices=np.array([[0, 1], [2, 0]], np.int64), output_shape=i64(3, 2), sparse_values=some(dtype, (2,)), default_value=default)
        g.case("SparseToDense", sparse_indices=i32(1, 3), output_shape=i32(5), sparse_values=some(dtype, ()), default_value=default)
    g.case("SparseToDense", sparse_indices=np.int32(1), output_shape=i32(5), sparse_values=np.float32(2), default_value=np.float32(0))
    g.case("SparseToDense", sparse_indices=np.zeros((0, 2), np.int64), output_shape=i64(2, 2), sparse_values=np.array([], np.float32), default_value=np.float32(1))
    for ids in [[[2], [1]], [[1], [1]], [[5], [6]], [[-1], [0]]]:
        for validate in [True, False]:
            if validate or ids[0][0] in (1, 2):
                g.case("SparseToDense", sparse_indices=np.array(ids, np.int64), output_shape=i64(4), sparse_values=some(np.float32, (2,)), default_value=np.float32(0), validate_indices=validate, text=True)
    ids = np.array([[0, 0, 1], [1, 2, 3], [1, 0, 0]], np.int64)
    for new in [[6, 4], [-1, 3], [24], [2, 3, 2, -1], [5, 5], [-1, -1], [-1, 7]]:
        g.case("SparseReshape", input_indices=ids, input_shape=i64(2, 3, 4), new_shape=np.array(new, np.int64))
    g.case("SparseReshape", input_indices=np.zeros((0, 2), np.int64), input_shape=i64(0, 3), new_shape=i64(3, 0))
    for dtype in [np.int64, np.float32, object]:
        for ids, n in [([[0, 0], [2, 1], [2, 0]], 4), (np.zeros((0, 2)), 3), ([[1, 0], [0, 3]], 2), (np.zeros((0, 2)), 0), ([[3, 0]], 3)]:
            ids = np.array(ids, np.int64).reshape(-1, 2)
            g.case("SparseFillEmptyRows", indices=ids, values=some(dtype, (len(ids),)), dense_shape=i64(n, 4), default_value=some(dtype, (), 9))
        ids = np.array([[2, 1], [0, 3], [2, 0], [0, 0]], np.int64)
        values = some(dtype, (4,))
        g.case("SparseReorder", input_indices=ids, input_values=values, input_shape=i64(3, 4))
        g.case("SparseConcat", indices=[ids[[1]], ids[[3, 0]]], values=[values[:1], values[1:3]], shapes=[i64(3, 4), i64(3, 4)], concat_dim=1)
        g.case("SparseConcat", indices=[ids[[1]], ids[[3, 0]]], values=[values[:1], values[1:3]], shapes=[i64(1, 4), i64(3, 4)], concat_dim=0)
        ordered = ids[[3, 1, 2, 0]]
        g.case("SparseSlice", indices=ordered, values=values, shape=i64(3, 4), start=i64(1, 0), size=i64(5, 1))
        g.case("SparseSplit", split_dim=np.int64(1), indices=ordered, values=values, shape=i64(3, 4), num_split=3)
        g.case("SparseSplit", split_dim=np.int64(0), indices=ordered, values=values, shape=i64(3, 4), num_split=2)
    ids = np.array([[0, 0], [1, 0], [1, 1]], np.int64)
    rows = [i64(2, 2), i64(2, 1)]
    columns = dict(indices=[ids, ids[:2]], shapes=rows)
    words, numbers = texts("a", "b", "c"), i64(7, -2, 2**40 + 1)
    dense_words, dense_numbers = texts("x", "longer than sixteen bytes", "z", "").reshape(2, 2), np.array([[5, 6], [-7, 2**50]], np.int64)
    for buckets in [0, 100, 2**53 - 1]:
        g.case("SparseCross", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words], hashed_output=True, num_buckets=buckets, hash_key=956888297470, out_type=tf.int64, internal_type=tf.int64)
        for strong in [True, False]:
            g.case("SparseCrossHashed", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words] + ([] if strong else [dense_numbers]), num_buckets=np.int64(buckets), strong_hash=np.bool_(strong), salt=i64(3, -9))
    g.case("SparseCross", **columns, values=[words, words[1:]], dense_inputs=[dense_words], hashed_output=False, num_buckets=0, hash_key=1, out_type=tf.string, internal_type=tf.string)
    g.case("SparseCross", **columns, values=[words, numbers[:2]], dense_inputs=[dense_words], hashed_output=False, num_buckets=0, hash_key=1, out_type=tf.string, internal_type=tf.string, text=True)
    g.case("SparseCrossV2", **columns, values=[words, numbers[:2]], dense_inputs=[dense_numbers, dense_words], sep=np.array(b"+", object))
    g.case("SparseCrossV2", indices=[ids[:1], ids[1:]], shapes=[i64(2, 2), i64(2, 2)], values=[words[:1], words[1:]], dense_inputs=[dense_words], sep=np.array(b"_X_", object))
    for adj_a in [False, True]:
        for adj_b in [False, True]:
            b = some(np.float32, (4, 2) if not adj_a else (3, 2))
            g.case("SparseTensorDenseMatMul", a_indices=np.array([[0, 1], [2, 3], [0, 0]], np.int64), a_values=some(np.float32, (3,)), a_shape=i64(3, 4),
                   b=b.T.copy() if adj_b else b, adjoint_a=adj_a, adjoint_b=adj_b)
    g.case("SparseTensorDenseMatMul", a_indices=np.array([[0, 5]], np.int64), a_values=some(np.float32, (1,)), a_shape=i64(3, 4), b=some(np.float32, (4, 2)))


def sparse_more(g):
    ids = np.array([[0, 0], [0, 2], [2, 1], [2, 2]], np.int64)
    shape = i64(4, 3)
    for dtype in [np.float32, np.int64, np.int32, np.float64]:
        v = some(dtype, (4,))
        for axes in [[0], [1], [-1], [0, 1], [], 1]:
            for keep in [False, True]:
                if dtype != np.float32 and (keep or axes != [1]):
                    continue
                for op in ["SparseReduceSum", "SparseReduceMax", "SparseReduceSumSparse", "SparseReduceMaxSparse"]:
                    g.case(op, input_indices=ids, input_values=v, input_shape=shape, reduction_axes=np.array(axes, np.int32), keep_dims=keep)
    for op in ["SparseReduceSum", "SparseReduceSumSparse"]:
        g.case(op, input_indices=ids, input_values=some(np.float32, (4,)), input_shape=shape, reduction_axes=i32(2), text=True)
        g.case(op, input_indices=np.zeros((0, 2), np.int64), input_values=np.array([], np.float32), input_shape=shape, reduction_axes=i32(1))
        g.case(op, input_indices=np.array([[0, 1, 2], [1, 0, 0], [1, 0, 3]], np.int64), input_values=some(np.float32, (3,)), input_shape=i64(2, 2, 4), reduction_axes=i32(1))
    other = np.array([[0, 0], [1, 0], [2, 2]], np.int64)
    for dtype in [np.float32, np.int32, np.int64]:
        a, b = some(dtype, (4,)), some(dtype, (3,), 5)
        both = dict(a_indices=ids, a_values=a, a_shape=shape, b_indices=other, b_values=b, b_shape=shape)
        g.case("SparseAdd", **both, thresh=np.array(0, dtype))
        g.case("SparseSparseMaximum", **both)
        g.case("SparseSparseMinimum", **both)
        for op in ["SparseDenseCwiseAdd", "SparseDenseCwiseMul", "SparseDenseCwiseDiv"]:
            for s in [(4, 3), (3,), (4, 1), ()]:
                d = np.abs(some(dtype, s, 3)) + 1
                g.case(op, sp_indices=ids, sp_values=a, sp_shape=shape, dense=d.astype(dtype))
        g.case("SparseTensorDenseAdd", a_indices=ids, a_values=a, a_shape=shape, b=some(dtype, (4, 3), 4))
    a = some(np.float32, (4,))
    g.case("SparseAdd", a_indices=ids, a_values=a, a_shape=shape, b_indices=ids, b_values=-a, b_shape=shape, thresh=np.float32(0.1))
    g.case("SparseAdd", a_indices=ids, a_values=a, a_shape=shape, b_indices=ids, b_values=a, b_shape=i64(4, 4), thresh=np.float32(0))
    g.case("SparseDenseCwiseMul", sp_indices=ids, sp_values=a, sp_shape=shape, dense=some(np.float32, (2, 3)))
    g.case("SparseTensorDenseAdd", a_indices=ids, a_values=a, a_shape=shape, b=some(np.float32, (3, 3)))
    g.case("SparseSoftmax", sp_indices=ids, sp_values=a, sp_shape=shape)
    g.case("SparseSoftmax", sp_indices=ids, sp_values=a.astype(np.float64), sp_shape=shape)
    # Sets.
    groups = np.array([[0, 0], [0, 1], [0, 3], [2, 0], [2, 2]], np.int64)
    others = np.array([[0, 0], [1, 0], [1, 1], [2, 1]], np.int64)
    for dtype in [np.int64, np.int32, object]:
        x = np.array([5, 3, 5, 9, -2], dtype) if dtype != object else texts("b", "a", "b", "z", "y")
        y = np.array([3, 7, 7, 9], dtype) if dtype != object else texts("a", "q", "q", "z")
        dense = np.array([[3, 5, 5], [7, 1, 7], [-2, 0, 9]], dtype) if dtype != object else texts(*"abbqcqyxz").reshape(3, 3)
        g.case("SetSize", set_indices=groups, set_values=x, set_shape=i64(4, 4))
        for kind in ["a-b", "b-a", "intersection", "union"]:
            g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=others, set2_values=y, set2_shape=i64(3, 2), set_operation=kind)
            g.case("DenseToSparseSetOperation", set1=dense, set2_indices=others, set2_values=y, set2_shape=i64(3, 2), set_operation=kind)
    x = i64(1, 2, 3, 4, 5)
    g.case("SetSize", set_indices=groups[::-1].copy(), set_values=x, set_shape=i64(4, 4))
    g.case("SetSize", set_indices=groups, set_values=x, set_shape=i64(2, 4))
    g.case("SetSize", set_indices=groups[:, :1].copy(), set_values=x, set_shape=i64(4))
    g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=others, set2_values=x[:4], set2_shape=i64(4, 2), set_operation="union")
    g.case("DenseToSparseSetOperation", set1=np.array([[1, 2]]), set2_indices=others, set2_values=x[:4], set2_shape=i64(3, 2), set_operation="union")
    g.case("SparseToSparseSetOperation", set1_indices=groups, set1_values=x, set1_shape=i64(3, 4), set2_indices=groups, set2_values=x, set2_shape=i64(3, 4), set_operation="what")
    # Counts.
    for dtype in [np.int32, np.int64]:
        values = np.array([1, 3, 3, 9, 0, 1], dtype)
        splits, sparse_ids = i64(0, 2, 2, 6), np.array([[0, 0], [0, 1], [2, 0], [2, 1], [2, 2], [2, 3]], np.int64)
        for out in [np.float32, np.int64]:
            for weights in [np.array([], out), np.array([1, 2, 3, 4, 5, 6], out)]:
                for binary in [False, True]:
                    if binary and len(weights):
                        continue
                    for limits in [dict(), dict(minlength=12), dict(maxlength=3)] if dtype == np.int64 and out == np.float32 else [dict()]:
                        kw = dict(binary_output=binary, **limits)
                        g.case("DenseCountSparseOutput", values=values, weights=weights, **kw)
                        g.case("DenseCountSparseOutput", values=values.reshape(2, 3), weights=weights.reshape(2, 3) if len(weights) else weights, **kw)
                        g.case("RaggedCountSparseOutput", splits=splits, values=values, weights=weights, **kw)
                        g.case("SparseCountSparseOutput", indices=sparse_ids, values=values, dense_shape=i64(3, 5), weights=weights, **kw)
                    g.case("RaggedBincount", splits=splits, values=values, size=np.array(4, dtype), weights=weights, binary_output=binary)
                    g.case("SparseBincount", indices=sparse_ids, values=values, dense_shape=i64(3, 5), size=np.array(10, dtype), weights=weights, binary_output=binary)
                    g.case("SparseBincount", indices=sparse_ids[:, 1:].copy(), values=values, dense_shape=i64(5), size=np.array(4, dtype), weights=weights, binary_output=binary)
    none = np.array([], np.float32)
    g.case("DenseCountSparseOutput", values=i32(1, -1), weights=none, binary_output=False)
    g.case("DenseCountSparseOutput", values=i32(1, 2), weights=np.array([1], np.float32), binary_output=False)
    g.case("DenseCountSparseOutput", values=np.int32(1), weights=none, binary_output=False)
    g.case("RaggedCountSparseOutput", splits=i64(0, 1), values=i32(1, 2), weights=none, binary_output=False)
    g.case("RaggedCountSparseOutput", splits=i64(1, 2), values=i32(1, 2), weights=none, binary_output=False)
    g.case("SparseCountSparseOutput", indices=np.array([[5, 0]], np.int64), values=i32(1), dense_shape=i64(3, 5), weights=none, binary_output=False)
    g.case("RaggedBincount", splits=i64(0, 2), values=i32(1, 2), size=np.int32(-1), weights=none)
    for op, more in [("RaggedBincount", {"size": np.int32(3)}), ("RaggedCountSparseOutput", {"binary_output": False})]:
        g.case(op, splits=i64(0), values=np.array([], np.int32), weights=none, **more)
        g.case(op, splits=np.array([], np.int64), values=np.array([], np.int32), weights=none, **more)
    g.case("RaggedBincount", splits=i64(0, 2), values=i32(1, -2), size=np.int32(5), weights=none)
    g.case("SparseBincount", indices=np.array([[0, 0]], np.int64), values=i32(7), dense_shape=i64(3, 5), size=np.int32(4), weights=none)
    # Edit distance.
    for dtype in [object, np.int64, np.int32]:
        make = lambda s: texts(*s) if dtype == object else np.array([ord(c) for c in s], dtype)  # noqa: E731
        for normalize in [True, False]:
            g.case("EditDistance", hypothesis_indices=np.array([[0, 0], [0, 1], [0, 2], [1, 0], [3, 0]], np.int64), hypothesis_values=make("abcxz"), hypothesis_shape=i64(4, 3),
                   truth_indices=np.array([[0, 0], [0, 1], [2, 0], [2, 1], [3, 0]], np.int64), truth_values=make("acqrz"), truth_shape=i64(4, 2), normalize=normalize)
    g.case("EditDistance", hypothesis_indices=np.array([[0]], np.int64), hypothesis_values=i64(1), hypothesis_shape=i64(4), truth_indices=np.array([[0]], np.int64), truth_values=i64(1), truth_shape=i64(4))


def csr_matrices(g):
    """Sparse matrices in rows: variants, so programs."""
    def values(dtype, shape, seed):
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        x = some(part, shape, seed)
        return (x + 1j * some(part, shape, seed + 1)).astype(dtype) if np.iscomplexobj(dtype()) else x

    def sparse(dtype, shape, seed=1):
        """Indices and values of some elements."""
        r = np.random.RandomState(seed)
        indices = np.argwhere(r.rand(*shape) < 0.4).astype(np.int64)
        return dict(indices=indices, values=values(dtype, (len(indices),), seed), dense_shape=i64(*shape))

    for dtype in [np.float32, np.float64, np.complex64, np.complex128]:
        kind = tf.as_dtype(dtype)
        for lead in [(), (2,)]:
            p = g.program(f"sparse matrices {kind.name} {lead}")
            a = p.step("SparseTensorToCSRSparseMatrix", static=True, **sparse(dtype, lead + (3, 4)))
            b = p.step("SparseTensorToCSRSparseMatrix", static=True, **sparse(dtype, lead + (4, 3), 2))
            dense = values(dtype, lead + (3, 4), 3)
            c = p.step("DenseToCSRSparseMatrix", static=True, dense_input=dense, indices=np.argwhere(dense.real > 0).astype(np.int64))
            for m in [a, b, c]:
                p.step("CSRSparseMatrixToDense", sparse_input=m, type=kind)
            p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=c, type=kind)
            p.step("SparseMatrixNNZ", sparse_matrix=a)
            p.step("CSRSparseMatrixComponents", static=True, csr_sparse_matrix=a, index=np.int32(len(lead)), type=kind)
            p.step("CSRSparseMatrixComponents", static=True, csr_sparse_matrix=a, index=np.int32(2), type=kind)
            for conjugate in [False, True]:
                t = p.step("SparseMatrixTranspose", input=a, conjugate=conjugate, type=kind)
                p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=t, type=kind)
            for turns, left, right in [({}, a, b), (dict(transpose_a=True), a, c), (dict(adjoint_b=True), a, c), (dict(adjoint_a=True, transpose_b=True), a, b)]:
                product = p.step("SparseMatrixSparseMatMul", a=left, b=right, type=kind, **turns)
                p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=product, type=kind)
            for turns, shape in [({}, (4, 2)), (dict(transpose_a=True), (3, 2)), (dict(adjoint_a=True, adjoint_b=True), (2, 3)), (dict(transpose_b=True, transpose_output=True), (2, 4)), (dict(transpose_output=True, conjugate_output=True), (4, 2)), (dict(conjugate_output=True), (4, 1))]:
                p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + shape, 5), **turns)
            p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + (3, 2), 5))
            p.step("SparseMatrixMatMul", a=a, b=values(dtype, lead + (1, 4, 2), 5))
            p.step("SparseMatrixSparseMatMul", a=a, b=a, type=kind)
    p = g.program("sparse matrices that are refused, or empty")
    f = np.float32
    for indices, count, shape in [([[0, 3]], 1, [2, 3]), ([[2, 0]], 1, [2, 3]), ([[-1, 0]], 1, [2, 3]), ([[5, 0, 0]], 1, [2, 2, 3]), (np.zeros((0, 2)), 0, [-2, 3])]:
        p.step("SparseTensorToCSRSparseMatrix", static=True, indices=np.array(indices, np.int64), values=np.ones(count, f), dense_shape=i64(*shape))
    for indices, shape in [([[0, 3]], (2, 3)), ([[2, 0]], (2, 3))]:
        p.step("DenseToCSRSparseMatrix", static=True, dense_input=np.ones(shape, f), indices=np.array(indices, np.int64))
    for shape in [(2, 3), (0, 3), (2, 0), (0, 2, 3), (2, 0, 3)]:
        p = g.program(f"sparse matrix without elements {shape}")
        m = p.step("SparseTensorToCSRSparseMatrix", static=True, indices=np.zeros((0, len(shape)), np.int64), values=np.zeros(0, f), dense_shape=i64(*shape))
        p.step("CSRSparseMatrixToDense", sparse_input=m, type=tf.float32)
        p.step("CSRSparseMatrixToSparseTensor", sparse_matrix=m, type=tf.float32)
        p.step("SparseMatrixNNZ", sparse_matrix=m)
        if shape == (2, 3):  # of nothing TensorFlow ends with a division by zero
            p.step("SparseMatrixMatMul", a=m, b=np.ones((3, 2), f))


def rows_and_sparse_texts(g):
    """Scripts, sparse tensors as strings, rows in place, nearest centres, tridiagonal systems."""
    g.case("UnicodeScript", input=np.array([[65, 0x3B1, 0x4E2D, 0x3042, 0x1F600], [-1, 0x110000, 0x10FFFF, 0xD800, 0x378]], np.int32))
    g.case("UnicodeScript", input=np.int32(1077))
    g.case("UnicodeScript", input=np.arange(0, 0x30000, 97, dtype=np.int32))
    g.case("UnicodeScript", input=np.zeros((0, 2), np.int32))
    for dtype in INT_TYPES + FLOAT_TYPES + [object, np.bool_, np.complex64]:
        for shape, indices in [((4, 3), [[0, 1], [0, 2], [2, 0]]), ((3, 2, 2), [[1, 0, 1], [2, 1, 1]]), ((2, 2), np.zeros((0, 2)))]:
            sparse = dict(sparse_indices=np.array(indices, np.int64), sparse_values=some(dtype, (len(indices),)), sparse_shape=i64(*shape))
            g.case("SerializeSparse", **sparse)
            g.case("SerializeManySparse", **sparse)
    ragged = dict(sparse_indices=np.array([[0], [2]], np.int64), sparse_values=some(np.float32, (2,)), sparse_shape=i64(4))
    g.case("SerializeSparse", **ragged)
    g.case("SerializeManySparse", **ragged)
    g.case("SerializeManySparse", **{**ragged, "sparse_values": some(np.float32, (3,))})
    text = lambda indices, values, shape: [tf.io.serialize_tensor(v).numpy() for v in (np.array(indices, np.int64).reshape(-1, len(shape)), values, i64(*shape))]
    for dtype in INT_TYPES + FLOAT_TYPES + [object, np.bool_, np.complex64]:
        one = text([[0, 1], [3, 2]], some(dtype, (2,)), (4, 3))
        two = text([[1, 4]], some(dtype, (1,)), (2, 5))
        none = text([], some(dtype, (0,)), (1, 1))
        of = tf.string if dtype is object else tf.as_dtype(dtype)
        g.case("DeserializeSparse", serialized_sparse=np.array(one, object), dtype=of)
        g.case("DeserializeSparse", serialized_sparse=np.array([[one, two], [none, one]], object), dtype=of)
        g.case("DeserializeManySparse", serialized_sparse=np.array([one, two, none], object), dtype=of)
        g.case("DeserializeManySparse", serialized_sparse=np.array([none], object), dtype=of)
    flat = text([[1]], some(np.float32, (1,)), (2,))
    other = text([[0, 1]], some(np.float32, (1,)), (4, 3))
    for bad in [np.array([flat, other], object), np.array(flat, object), np.array([["a", "b", "c"]], object), np.array([flat[:2]], object), np.zeros((0, 3), object), np.array([flat[::-1]], object)]:
        g.case("DeserializeManySparse", serialized_sparse=bad, dtype=tf.float32)
    g.case("DeserializeManySparse", serialized_sparse=np.array([flat], object), dtype=tf.int32)
    for dtype in INT_TYPES + FLOAT_TYPES:
        for op in ["InplaceUpdate", "InplaceAdd", "InplaceSub"]:
            g.case(op, x=some(dtype, (4, 2)), i=i32(1, -1, 5), v=some(dtype, (3, 2), seed=2))
    g.case("InplaceUpdate", x=some(np.float32, (3,)), i=i32(2, 2), v=some(np.float32, (2,), seed=2))
    for op in ["InplaceUpdate", "InplaceAdd"]:
        g.case(op, x=some(np.float32, (3, 0)), i=i32(1), v=some(np.float32, (1, 0)))
        for bad in [dict(i=np.int32(1)), dict(v=some(np.float32, (3,))), dict(v=some(np.float32, (2, 3))), dict(i=i32(1))]:
            g.case(op, **{**dict(x=some(np.float32, (4, 2)), i=i32(1, 2), v=some(np.float32, (2, 2))), **bad})
    points, centers = some(np.float32, (5, 3)), some(np.float32, (4, 3), seed=2)
    for k in [1, 2, 4, 9, 0]:
        g.case("NearestNeighbors", points=points, centers=centers, k=np.int64(k), tolerance=1e-5)
    for bad in [dict(points=points[0]), dict(centers=centers[:, :2]), dict(k=i64(1)), dict(points=points[:0]), dict(centers=centers[:0])]:
        g.case("NearestNeighbors", **{**dict(points=points, centers=centers, k=np.int64(2)), **bad})
    for dtype in [np.float32, np.float64]:
        for shape in [(5,), (2, 3), (1,)]:
            batch, n = shape[:-1], shape[-1]
            d = some(dtype, batch + (3, n))
            x = some(dtype, batch + (n, 2), seed=3)
            for pivoting in [True, False]:
                g.case("TridiagonalSolve", diagonals=d, rhs=x, partial_pivoting=pivoting, tolerance=1e-4 if dtype == np.float32 else 1e-10)
            g.case("TridiagonalMatMul", superdiag=d[..., :1, :], maindiag=d[..., 1:2, :], subdiag=d[..., 2:, :], rhs=x)
        g.case("TridiagonalSolve", diagonals=np.zeros((3, 3), dtype), rhs=np.ones((3, 1), dtype))
        g.case("TridiagonalSolve", diagonals=np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype), rhs=np.ones((3, 1), dtype), partial_pivoting=False)
        g.case("TridiagonalSolve", diagonals=np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]], dtype), rhs=np.ones((3, 1), dtype))
    x = some(np.float32, (3, 2))
    for bad in [dict(diagonals=x), dict(rhs=x[:2]), dict(rhs=x[None])]:
        g.case("TridiagonalSolve", **{**dict(diagonals=some(np.float32, (3, 3)), rhs=x), **bad})


FAMILIES = {
    "sparse": sparse,
    "sparse-more": sparse_more,
    "csr-matrices": csr_matrices,
    "rows-and-sparse-texts": rows_and_sparse_texts,
}
