"""Matrices: parts, products, factors, solutions, functions."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, some


def matrix_parts(g):
    for dtype in [np.float32, np.int64, np.bool_]:
        x = some(dtype, (2, 3, 4))
        for lower, upper in [(0, 0), (-1, 0), (1, -1), (1, 2), (-1, -1)]:
            g.case("MatrixBandPart", input=x, num_lower=np.int64(lower), num_upper=np.int64(upper))
        g.case("MatrixDiag", diagonal=some(dtype, (2, 3)))
        g.case("MatrixDiagPart", input=x)
        g.case("MatrixSetDiag", input=x, diagonal=some(dtype, (2, 3), 5))
        if dtype != np.bool_:
            g.case("Diag", diagonal=some(dtype, (2, 3)))
            g.case("DiagPart", input=some(dtype, (2, 3, 2, 3)))
    x = some(np.float32, (2, 3, 4))
    g.case("MatrixBandPart", input=x, num_lower=np.int64(4), num_upper=np.int64(0))
    for k in [[0], [1], [-1], [-1, 1], [-2, -1], [0, 3], [1, 0], [5, 6], [0, 1, 2]]:
        for align in ["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"] if k == [-1, 1] else ["RIGHT_LEFT"]:
            g.case("MatrixDiagPartV3", input=x, k=np.array(k, np.int32), padding_value=np.float32(9), align=align)
            count = k[-1] - k[0] + 1
            longest = min(3 + min(k[-1], 0), 4 - max(k[0], 0))
            if len(k) < 3 and count > 0 and longest > 0:
                d = some(np.float32, (2, longest) if count == 1 else (2, count, longest), 3)
                g.case("MatrixSetDiagV3", input=x, diagonal=d, k=np.array(k, np.int32), align=align)
                for rows, columns in [(-1, -1), (3, 4), (9, 9)]:
                    g.case("MatrixDiagV3", diagonal=d, k=np.array(k, np.int32), num_rows=np.int32(rows), num_cols=np.int32(columns), padding_value=np.float32(7), align=align)
        g.case("MatrixDiagPartV2", input=x, k=np.array(k, np.int32), padding_value=np.float32(9))
    d = some(np.float32, (2, 3))
    g.case("MatrixDiagV2", diagonal=d, k=i32(1), num_rows=np.int32(-1), num_cols=np.int32(-1), padding_value=np.float32(0))
    g.case("MatrixSetDiagV2", input=x, diagonal=d, k=i32(0))
    g.case("MatrixSetDiagV2", input=x, diagonal=d, k=i32(2))


def matrix_solve(g):
    for dtype, t in [(np.float32, 2e-4), (np.float64, 1e-10)]:
        for shape in [(3, 3), (1, 1), (2, 4, 4), (2, 1, 3, 3), (0, 0), (2, 0, 0), (0, 3, 3)]:
            a = some(dtype, shape, 3) + 4 * np.eye(shape[-1], dtype=dtype)
            b = some(dtype, shape[:-1] + (2,), 4)
            g.case("Cholesky", t, input=(a @ np.swapaxes(a, -1, -2)).astype(dtype))
            g.case("MatrixDeterminant", t, input=a)
            g.case("LogMatrixDeterminant", t, input=-a)
            g.case("Lu", t, input=a, output_idx_type=tf.int32)
            for adjoint in [False, True]:
                g.case("MatrixInverse", t, input=a, adjoint=adjoint)
                g.case("MatrixSolve", t, matrix=a, rhs=b, adjoint=adjoint)
                for lower in [False, True]:
                    g.case("MatrixTriangularSolve", t, matrix=a, rhs=b, lower=lower, adjoint=adjoint)
        for shape in [(4, 2), (2, 4), (2, 3, 3)]:
            for fast, l2 in [(True, 0.5), (True, 0.0), (False, 0.0)]:
                g.case("MatrixSolveLs", 50 * t, matrix=some(dtype, shape, 3), rhs=some(dtype, shape[:-1] + (2,), 4), l2_regularizer=np.float64(l2), fast=fast)
        g.case("MatrixTriangularSolve", t, matrix=some(dtype, (2, 1, 3, 3), 5), rhs=some(dtype, (4, 3, 2), 6))
        g.case("Lu", t, input=some(dtype, (2, 4, 4), 8), output_idx_type=tf.int64)
    for dtype in [np.float32, np.float64, np.int32, np.int64, np.int16, np.uint8]:
        g.case("Cross", 1e-5, a=some(dtype, (2, 3)), b=some(dtype, (2, 3), 2))
    x = some(np.float32, (3, 3))
    singular = np.ones((2, 2), np.float32)
    for op in ["Cholesky", "MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu"]:
        for value in [x[0], x[:2]] + ([singular, np.zeros((2, 2), np.float32)] if op != "Cholesky" else []):
            g.case(op, input=value)
    for op in ["MatrixSolve", "MatrixTriangularSolve"]:
        for matrix, rhs in [(x, x[:2]), (x[:2], x[:2]), (x, x[0]), (np.zeros((3, 3), np.float32), x), (np.stack([x, x]), np.stack([x, x, x]))]:
            g.case(op, matrix=matrix, rhs=rhs)
    g.case("MatrixSolve", matrix=singular, rhs=singular)
    g.case("Cross", a=x[:, :2], b=x[:, :2])
    g.case("Cross", a=x, b=x[0])


def matrix_factors(g):
    for dtype, t in [(np.float32, 2e-5), (np.float64, 1e-11)]:
        for shape in [(3, 3), (4, 2), (2, 4), (2, 3, 3), (1, 1), (1, 3), (3, 1), (0, 3, 3)]:
            a = some(dtype, shape, 3)
            for full in [False, True]:
                g.case("Qr", t, input=a, full_matrices=full)
                for uv in [False, True]:
                    g.case("Svd", t, only=[0], input=a, full_matrices=full, compute_uv=uv)
            if shape[-1] == shape[-2]:
                for vectors in [False, True]:
                    g.case("SelfAdjointEigV2", t, only=[0], input=a + np.swapaxes(a, -1, -2), compute_v=vectors)
        g.case("Svd", t, only=[0], input=np.ones((3, 3), dtype))
        g.case("SelfAdjointEigV2", t, only=[0], input=np.arange(9).astype(dtype).reshape(3, 3))
    x = some(np.float32, (3,))
    for op in ["Qr", "Svd", "SelfAdjointEigV2"]:
        g.case(op, input=x)
    g.case("SelfAdjointEigV2", input=some(np.float32, (2, 3)))


def complex_matrices(g):
    for dtype, t in [(np.complex64, 2e-4), (np.complex128, 1e-10)]:
        part = np.float32 if dtype == np.complex64 else np.float64
        for shape in [(3, 3), (1, 1), (2, 2, 2), (0, 0), (4, 2), (2, 4)]:
            a = (some(part, shape, 3) + 1j * some(part, shape, 4)).astype(dtype)
            b = (some(part, shape[:-1] + (2,), 5) - 1j * some(part, shape[:-1] + (2,), 6)).astype(dtype)
            for full in [False, True]:
                g.case("Qr", t, input=a, full_matrices=full)
                for op in ["Svd", "BatchSvd"]:
                    g.case(op, t, only=[0], input=a, full_matrices=full, compute_uv=full)
            g.case("MatrixSolveLs", 50 * t, matrix=a, rhs=b, l2_regularizer=np.float64(0.5), fast=True)
            if shape[-1] != shape[-2]:
                continue
            own = (a + 4 * np.eye(shape[-1])).astype(dtype)
            adjoint = np.conj(np.swapaxes(a, -1, -2))
            g.case("Cholesky", t, input=(own @ np.conj(np.swapaxes(own, -1, -2))).astype(dtype))
            g.case("LogMatrixDeterminant", t, input=own)
            g.case("Lu", t, input=a, output_idx_type=tf.int64)
            g.case("SelfAdjointEigV2", t, only=[0], input=(a + adjoint).astype(dtype), compute_v=True)
            g.case("SelfAdjointEigV2", t, only=[0], input=a, compute_v=False)
            g.case("MatrixDeterminant", t, input=own)
            for adjoint in [False, True]:
                g.case("MatrixInverse", t, input=own, adjoint=adjoint)
                g.case("MatrixSolve", t, matrix=own, rhs=b, adjoint=adjoint)
                for lower in [False, True]:
                    g.case("MatrixTriangularSolve", t, matrix=own, rhs=b, lower=lower, adjoint=adjoint)
        d = (some(part, (2, 3, 5), 7) + 1j * some(part, (2, 3, 5), 8)).astype(dtype)
        x = (some(part, (2, 5, 2), 9) + 1j * some(part, (2, 5, 2), 10)).astype(dtype)
        for pivoting in [False, True]:
            g.case("TridiagonalSolve", 50 * t, diagonals=d, rhs=x, partial_pivoting=pivoting)
        g.case("TridiagonalMatMul", t, superdiag=d[:, :1], maindiag=d[:, 1:2], subdiag=d[:, 2:], rhs=x)
    singular = np.array([[1, 1j], [1j, -1]], np.complex64)
    for op in ["MatrixInverse", "MatrixDeterminant", "LogMatrixDeterminant", "Lu"]:
        for value in [np.zeros((2, 2), np.complex64), singular[:1]]:
            g.case(op, input=value)
    g.case("MatrixSolve", matrix=singular, rhs=singular)


def matrix_functions(g):
    """Eigenvalues of unequal magnitudes, and functions of matrices."""
    for dtype, t in [(np.float32, 1e-4), (np.float64, 1e-10), (np.complex64, 1e-4), (np.complex128, 1e-10)]:
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        for shape in [(3, 3), (1, 1), (2, 4, 4), (0, 0), (0, 3, 3)]:
            a = (some(part, shape, 3) / 3 + (1j * some(part, shape, 4) / 3 if np.iscomplexobj(dtype()) else 0)).astype(dtype)
            # Eigenvalues that are real and far apart.
            own = (a / 10 + np.diag(np.arange(1, shape[-1] + 1))).astype(dtype)
            for vectors in [False, True]:
                g.case("Eig", t, only=[0], input=own, compute_v=vectors, Tout=tf.complex64 if part == np.float32 else tf.complex128)
            g.case("MatrixExponential", t, input=a)
            g.case("MatrixExponential", t, input=4 * a)
            g.case("MatrixSquareRoot", t, input=own)
            if np.iscomplexobj(a):
                g.case("Eig", t, only=[0], input=a, compute_v=True, Tout=dtype)
                g.case("MatrixSquareRoot", t, input=a)
                g.case("MatrixLogarithm", t, input=a)
                g.case("MatrixLogarithm", t, input=own)
        for value in [np.zeros((2, 2), dtype), np.eye(2, dtype=dtype), np.array([[1, 1], [0, 1]], dtype), np.array([[0, 1], [-1, 0]], dtype), np.diag(np.array([4, -9], dtype))]:
            g.case("MatrixExponential", t, input=value)
            if value.any():
                g.case("MatrixSquareRoot", t, input=value)
            if np.iscomplexobj(value) and value.any():
                g.case("MatrixLogarithm", t, input=value)
    for dtype in [np.float32, np.float64]:
        for n in [2, 3, 5, 8, 12]:
            g.case("Eig", 1e-3 if dtype == np.float32 else 1e-10, only=[0], input=some(dtype, (n, n), n), Tout=tf.complex64 if dtype == np.float32 else tf.complex128)
        g.case("Eig", 1e-6, only=[0], input=np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype), Tout=tf.complex64 if dtype == np.float32 else tf.complex128)
    x = some(np.float32, (2, 3))
    nan = np.full((2, 2), np.nan, np.float32)
    for value in [x, x[0], nan]:
        g.case("Eig", input=value, Tout=tf.complex64)
        g.case("MatrixExponential", input=value)
        g.case("MatrixSquareRoot", input=value)
        g.case("MatrixLogarithm", input=value.astype(np.complex64))


def batch_matrices(g):
    for dtype, t in [(np.float32, 2e-4), (np.float64, 1e-10)]:
        for shape in [(3, 3), (2, 4, 4), (2, 0, 0), (0, 3, 3)]:
            a = some(dtype, shape, 3) + 4 * np.eye(shape[-1], dtype=dtype)
            b = some(dtype, shape[:-1] + (2,), 4)
            symmetric = (a @ np.swapaxes(a, -1, -2)).astype(dtype)
            g.case("BatchCholesky", t, input=symmetric)
            g.case("BatchMatrixDeterminant", t, input=a)
            g.case("BatchMatrixInverse", t, input=a)
            g.case("BatchMatrixSolve", t, matrix=a, rhs=b)
            g.case("BatchMatrixSolveLs", 50 * t, matrix=a[..., :2], rhs=b, l2_regularizer=np.float64(0.5))
            g.case("BatchMatrixTriangularSolve", t, matrix=a, rhs=b)
            g.case("BatchSvd", t, only=[0], input=a)
            g.case("BatchSelfAdjointEigV2", t, only=[0], input=symmetric)
        # Vectors of a diagonal matrix have no sign to choose.
        d = np.diag(np.array([3, 1, 2], dtype))
        for op in ["SelfAdjointEig", "BatchSelfAdjointEig"]:
            g.case(op, t, input=d)
            g.case(op, t, input=np.stack([d, 2 * d]))
            g.case(op, t, input=d[:0, :0])
            g.case(op, input=d[0])
            g.case(op, input=d[:2])
    for dtype in [np.float32, np.int64, np.complex64, bool]:
        x = some(dtype, (2, 3, 3)) if dtype != bool else some(np.int64, (2, 3, 3)) > 0
        g.case("BatchMatrixBandPart", input=x.astype(np.int64) if dtype == bool else x, num_lower=np.int64(1), num_upper=np.int64(0))
        g.case("BatchMatrixDiag", diagonal=x[0])
        g.case("BatchMatrixDiagPart", input=x)
        g.case("BatchMatrixSetDiag", input=x, diagonal=x[:, 0])
    x = some(np.float32, (3,))
    for op in ["BatchCholesky", "BatchMatrixInverse", "BatchMatrixDeterminant", "BatchSvd", "BatchSelfAdjointEigV2", "BatchMatrixDiagPart"]:
        g.case(op, input=x)


def banded_triangles(g):
    for dtype, t in [(np.float32, 1e-4), (np.float64, 1e-11), (np.complex64, 1e-4), (np.complex128, 1e-11)]:
        part = np.float32 if dtype in (np.float32, np.complex64) else np.float64
        make = lambda shape, seed: (some(part, shape, seed) + (1j * some(part, shape, seed + 1) if np.iscomplexobj(dtype()) else 0)).astype(dtype)
        for bands, rhs in [((2, 4), (4, 1)), ((1, 3), (3, 2)), ((3, 4), (2, 4, 1)), ((2, 1, 2, 3), (1, 2, 3, 1))]:
            a = make(bands, 3)
            a[..., [0, -1], :] += 5
            for lower in [False, True]:
                for adjoint in [False, True]:
                    g.case("BandedTriangularSolve", t, matrix=a, rhs=make(rhs, 5), lower=lower, adjoint=adjoint)
    x = some(np.float32, (2, 4))
    for matrix, rhs in [(x[:0], x), (x, x[:, :0]), (x, x), (x[0], x), (np.zeros((2, 2), np.float32), x), (np.stack([x] * 2), np.stack([x.T] * 3))]:
        g.case("BandedTriangularSolve", matrix=matrix, rhs=rhs)


FAMILIES = {
    "matrix-parts": matrix_parts,
    "matrix-solve": matrix_solve,
    "matrix-factors": matrix_factors,
    "complex-matrices": complex_matrices,
    "matrix-functions": matrix_functions,
    "batch-matrices": batch_matrices,
    "banded-triangles": banded_triangles,
}
