"""What signatures that explain an answer, or train a model on, carry: gradients by filters, images and tables, and steps of optimizers."""

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, some

f32, f64 = np.float32, np.float64


def whole(shape, dtype=f32, by=37):
    """Numbers of few digits, whose sums are exact."""
    return (np.arange(int(np.prod(shape))).reshape(shape) * by % 101 / 8 - 5).astype(dtype)


def filter_gradients(g):
    for dtype, tolerance in [(f32, 2e-5), (f64, 1e-10)]:
        x = whole((2, 6, 7, 4), dtype)
        for stride, padding in [(1, "SAME"), (2, "VALID"), (2, "SAME")]:
            strides = [1, stride, stride, 1]
            # 2: in two groups, of which the kernels without oneDNN have no gradient: these are the refusals of float64.
            for channels in [4, 2] if dtype == f64 else [4]:
                y = tf.nn.conv2d(x.astype(f32), np.zeros((3, 2, 4, 6), f32), strides, padding)
                g.case("Conv2DBackpropFilter", tolerance, input=x, filter_sizes=i32(3, 2, channels, 6), out_backprop=whole(y.shape, dtype, 11), strides=strides, padding=padding)
            y = tf.nn.depthwise_conv2d(x.astype(f32), np.zeros((3, 2, 4, 2), f32), strides, padding)
            g.case("DepthwiseConv2dNativeBackpropFilter", tolerance, input=x, filter_sizes=i32(3, 2, 4, 2), out_backprop=whole(y.shape, dtype, 11), strides=strides, padding=padding)
        v = whole((2, 4, 5, 3, 2), dtype)
        for stride, padding in [(1, "SAME"), (2, "VALID"), (2, "SAME")]:
            strides = [1, stride, stride, stride, 1]
            y = tf.nn.conv3d(v.astype(f32), np.zeros((2, 3, 2, 2, 3), f32), strides, padding)
            g.case("Conv3DBackpropFilterV2", tolerance, input=v, filter_sizes=i32(2, 3, 2, 2, 3), out_backprop=whole(y.shape, dtype, 11), strides=strides, padding=padding)
            ksize = [1, 2, 3, 2, 1]
            y = tf.nn.max_pool3d(v.astype(f32), ksize, strides, padding).numpy().astype(dtype)
            if dtype == f32:
                g.case("MaxPool3DGrad", tolerance, orig_input=v, orig_output=y, grad=whole(y.shape, dtype, 11), ksize=ksize, strides=strides, padding=padding)
                g.case("AvgPool3DGrad", tolerance, orig_input_shape=i32(*v.shape), grad=whole(y.shape, dtype, 11), ksize=ksize, strides=strides, padding=padding)
        for size, stride, padding in [(2, 2, "VALID"), (3, 2, "SAME"), (2, 1, "SAME")]:
            sizes, steps = [1, size, size, 1], [1, stride, stride, 1]
            y, at = tf.nn.max_pool_with_argmax(x, size, stride, padding)
            by = whole(y.shape, dtype, 11)
            g.case("MaxPoolGradV2", tolerance, orig_input=x, orig_output=y.numpy(), grad=by, ksize=i32(*sizes), strides=i32(*steps), padding=padding)
            g.case("MaxPoolGradWithArgmax", tolerance, input=x, grad=by, argmax=at.numpy(), ksize=sizes, strides=steps, padding=padding)
    pooled = dict(ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    for by, at in [((1, 2, 3, 1), (1, 2, 3, 1)), ((1, 2, 2, 2), (1, 2, 2, 2)), ((1, 2, 2, 1), (1, 2, 3, 1)), ((2, 2, 2, 1), (2, 2, 2, 1)), ((1, 2, 2, 1), (1, 2, 2, 1))]:
        g.case("MaxPoolGradWithArgmax", input=whole((1, 4, 4, 1)), grad=whole(by), argmax=np.arange(int(np.prod(at))).reshape(at), **pooled)
    line = np.arange(4, dtype=f32).reshape(1, 1, 1, 4, 1)
    pairs = dict(ksize=[1, 1, 1, 2, 1], strides=[1, 1, 1, 2, 1], padding="SAME")
    by = f32([3, 5]).reshape(1, 1, 1, 2, 1)
    for ties in [line * 0, line * f32(4e-6), line * f32(2e-5), line % 2, line * 0 + f32(np.nan), line * 0 + f32(np.inf)]:
        y = tf.nn.max_pool3d(ties, pairs["ksize"], pairs["strides"], "SAME").numpy()
        g.case("MaxPool3DGrad", orig_input=ties, orig_output=y, grad=by, **pairs)
    g.case("MaxPool3DGrad", orig_input=line, orig_output=line, grad=by, **pairs)
    g.case("MaxPool3DGrad", orig_input=line, orig_output=by, grad=line, **pairs)
    ones = np.ones((1, 4, 4, 1), f32)
    for around in [[0, 0, 1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 2, 1, 0, 0], [0, 0, 3, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2, 0, 0], [0, 0, -1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0], [1, 0]]:
        rows, columns = ((around[2 + i] + around[3 + i] + 4 - 2) + 1 for i in (0, 2)) if len(around) == 8 else (3, 3)
        padded = dict(strides=[1, 1, 1, 1], padding="EXPLICIT", explicit_paddings=around)
        for x in [ones, whole((2, 4, 4, 2), f64)]:
            channels = x.shape[3]
            g.case("Conv2DBackpropFilter", input=x, filter_sizes=i32(2, 2, channels, 3), out_backprop=whole((len(x), rows, columns, 3), x.dtype, 11), **padded)
            by = whole((len(x), rows, columns, channels), x.dtype, 11)
            g.case("DepthwiseConv2dNativeBackpropFilter", input=x, filter_sizes=i32(2, 2, channels, 1), out_backprop=by, **padded)
            g.case("DepthwiseConv2dNativeBackpropInput", input_sizes=i32(*x.shape), filter=whole((2, 2, channels, 1), x.dtype), out_backprop=by, **padded)
            g.case("MaxPoolGrad", orig_input=x, orig_output=by, grad=by, ksize=[1, 2, 2, 1], **padded)
    x = whole((2, 3, 3, 2))
    g.case("Conv2DBackpropFilter", input=x, filter_sizes=i32(2, 2, 2, 1), out_backprop=whole((2, 3, 2, 1)), strides=[1, 1, 1, 1], padding="VALID")
    g.case("Conv2DBackpropFilter", input=x[0], filter_sizes=i32(2, 2, 2, 1), out_backprop=whole((2, 2, 2, 1)), strides=[1, 1, 1, 1], padding="VALID")
    g.case("LRNGrad", 1e-5, input_grads=whole((2, 2, 3, 9)), input_image=whole((2, 2, 3, 9), by=11), output_image=tf.nn.lrn(whole((2, 2, 3, 9), by=11), 2, 1.5, 0.3, 0.7).numpy(), depth_radius=2, bias=1.5, alpha=0.3, beta=0.7)
    for narrow in [False, True]:
        more = dict(num_bits=4, narrow_range=narrow)
        x, by = some(f32, (5, 3)), some(f32, (5, 3), 2)
        for low, high in [(-1, 3), (0, 2.5), (-6, 0), (0, 0)]:
            if low != high:
                g.case("FakeQuantWithMinMaxArgsGradient", 1e-6, gradients=by, inputs=x, min=low, max=high, **more)
            g.case("FakeQuantWithMinMaxVarsGradient", 1e-6, gradients=by, inputs=x, min=f32(low), max=f32(high), **more)
        g.case("FakeQuantWithMinMaxVarsPerChannelGradient", 1e-6, gradients=by, inputs=x, min=f32([-1, 0, -3]), max=f32([2, 0, 1.5]), **more)
    g.case("FakeQuantWithMinMaxVarsGradient", gradients=by[:2], inputs=x, min=f32(-1), max=f32(1))
    by, x = f32([np.inf, 1, -1, np.nan, -np.inf, 2, 0, -0.0]), f32([100, 0, -100, 50, -50, np.nan, 1, -1])
    g.case("FakeQuantWithMinMaxArgsGradient", gradients=by, inputs=x, min=-6.0, max=6.0)
    for most in [0, 6]:
        for k in [0, 5]:
            g.case("FakeQuantWithMinMaxVarsGradient", gradients=by[k:], inputs=x[k:], min=f32(-most), max=f32(most))
    g.case("FakeQuantWithMinMaxVarsPerChannelGradient", gradients=np.stack([by, by[::-1]], 1), inputs=np.stack([x, x[::-1]], 1), min=f32([-6, 0]), max=f32([6, 0]))


def resample_gradients(g):
    by = whole((2, 5, 7, 2))
    for align, half in [(False, False), (True, False), (False, True)]:
        options = dict(align_corners=align, half_pixel_centers=half)
        for size in [(3, 4), (9, 10), (5, 1), (1, 7)]:
            image = np.zeros((2, *size, 2), f32)
            g.case("ResizeBilinearGrad", 1e-5, grads=by, original_image=image, **options)
            g.case("ResizeBicubicGrad", 1e-5, grads=by, original_image=image, **options)
            g.case("ResizeNearestNeighborGrad", 1e-5, grads=by, size=i32(*size), **options)
        g.case("ResizeBilinearGrad", 1e-5, grads=by, original_image=np.zeros((2, 3, 4, 2), f64), **options)
    for grads, image in [((1, 0, 2, 1), (1, 2, 2, 1)), ((1, 2, 2, 1), (1, 0, 2, 1)), ((0, 2, 2, 1), (0, 3, 2, 1)), ((1, 2, 2, 0), (1, 3, 2, 0)), ((2, 2, 1), (1, 2, 2, 1)), ((1, 2, 2, 1), (2, 2, 1))]:
        for op in ["ResizeBilinearGrad", "ResizeBicubicGrad"]:
            g.case(op, text=len(grads) == len(image), grads=whole(grads), original_image=np.zeros(image, f32))
        g.case("ScaleAndTranslateGrad", grads=whole(grads), original_image=np.zeros(image, f32), scale=f32([1, 1]), translation=f32([0, 0]))
    for grads, size in [((1, 0, 2, 1), (2, 2)), ((0, 2, 2, 1), (3, 3)), ((1, 2, 2, 1), (0, 2)), ((1, 2, 2, 1), (-1, 2)), ((1, 2, 2, 1), (2,))]:
        g.case("ResizeNearestNeighborGrad", text=True, grads=whole(grads), size=i32(*size))
    for kernel in ["lanczos3", "triangle", "gaussian"]:
        for antialias in [False, True]:
            g.case("ScaleAndTranslateGrad", 1e-5, grads=by, original_image=np.zeros((2, 9, 4, 2), f32), scale=f32([0.6, 1.7]), translation=f32([0.3, -0.4]), kernel_type=kernel, antialias=antialias)
    boxes = f32([[0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], [-0.3, 0.5, 0.7, 1.4], [0.93, 0.81, 0.17, 0.08]])
    image = whole((2, 6, 5, 3), by=11)
    for height, width in [(3, 4), (1, 2)]:
        crops = whole((4, height, width, 3))
        for method in ["bilinear", "nearest"]:
            g.case("CropAndResizeGradImage", 1e-5, grads=crops, boxes=boxes, box_ind=i32(0, 1, 1, 0), image_size=i32(2, 6, 5, 3), T=tf.float32, method=method)
        g.case("CropAndResizeGradBoxes", 2e-5, grads=crops, image=image, boxes=boxes, box_ind=i32(0, 1, 1, 0))
    g.case("CropAndResizeGradBoxes", grads=crops, image=image, boxes=boxes, box_ind=i32(0, 1, 2, 0))
    g.case("CropAndResizeGradImage", grads=crops, boxes=boxes, box_ind=i32(0, -1, 1, 0), image_size=i32(2, 6, 5, 3), T=tf.float32)


def lookup_gradients(g):
    for dtype, tolerance in [(f32, 1e-6), (f64, 1e-12)]:
        grad = some(dtype, (4, 3))
        for kind in ["Sum", "Mean", "SqrtN"]:
            for index in [np.int32, np.int64]:
                ids = dict(indices=np.array([5, 0, 5, 2, 1], index), segment_ids=i32(0, 0, 1, 3, 3))
                g.case(f"SparseSegment{kind}Grad", tolerance, grad=grad, output_dim0=np.int32(7), **ids)
                g.case(f"SparseSegment{kind}GradV2", tolerance, grad=grad, dense_output_dim0=np.int32(7), **ids)
            g.case(f"SparseSegment{kind}GradV2", grad=grad, dense_output_dim0=np.int32(2), indices=i32(), segment_ids=i32())
        for indices, segments, rows in [((2, 7), (0, 1), 7), ((2, -1), (0, 1), 7), ((2, 1), (0, 4), 7), ((2, 1), (0,), 7)]:
            g.case("SparseSegmentSumGrad", grad=grad, indices=i32(*indices), segment_ids=i32(*segments), output_dim0=np.int32(rows))
        g.case("SparseFillEmptyRowsGrad", tolerance, reverse_index_map=i64(4, 0, 2), grad_values=some(dtype, (6,)))
        g.case("SparseFillEmptyRowsGrad", reverse_index_map=i64(), grad_values=some(dtype, (2,)))
        g.case("SparseFillEmptyRowsGrad", reverse_index_map=i64(4, 6), grad_values=some(dtype, (6,)))
        g.case("SparseFillEmptyRowsGrad", reverse_index_map=i64(-1), grad_values=some(dtype, (6,)))


OPTIMIZERS = [
    ("GradientDescent", ["alpha"], {}),
    ("Momentum", ["lr", "momentum"], {"use_nesterov": (False, True)}),
    ("KerasMomentum", ["lr", "momentum"], {"use_nesterov": (False, True)}),
    ("Adam", ["beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon"], {"use_nesterov": (False, True)}),
    ("AdamWithAmsgrad", ["beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon"], {}),
    ("AdaMax", ["beta1_power", "lr", "beta1", "beta2", "epsilon"], {}),
    ("Adagrad", ["lr"], {"update_slots": (True, False)}),
    ("AdagradV2", ["lr", "epsilon"], {"update_slots": (True, False)}),
    ("RMSProp", ["lr", "rho", "momentum", "epsilon"], {}),
    ("CenteredRMSProp", ["lr", "rho", "momentum", "epsilon"], {}),
    ("Adadelta", ["lr", "rho", "epsilon"], {}),
    ("Ftrl", ["lr", "l1", "l2", "lr_power"], {}),
    ("FtrlV2", ["lr", "l1", "l2", "l2_shrinkage", "lr_power"], {}),
]
SETTINGS = dict(alpha=0.3, lr=0.2, momentum=0.8, beta1_power=0.9, beta2_power=0.99, beta1=0.9, beta2=0.99, epsilon=1e-3, rho=0.7, l1=0.05, l2=0.1, l2_shrinkage=0.02, lr_power=-0.5)
SLOTS = {
    "Momentum": ["accum"], "KerasMomentum": ["accum"], "Adam": ["m", "v"], "AdamWithAmsgrad": ["m", "v", "vhat"], "AdaMax": ["m", "v"], "Adagrad": ["accum"],
    "AdagradV2": ["accum"], "RMSProp": ["ms", "mom"], "CenteredRMSProp": ["mg", "ms", "mom"], "Adadelta": ["accum", "accum_update"], "Ftrl": ["accum", "linear"],
    "FtrlV2": ["accum", "linear"],
}
SPARSE = {"Momentum", "KerasMomentum", "Adagrad", "AdagradV2", "RMSProp", "CenteredRMSProp", "Adadelta", "Ftrl", "FtrlV2"}


def optimizer_steps(g):
    for name, settings, attrs in OPTIMIZERS:
        for dtype in [f32, f64]:
            attr, choices = next(iter(attrs.items()), (None, [None]))
            for choice in choices:
                steps_of(g, name, settings, dtype, {attr: choice} if attr else {}, "Resource")
        if name in ("Ftrl", "FtrlV2"):
            for power in [-0.5, -0.4]:
                steps_of(g, name, settings, f32, {"multiply_linear_by_lr": True}, "Resource", lr_power=power)
        # TensorFlow has dropped these of references.
        if name not in ("KerasMomentum", "AdamWithAmsgrad"):
            steps_of(g, name, settings, f32, {}, "")


def variables_of(p, slots, value):
    handles = {slot: p.step("VarHandleOp", dtype=tf.float32, shape=value.shape, shared_name=slot) for slot in slots}
    for handle in handles.values():
        p.step("AssignVariableOp", resource=handle, value=value)
    return handles


def odd_steps(g):
    """Gradients that are no numbers, settings that are no scalars, and rows of variables that have none."""
    for name, settings, _ in OPTIMIZERS:
        slots = ["var", *SLOTS.get(name, [])]
        scalars = {setting: f32(SETTINGS[setting]) for setting in settings}
        gradient = "delta" if name == "GradientDescent" else "grad"
        p = g.program(f"ResourceApply{name} of NaN")
        v = variables_of(p, slots, f32([1, 2, np.nan, 0, 0.5]))
        for setting in settings:
            p.step(f"ResourceApply{name}", **v, **scalars | {setting: f32([SETTINGS[setting]])}, **{gradient: np.ones(5, f32)})
        if name in ("AdaMax", "AdamWithAmsgrad"):
            for grad in [f32([np.nan, 1, 2, -0.0, -np.inf]), f32([1, np.nan, 3, 1, 1])]:
                p.step(f"ResourceApply{name}", **v, **scalars, grad=grad)
                for handle in v.values():
                    p.step("ReadVariableOp", resource=handle, dtype=tf.float32)
        if name in SPARSE:
            p = g.program(f"ResourceSparseApply{name} of a scalar")
            for rows in [i64(0), i64()]:
                p.step(f"ResourceSparseApply{name}", text=True, **variables_of(p, slots, f32(1)), **scalars, grad=np.zeros(len(rows), f32), indices=rows)


def steps_of(g, name, settings, dtype, attrs, kind, **other):
    given = SETTINGS | other
    p = g.program(" ".join([f"{kind}Apply{name} of {np.dtype(dtype).name} {list(attrs.values())}", *map(str, other.values())]))
    variables = {}
    for i, slot in enumerate(["var", *SLOTS.get(name, [])]):
        value = some(dtype, (3, 2), i) if i == 0 else (np.abs(some(dtype, (3, 2), i)) + (9 if slot == "ms" else 0.1)).astype(dtype)
        if kind:
            variables[slot] = p.step("VarHandleOp", dtype=tf.as_dtype(dtype), shape=[3, 2], shared_name=slot)
            p.step("AssignVariableOp", resource=variables[slot], value=value)
        else:
            variables[slot] = p.step("VariableV2", dtype=tf.as_dtype(dtype), shape=[3, 2], shared_name=slot)
            p.step("Assign", ref=variables[slot], value=value)
    inputs = variables | {setting: dtype(given[setting]) for setting in settings} | attrs
    gradient = "delta" if name == "GradientDescent" else "grad"
    for turn in range(2):
        p.step(f"{kind}Apply{name}", **inputs, **{gradient: some(dtype, (3, 2), 7 + turn)})
    if name in SPARSE:
        p.step(f"{kind}SparseApply{name}", **inputs, grad=some(dtype, (3, 2), 9), indices=i64(2, 0, 2))
        if kind:
            p.step(f"{kind}SparseApply{name}", **inputs, grad=some(dtype, (1, 2), 9), indices=i64(3))
            p.step(f"{kind}SparseApply{name}", **inputs, grad=some(dtype, (2, 2), 9), indices=i64(1))
    if kind:
        p.step(f"{kind}Apply{name}", **inputs, **{gradient: some(dtype, (2, 3), 7)})
        for v in variables.values():
            p.step("ReadVariableOp", resource=v, dtype=tf.as_dtype(dtype))


FAMILIES = {
    "filter-gradients": filter_gradients,
    "resample-gradients": resample_gradients,
    "lookup-gradients": lookup_gradients,
    "optimizer-steps": optimizer_steps,
    "odd-steps": odd_steps,
}
