"""Random numbers, which TensorFlow promises by seed, and generators that keep state."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, some


def random(g):
    for op in ["RandomUniform", "RandomStandardNormal", "TruncatedNormal"]:
        for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
            p = g.program(f"{op} {dtype.name}")
            for n in [5, 5, 3]:
                # One node that runs several times goes on where it stopped.
                p.again(op, n == 5 and p.entry["steps"] == [], shape=i32(n), dtype=dtype, seed=7, seed2=2**40 + 3)
    for dtype in [np.int32, np.int64]:
        p = g.program(f"RandomUniformInt {np.dtype(dtype).name}")
        for n in range(2):
            p.again("RandomUniformInt", n == 0, shape=i32(2, 3), minval=np.array(-5, dtype), maxval=np.array(1000, dtype), seed=87654321, seed2=1)
    g.case("RandomUniformInt", shape=i32(2), minval=np.int32(5), maxval=np.int32(5), seed=1)
    for shape in [(7,), (4, 2), (), (1, 3)]:
        for dtype in [np.float32, object]:
            g.case("RandomShuffle", value=some(dtype, shape), seed=3, seed2=4)
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0001]]))
    for dtype in [np.float32, np.float64]:
        for out in [tf.int32, tf.int64]:
            g.case("Multinomial", logits=logits.astype(dtype), num_samples=np.int32(9), seed=5, seed2=6, output_dtype=out)
            g.case("StatelessMultinomial", logits=logits.astype(dtype), num_samples=np.int32(5), seed=i64(5, -6), output_dtype=out)
    for samples in [1, 4, 5]:
        p = g.program(f"Multinomial of {samples}")
        for n in range(3):
            p.again("Multinomial", n == 0, logits=logits.astype(np.float32), num_samples=np.int32(samples), seed=7, seed2=8)
    p = g.program("RandomShuffle")
    for n in range(3):
        p.again("RandomShuffle", n == 0, value=some(np.float32, (9,)), seed=3, seed2=4)
    g.case("Multinomial", logits=np.array([[np.nan, -np.inf, 0.5, np.inf]], np.float32), num_samples=np.int32(5), seed=1, seed2=1)
    g.case("Multinomial", logits=logits.astype(np.float32)[0], num_samples=np.int32(5), seed=1)
    g.case("Multinomial", logits=logits.astype(np.float32), num_samples=np.int32(-1), seed=1)
    key, counter = np.array([2**63 + 5], np.uint64), np.array([2**64 - 1, 77], np.uint64)
    v2 = dict(key=key, counter=counter, alg=np.int32(1))
    for seed in [i64(1, 2), i64(-1, 2**62 + 5), i32(3, -4)]:
        for op in ["StatelessRandomUniform", "StatelessRandomNormal", "StatelessTruncatedNormal"]:
            for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
                if seed.dtype == np.int64 and (seed[0] == 1 or dtype == tf.float32):
                    g.case(op, shape=i32(2, 5), seed=seed, dtype=dtype, tolerance=1e-5)
                if seed.dtype == np.int32:
                    g.case(op + "V2", shape=i64(7), dtype=dtype, tolerance=1e-5, **v2)
        g.case("StatelessRandomGetKeyCounter", seed=seed)
        g.case("StatelessRandomGetKeyCounterAlg", seed=seed)
        for dtype in [np.int32, np.int64]:
            bounds = dict(minval=np.array(-9, dtype), maxval=np.array(2**30, dtype))
            g.case("StatelessRandomUniformInt", shape=i32(5), seed=seed, **bounds)
            g.case("StatelessRandomUniformIntV2", shape=i32(5), **v2, **bounds)
        for dtype in [tf.int32, tf.int64, tf.uint32, tf.uint64]:
            g.case("StatelessRandomUniformFullInt", shape=i32(5), seed=seed, dtype=dtype)
            g.case("StatelessRandomUniformFullIntV2", shape=i32(5), dtype=dtype, **v2)
    g.case("StatelessRandomGetAlg")
    g.case("StatelessRandomUniform", shape=i32(2), seed=i64(1, 2, 3), dtype=tf.float32)
    g.case("StatelessRandomUniformInt", shape=i32(2), seed=i64(1, 2), minval=np.int32(3), maxval=np.int32(2))
    g.case("StatelessRandomUniform", shape=i32(0, 3), seed=i64(1, 2), dtype=tf.float32)


def random_more(g):
    """Crops, candidates, bounded normal and binomial numbers, shuffled indices: by seeds."""
    for dtype in [np.float32, np.int32, np.int64, np.uint8]:
        p = g.program(f"RandomCrop {np.dtype(dtype).name}", "RandomCrop")
        for n in range(3):
            p.again("RandomCrop", n == 0, image=some(dtype, (5, 6, 2)), size=i64(3, 2), seed=7, seed2=8)
    for size in [[5, 6], [5, 2], [6, 2], [5, 7], [1], [0, 0]]:
        g.case("RandomCrop", image=some(np.float32, (5, 6, 1)), size=i64(*size), seed=7)
    g.case("RandomCrop", image=some(np.float32, (5, 6)), size=i64(1, 1), seed=7)
    boxes = np.array([[[0.1, 0.2, 0.6, 0.9], [0.0, 0.0, 0.3, 0.3]]], np.float32)
    for dtype in [np.int32, np.int64, np.uint8, np.int16]:
        size = np.array([48, 64, 3], dtype)
        p = g.program(f"SampleDistortedBoundingBox {np.dtype(dtype).name}")
        for n in range(3):
            p.again("SampleDistortedBoundingBox", n == 0, image_size=size, bounding_boxes=boxes, seed=5, seed2=6, min_object_covered=0.3)
        p = g.program(f"SampleDistortedBoundingBoxV2 {np.dtype(dtype).name}")
        for n in range(3):
            p.again("SampleDistortedBoundingBoxV2", n == 0, image_size=size, bounding_boxes=boxes, min_object_covered=np.float32(0.1), seed=5, seed2=7, area_range=[0.1, 0.5])
    for seed in [i64(1, 2), i32(3, -4), i64(7, 7), i64(8, 2**40), i64(9, 1), i64(10, 0)]:
        for covered, areas, ratios in [(0.1, [0.05, 1.0], [0.75, 1.33]), (0.9, [0.5, 1.0], [0.5, 2.0]), (0.0, [0.01, 0.02], [1.0, 1.0])]:
            g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes, min_object_covered=np.float32(covered), seed=seed, area_range=areas, aspect_ratio_range=ratios, max_attempts=20)
    one = dict(min_object_covered=np.float32(0.1), seed=i64(1, 2))
    g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes[:, :0], use_image_if_no_bounding_boxes=True, **one)
    for size, box in [(i32(37, 53, 3), boxes[:, :0]), (i32(37, 53), boxes), (i32(37, 53, 3), boxes[0]), (i32(37, 53, 3), boxes * 2), (i32(-1, 53, 3), boxes), (i32(0, 0, 3), boxes), (i32(1, 1, 3), boxes)]:
        g.case("StatelessSampleDistortedBoundingBox", image_size=size, bounding_boxes=box, **one)
    for more in [dict(area_range=[0.0, 1.0]), dict(area_range=[0.5, 1.5]), dict(aspect_ratio_range=[1.0]), dict(max_attempts=0)]:
        g.case("StatelessSampleDistortedBoundingBox", image_size=i32(37, 53, 3), bounding_boxes=boxes, **one, **more)
    for op in ["UniformCandidateSampler", "LogUniformCandidateSampler"]:
        for unique, most in [(True, 40), (False, 5), (True, 8), (False, 2**40), (True, 1000000)]:
            p = g.program(f"{op} {unique} {most}")
            for n in range(2):
                p.again(op, n == 0, true_classes=np.array([[1, 2], [3, 4]], np.int64), num_true=2, num_sampled=7, unique=unique, range_max=most, seed=3, seed2=4)
        for classes, unique, most in [([[1]], True, 6), ([[7]], False, 7), ([[-1]], False, 7), ([[1, 2]], False, 7), ([1], False, 7)]:
            g.case(op, true_classes=np.array(classes, np.int64), num_true=1, num_sampled=7, unique=unique, range_max=most, seed=3)
    g.case("AllCandidateSampler", true_classes=np.array([[1, 2], [3, 4]], np.int64), num_true=2, num_sampled=6, unique=True)
    g.case("AllCandidateSampler", true_classes=np.array([[1, 9]], np.int64), num_true=2, num_sampled=6, unique=True)
    for classes, sampled in [([[1, 2], [3, 1]], [3, 5, 1]), ([[1, 2]], [4, 4]), ([[2, 2]], [2, 0, 2])]:
        g.case("ComputeAccidentalHits", true_classes=np.array(classes, np.int64), sampled_candidates=i64(*sampled), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=np.zeros((0, 2), np.int64), sampled_candidates=i64(1), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=i64(1, 2), sampled_candidates=i64(1), num_true=2)
    g.case("ComputeAccidentalHits", true_classes=np.zeros((1, 2), np.int64), sampled_candidates=np.zeros((1, 2), np.int64), num_true=2)
    for dtype, t in [(np.float32, 1e-5), (np.float64, 1e-11), (np.float16, 5e-3)]:
        inf = np.inf
        for mean, deviation, low, high in [(0, 1, -2, 2), (1, 2, 3, inf), (0, 1, 4, 5), (-3, 0.5, -inf, -4), (0, 1, 0.1, 0.2), (0, 1, 3, inf), (5, 1, -1, 4)]:
            own = [np.array(v, dtype) for v in (mean, deviation, low, high)]
            g.case("StatelessParameterizedTruncatedNormal", t, shape=i32(9), seed=i64(5, 6), means=own[0], stddevs=own[1], minvals=own[2], maxvals=own[3])
            p = g.program(f"ParameterizedTruncatedNormal {np.dtype(dtype).name} {mean} {low}")
            for n in range(2):
                p.again("ParameterizedTruncatedNormal", n == 0, shape=i32(2, 3), means=own[0], stdevs=own[1], minvals=own[2], maxvals=own[3], seed=5, seed2=6)
        many = dict(means=np.array([0, 5, -1], dtype), minvals=np.array([[-1], [2]], dtype), maxvals=dtype(7))
        g.case("StatelessParameterizedTruncatedNormal", t, shape=i64(4, 2, 3), seed=i64(5, 6), stddevs=dtype(2), **many)
        g.case("ParameterizedTruncatedNormal", t, shape=i32(3, 4), means=many["means"], stdevs=np.array([1, 2, 1], dtype), minvals=dtype(-2), maxvals=dtype(6), seed=1)
    f = np.float32
    for low, high, deviation, shape in [(2, 1, 1, [3]), (-np.inf, np.inf, 1, [3]), (-1, 1, -1, [3]), (-1, 1, 1, [0]), (-1, 1, 1, []), (-1, 1, 1, [-2])]:
        g.case("StatelessParameterizedTruncatedNormal", 1e-5, shape=np.array(shape, np.int32), seed=i64(5, 6), means=f(0), stddevs=f(deviation), minvals=f(low), maxvals=f(high))
        g.case("ParameterizedTruncatedNormal", 1e-5, shape=np.array(shape, np.int32), means=f(0), stdevs=f(deviation), minvals=f(low), maxvals=f(high), seed=4)
    g.case("StatelessParameterizedTruncatedNormal", shape=i32(2, 2), seed=i64(5, 6), means=np.zeros(3, f), stddevs=f(1), minvals=f(0), maxvals=f(1))
    for dtype in [np.float32, np.float64, np.float16]:
        counts, probs = np.array([0, 1, 10, 50, 1000, 7], dtype), np.array([0.5, 0.0, 0.3, 0.5, 0.9, 1.0], dtype)
        for out in [tf.int32, tf.int64, tf.float32, tf.float64, tf.float16]:
            g.case("StatelessRandomBinomial", shape=i32(3, 6), seed=i64(1, 2), counts=counts, probs=probs, dtype=out)
        g.case("StatelessRandomBinomial", shape=i64(6, 6), seed=i64(3, 4), counts=counts[:, None], probs=probs, dtype=tf.float64)
    for shape in [[6], [2], [0, 6], []]:
        g.case("StatelessRandomBinomial", shape=np.array(shape, np.int32), seed=i64(1, 2), counts=np.ones(6), probs=np.full(6, 0.5), dtype=tf.int32)
    g.case("StatelessRandomBinomial", shape=i32(3), seed=i64(1, 2), counts=np.float64(5), probs=np.float64(np.nan), dtype=tf.float32)
    for state in [[1, 5, -1, 7], [1, -1, -1, 2**40], [3, 0, 0, 0], [2, 0, 0, 0], [9, 0, 0, 0], [1, 2]]:
        p = g.program(f"first form of a generator's state {state}", "StatefulStandardNormal")
        v = p.step("VarHandleOp", dtype=tf.int64, shape=[len(state)], shared_name=f"first form {state}")
        p.step("AssignVariableOp", resource=v, value=i64(*state))
        for dtype in [tf.float32, tf.float64, tf.float16]:
            p.step("StatefulStandardNormal", resource=v, shape=i32(5), dtype=dtype)
        p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p = g.program("binomial numbers of a generator")
    v = p.step("VarHandleOp", dtype=tf.int64, shape=[3], shared_name="binomial")
    p.step("AssignVariableOp", resource=v, value=i64(5, 6, 7))
    for algorithm in [1, 1, 2]:
        p.step("StatefulRandomBinomial", resource=v, algorithm=np.int64(algorithm), shape=i32(2, 3), counts=np.array([5, 100, 40], np.float32), probs=np.float32(0.4), dtype=tf.int64)
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    for dtype in [np.int32, np.int64, np.uint32, np.uint64]:
        seed = np.array([11, 2**31 - 7, 3], dtype)
        g.case("RandomIndexShuffle", index=np.arange(10, dtype=dtype), seed=seed, max_index=np.array(9, dtype))
        g.case("RandomIndexShuffle", index=np.array(3, dtype), seed=seed, max_index=np.array(2**20 + 5, dtype), rounds=8)
        g.case("RandomIndexShuffle", index=np.array([3, 0], dtype), seed=np.stack([seed, seed[::-1]]), max_index=np.array([7, 0], dtype))
    g.case("RandomIndexShuffle", index=np.int64(2**40), seed=i64(1, 2, 3), max_index=np.int64(2**45 + 1))
    g.case("RandomIndexShuffle", index=np.uint64(2**63 + 9), seed=i64(1, 2, 3), max_index=np.uint64(2**64 - 1))
    for index, seed, most in [(i64(1, 2), i64(1, 2), np.int64(5)), (i64(1, 2), i64(1, 2, 3), i64(5, 5, 5)), (np.int64(-1), i64(1, 2, 3), np.int64(5)), (np.int64(6), i64(1, 2, 3), np.int64(5)), (np.int64(0), i64(1, 2, 3), np.int64(-5)), (np.zeros((1, 1), np.int64), i64(1, 2, 3), np.int64(5))]:
        g.case("RandomIndexShuffle", index=index, seed=seed, max_index=most)


def random_rates(g):
    """Gamma and Poisson numbers, by seeds."""
    key, counter = np.array([2**63 + 5], np.uint64), np.array([2**64 - 1, 77], np.uint64)
    for dtype in [np.float32, np.float64, np.float16]:
        alpha = np.array([0.1, 0.9, 1.0, 1.5, 30.0], dtype)
        rate = np.array([0.0, 0.5, 9.5, 10.0, 45.0, 900.0], dtype)
        for shape in [(5,), (3, 5), (2, 2, 5)]:
            g.case("StatelessRandomGammaV2", shape=i32(*shape), seed=i64(5, -6), alpha=alpha, tolerance=1e-5)
            g.case("StatelessRandomGammaV3", shape=i32(*shape), key=key, counter=counter, alg=np.int32(1), alpha=alpha, tolerance=1e-5)
        for out in [tf.int32, tf.int64, tf.float32]:
            g.case("StatelessRandomPoisson", shape=i32(2), seed=i64(1, 2), lam=np.array(np.inf, dtype), dtype=out)
        for out in [tf.int32, tf.int64, tf.float32, tf.float64, tf.float16]:
            g.case("StatelessRandomPoisson", shape=i32(7, 6), seed=i64(1, 2), lam=rate, dtype=out)
        for op, parameter, more in [("RandomGamma", dict(alpha=alpha), {}), ("RandomPoissonV2", dict(rate=rate), dict(dtype=tf.int64))]:
            p = g.program(f"{op} {np.dtype(dtype).name}")
            for n in [4, 4]:
                p.again(op, p.entry["steps"] == [], shape=i32(n), **parameter, seed=7, seed2=2**40 + 3, **more)
    for shape in [i32(3), i32(2, 4), i32(-1, 5), i32(0, 5), i32()]:
        g.case("StatelessRandomGammaV2", shape=shape, seed=i64(5, -6), alpha=np.ones(5, np.float32))
    g.case("StatelessRandomGammaV2", shape=i32(3), seed=i64(5, -6), alpha=np.float32(2.5), tolerance=1e-5)
    g.case("StatelessRandomPoisson", shape=i32(3), seed=i64(5, -6), lam=np.float32(2.5), dtype=tf.float32)
    g.case("StatelessRandomPoisson", shape=i32(3), seed=i64(5, -6, 1), lam=np.float32(2.5), dtype=tf.float32)


def generators(g):
    """Generators whose state is a variable."""
    for state in [[5, -1, 7], [-1, -1, 2**40]]:
        p = g.program(f"generator {state}")
        v = p.step("VarHandleOp", dtype=tf.int64, shape=[3], shared_name=f"generator {state}")
        p.step("AssignVariableOp", resource=v, value=i64(*state))
        read = lambda: p.step("ReadVariableOp", resource=v, dtype=tf.int64)
        algorithm = np.int64(1)
        p.step("RngReadAndSkip", resource=v, alg=np.int32(1), delta=np.uint64(3))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(3), delta=np.uint64(0))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(2), delta=np.uint64(1))
        p.step("RngReadAndSkip", resource=v, alg=np.int32(9), delta=np.uint64(1))
        read()
        p.step("RngSkip", resource=v, algorithm=algorithm, delta=np.int64(2**54 + 1))
        read()
        for dtype in [tf.float32, tf.float64, tf.float16, tf.bfloat16]:
            for op in ["StatefulUniform", "StatefulStandardNormalV2", "StatefulTruncatedNormal"]:
                p.step(op, resource=v, algorithm=algorithm, shape=i32(5), dtype=dtype)
        for dtype in [np.int32, np.int64, np.uint32, np.uint64]:
            if np.dtype(dtype).kind == "i":
                p.step("StatefulUniformInt", resource=v, algorithm=algorithm, shape=i64(2, 2), minval=dtype(3), maxval=dtype(90))
            p.step("StatefulUniformFullInt", resource=v, algorithm=algorithm, shape=i32(3), dtype=tf.as_dtype(dtype))
        p.step("StatefulUniform", resource=v, algorithm=np.int64(3), shape=i32(0, 2), dtype=tf.float32)
        p.step("StatefulUniform", resource=v, algorithm=np.int64(2), shape=i32(2), dtype=tf.float32)
        p.step("StatefulUniform", resource=v, algorithm=algorithm, shape=i32(-2), dtype=tf.float32)
        read()


def stateless_shuffle(g):
    key, counter = np.array([2**63 + 5], np.uint64), np.array([7, 11], np.uint64)
    for value in [some(np.float32, (9,)), some(np.int64, (5, 2)), some(object, (6,)), some(np.bool_, (7, 1, 2)), some(np.float32, (1, 3)), some(np.float32, (0, 3)), np.float32(2), some(np.complex64, (4,))]:
        for alg in [1, 3, 2]:
            g.case("StatelessShuffle", value=value, key=key, counter=counter, alg=np.int32(alg))
    x = some(np.float32, (4,))
    for kw in [dict(key=counter), dict(key=key[0]), dict(alg=i32(1)), dict(counter=np.arange(3).astype(np.uint64))]:
        g.case("StatelessShuffle", **{**dict(value=x, key=key, counter=counter, alg=np.int32(1)), **kw})


FAMILIES = {
    "random": random,
    "random-more": random_more,
    "random-rates": random_rates,
    "generators": generators,
    "stateless-shuffle": stateless_shuffle,
}
