"""Images: files, colours, sizes, crops, boxes."""

import zlib

import numpy as np
import tensorflow as tf

from golden_cases.values import FLOAT_TYPES, i32, some


def png(rows, depth, colour, interlace=False, palette=b"", transparency=None):
    """A PNG file of rows [height][width][samples]."""
    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    rows = np.asarray(rows)
    height, width, samples = rows.shape
    raw = b""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlace else [(0, 0, 1, 1)]
    for x, y, dx, dy in passes:
        part = rows[y::dy, x::dx]
        if part.shape[1] == 0:
            continue
        step = max(1, samples * depth // 8)
        previous = None
        for n, row in enumerate(part):
            flat = row.reshape(-1)
            line = flat.astype(">u2").tobytes() if depth == 16 else np.packbits(((flat[:, None] >> np.arange(depth - 1, -1, -1)) & 1).astype(np.uint8).reshape(-1)).tobytes()
            kind = n % 5
            coded = bytearray()
            for i, value in enumerate(line):
                left = line[i - step] if i >= step else 0
                up = previous[i] if previous else 0
                corner = previous[i - step] if previous and i >= step else 0
                estimate = left + up - corner
                best = min((abs(estimate - left), 0, left), (abs(estimate - up), 1, up), (abs(estimate - corner), 2, corner))[2]
                coded.append((value - [0, left, up, (left + up) // 2, best][kind]) % 256)
            raw += bytes([kind]) + bytes(coded)
            previous = line
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, int(interlace)])
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + (chunk(b"PLTE", palette) if palette else b"")
    return out + (chunk(b"tRNS", transparency) if transparency is not None else b"") + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def bmp(pixels, top_down=False):
    height, width, channels = pixels.shape
    rows = [p.tobytes() + b"\0" * (-width * channels % 4) for p in (pixels if top_down else pixels[::-1])]
    head = 14 + 40
    size = (-height if top_down else height).to_bytes(4, "little", signed=True)
    return (b"BM" + (head + sum(map(len, rows))).to_bytes(4, "little") + bytes(4) + head.to_bytes(4, "little") + (40).to_bytes(4, "little") + width.to_bytes(4, "little") + size
            + (1).to_bytes(2, "little") + (8 * channels).to_bytes(2, "little") + bytes(24) + b"".join(rows))


def gif(width, height, frames, palette):
    """frames: (left, top, indices [h][w], transparent index or None, interlaced). Codes are never compressed: a clear code keeps them at one width."""
    out = b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes([0x80 | 1, 0, 0]) + bytes(palette)
    for left, top, indices, transparent, interlaced in frames:
        if transparent is not None:
            out += b"\x21\xf9\x04" + bytes([1, 0, 0, transparent]) + b"\0"
        h, w = indices.shape
        order = [y for s, d in [(0, 8), (4, 8), (2, 4), (1, 2)] for y in range(s, h, d)] if interlaced else range(h)
        codes = []
        for n, value in enumerate(v for y in order for v in indices[y]):
            codes += ([4] if n % 2 == 0 else []) + [int(value)]
        bits = "".join(format(c, "03b")[::-1] for c in codes + [5])
        data = bytes(int(bits[i:i + 8][::-1], 2) for i in range(0, len(bits), 8))
        out += b"\x2c" + b"".join(v.to_bytes(2, "little") for v in (left, top, w, h)) + bytes([0x40 if interlaced else 0, 2])
        out += b"".join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b"\0"
    return out + b";"


def images(g):
    r = np.random.RandomState(5)
    y, x = np.mgrid[0:18, 0:19]
    smooth = np.stack([(x * 11 + y) % 256, (y * 13) % 256, (x * y) % 256], -1).astype(np.uint8)
    noise = r.randint(0, 256, (17, 18, 3)).astype(np.uint8)
    wrap = lambda data: np.array(data, object)  # noqa: E731
    files = {}
    for name, pixels in [("smooth", smooth), ("noise", noise), ("tiny", noise[:1, :1]), ("narrow", noise[:9, :3])]:
        for quality, progressive, subsampled in [(95, False, True), (50, True, True), (80, False, False), (100, True, False)]:
            if name in ("tiny", "narrow") and quality not in (95, 80):
                continue
            files[name, quality] = tf.io.encode_jpeg(pixels, quality=quality, progressive=progressive, chroma_downsampling=subsampled).numpy()
            g.case("DecodeJpeg", contents=wrap(files[name, quality]))
    jpeg = files["smooth", 95]
    grey = tf.io.encode_jpeg(smooth[:, :, :1], format="grayscale").numpy()
    for channels in [0, 1, 3]:
        g.case("DecodeJpeg", contents=wrap(grey), channels=channels)
        g.case("DecodeJpeg", contents=wrap(files["noise", 50]), channels=channels)
    for data in [jpeg, files["noise", 95]]:
        g.case("DecodeJpeg", contents=wrap(data), dct_method="INTEGER_ACCURATE")
        g.case("DecodeJpeg", contents=wrap(data), dct_method="INTEGER_FAST", fancy_upscaling=False)
    for ratio in [2, 4, 8]:
        for data in [jpeg, files["smooth", 80], files["noise", 50], files["narrow", 95], files["tiny", 95], grey]:
            g.case("DecodeJpeg", contents=wrap(data), ratio=ratio)
        g.case("DecodeJpeg", contents=wrap(jpeg), ratio=ratio, dct_method="INTEGER_ACCURATE", fancy_upscaling=False)
        g.case("DecodeJpeg", contents=wrap(files["noise", 95]), ratio=ratio, channels=1)
    g.case("DecodeJpeg", contents=wrap(jpeg), ratio=3)
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(3, 4, 8, 9))
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(3, 4, 80, 9))
    # Cut off between samples of colour, behind a block, and within a few columns of one.
    for window in [(3, 4, 8, 10), (5, 0, 9, 16), (2, 16, 8, 3), (0, 17, 18, 1), (17, 3, 1, 1), (0, 0, 18, 2)]:
        for data in [files["noise", 95], jpeg, grey]:
            g.case("DecodeAndCropJpeg", contents=wrap(data), crop_window=i32(*window))
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(1, 2, 5, 4), ratio=2, channels=3)
    g.case("DecodeAndCropJpeg", contents=wrap(jpeg), crop_window=i32(1, 8, 5, 2), ratio=2, channels=1)
    for dtype in [tf.uint8, tf.uint16, tf.float32]:
        g.case("DecodeImage", contents=wrap(files["narrow", 95]), dtype=dtype)
    for bad in [b"", b"x", jpeg[:40], jpeg[: len(jpeg) // 2], b"\xff\xd8\xff\xd9", b"GIF8", b"BM", b"\x89PNG\r\n\x1a\n"]:
        g.case("DecodeJpeg", contents=wrap(bad))
        g.case("DecodeImage", contents=wrap(bad))
    g.case("DecodeJpeg", contents=np.array([jpeg], object))
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    palette = bytes(r.randint(0, 256, 48).tolist())
    pngs = []
    for colour, depths in [(0, [1, 2, 4, 8, 16]), (2, [8, 16]), (3, [1, 2, 4]), (4, [8, 16]), (6, [8, 16])]:
        for depth in depths:
            for interlace in [False, True]:
                rows = r.randint(0, 2**depth, (5, 6, samples[colour]))
                pngs.append((colour, depth, interlace, png(rows, depth, colour, interlace, palette if colour == 3 else b"")))
    rows = r.randint(0, 4, (4, 5, 1))
    pngs.append((3, 2, False, png(rows, 2, 3, palette=palette[:12], transparency=bytes([0, 128]))))
    pngs.append((0, 8, False, png(rows, 8, 0, transparency=bytes([0, 2]))))
    pngs.append((2, 8, False, png(np.repeat(rows, 3, 2), 8, 2, transparency=bytes([0, 1, 0, 1, 0, 1]))))
    for colour, depth, interlace, data in pngs:
        for channels in [0, 1, 3, 4] if not interlace else [0]:
            g.case("DecodePng", contents=wrap(data), channels=channels)
        if not interlace and depth in (2, 8, 16):
            g.case("DecodePng", contents=wrap(data), dtype=tf.uint16)
            g.case("DecodeImage", contents=wrap(data), dtype=tf.float32)
    data = pngs[8][3]
    g.case("DecodePng", contents=wrap(data[:-30]))
    g.case("DecodePng", contents=wrap(data[:40] + b"\xee" + data[41:]))
    g.case("DecodeJpeg", contents=wrap(data))
    g.case("DecodePng", contents=wrap(files["tiny", 95]))
    for channels in [1, 3, 4]:
        pixels = r.randint(0, 256, (3, 5, channels)).astype(np.uint8)
        for top_down in [False, True]:
            for wanted in [0, 1, 3, 4] if top_down else [0]:
                g.case("DecodeBmp", contents=wrap(bmp(pixels, top_down)), channels=wanted)
        g.case("DecodeImage", contents=wrap(bmp(pixels)), channels=0)
    g.case("DecodeBmp", contents=wrap(bmp(noise)[:100]))
    g.case("DecodePng", contents=wrap(bmp(noise)))
    g.case("DecodeBmp", contents=wrap(data))
    colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]
    index = r.randint(0, 4, (9, 8))
    one = gif(8, 9, [(0, 0, index, None, False)], colours)
    two = gif(8, 9, [(0, 0, index, None, True), (2, 3, r.randint(0, 4, (3, 4)), 1, False)], colours)
    part = gif(8, 9, [(2, 3, r.randint(0, 4, (3, 4)), 2, False)], colours)
    for data in [one, two, part, one[:-20]]:
        g.case("DecodeGif", contents=wrap(data))
        g.case("DecodeImage", contents=wrap(data))
        g.case("DecodeImage", contents=wrap(data), expand_animations=False)
        g.case("DecodePng", contents=wrap(data))
    g.case("DecodeGif", contents=wrap(files["tiny", 95]))


def encoded_images(g):
    """Images to files. The bytes of a PNG are its zlib's: only that there is one is promised."""
    r = np.random.RandomState(7)
    y, x = np.mgrid[0:21, 0:35]
    smooth = np.stack([(x * 7 + y) % 256, (y * 11) % 256, (x * y) % 256], -1).astype(np.uint8)
    noise = r.randint(0, 256, (17, 18, 3)).astype(np.uint8)
    flat = np.full((16, 16, 3), 255, np.uint8)
    for image in [smooth, noise, flat, noise[:1, :1], noise[:9, :3], noise[:8, :8]]:
        for kw in [dict(), dict(quality=30), dict(quality=100, chroma_downsampling=False)]:
            g.case("EncodeJpeg", image=image, **kw)
        g.case("EncodeJpeg", image=image[..., 1:2], quality=75)
    g.case("EncodeJpeg", image=noise[:4, :5], quality=0, density_unit="cm", x_density=72, y_density=90, xmp_metadata="<x/>", format="rgb")
    g.case("EncodeJpeg", image=noise[:4, :5, :1], format="grayscale")
    for bad in [dict(image=noise[0]), dict(image=noise[..., :2]), dict(image=noise, format="grayscale"), dict(image=noise[..., :1], format="rgb"), dict(image=noise[:0])]:
        g.case("EncodeJpeg", **bad)
    for quality in [1, 60, 101]:
        g.case("EncodeJpegVariableQuality", images=noise, quality=np.int32(quality))
    g.case("EncodeJpegVariableQuality", images=noise, quality=i32(60))
    files = [tf.io.encode_jpeg(image, **kw).numpy() for image, kw in [(smooth, dict()), (noise[..., :1], dict(format="grayscale")), (noise, dict(progressive=True))]]
    for data in files + [files[0][:400], files[0][:100], b"", b"x", b"\x89PNG\r\n\x1a\n"]:
        for dtype in [tf.int32, tf.int64] if data == files[0] else [tf.int32]:
            g.case("ExtractJpegShape", contents=np.array(data, object), output_type=dtype)
    g.case("ExtractJpegShape", contents=np.array([files[0]], object))
    for dtype in [np.uint8, np.uint16]:
        for channels in [1, 2, 3, 4]:
            g.case("EncodePng", image=r.randint(0, 256, (5, 6, channels)).astype(dtype), only=[])
        g.case("EncodePng", image=r.randint(0, 256, (2, 3, 5, 6, 3)).astype(dtype), compression=9, only=[])
    for bad in [noise[0], np.zeros((2, 2, 5), np.uint8), np.zeros((2, 2, 0), np.uint8), np.zeros((0, 2, 3), np.uint8)]:
        g.case("EncodePng", image=bad)


def images_of(dtype, shape, seed=1):
    return np.random.RandomState(seed).rand(*shape).astype(dtype)


def colour(g):
    f = np.float32
    for dtype in FLOAT_TYPES:
        for shape in [(2, 3, 3), (3,), (0, 3), (1, 2, 2, 3)]:
            for op in ["RGBToHSV", "HSVToRGB"]:
                g.case(op, 1e-2 if dtype not in (np.float32, np.float64) else 2e-6, images=images_of(dtype, shape))
    edges = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.2], [0.2, 0.5, 0.5], [0.5, 0.2, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [3, -1, 2]], f)
    for op in ["RGBToHSV", "HSVToRGB"]:
        g.case(op, images=edges)
        g.case(op, images=images_of(f, (2, 4)))
        g.case(op, images=f(1))
    for value in [-1, -0.4, 0, 0.1, 0.5, 1]:
        for images in [images_of(f, (2, 8, 9, 3)), edges[None]]:
            g.case("AdjustHue", 0, images=images, delta=f(value))
    for value in [0, 0.5, 1, 2, -1]:
        # A red whose hue rounds up to a whole turn: it has no side of the colour circle, and turns grey.
        for images in [images_of(f, (2, 8, 9, 3)), edges[None], np.array([[[1, 0, 1e-9]]], f)]:
            g.case("AdjustSaturation", 0, images=images, scale=f(value))
        g.case("AdjustContrastv2", 1e-5, images=images_of(f, (2, 3, 2, 4)), contrast_factor=f(value))
    for op, name in [("AdjustHue", "delta"), ("AdjustSaturation", "scale"), ("AdjustContrastv2", "contrast_factor")]:
        for images, by in [(images_of(f, (0, 2, 3)), f(0.5)), (images_of(f, (2, 3)), f(1)), (images_of(f, (2, 2, 4)), f(1)), (images_of(f, (2, 2, 3)), np.ones(2, f))]:
            g.case(op, 1e-5, images=images, **{name: by})


def resampling(g):
    x = np.abs(some(np.float32, (2, 5, 4, 2))) + 1  # like pixels: sums of both signs would be lost in rounding
    for size in [(3, 7), (9, 2), (1, 1), (5, 4)]:
        for align, half in [(False, False), (True, False), (False, True)]:
            g.case("ResizeBicubic", images=x, size=i32(*size), align_corners=align, half_pixel_centers=half)
        for align in [False, True]:
            g.case("ResizeArea", images=x, size=i32(*size), align_corners=align)
    for kernel in ["lanczos1", "lanczos3", "lanczos5", "gaussian", "box", "triangle", "keyscubic", "mitchellcubic"]:
        for scale, shift in [((0.6, 1.75), (0.0, 0.0)), ((1.3, 0.4), (0.5, -1.0))]:
            for antialias in [True, False]:
                scales, shifts = np.array(scale, np.float32), np.array(shift, np.float32)
                g.case("ScaleAndTranslate", images=x, size=i32(3, 7), scale=scales, translation=shifts, kernel_type=kernel, antialias=antialias)
    g.case("ResizeBicubic", images=some(np.uint8, (1, 3, 3, 1)), size=i32(2, 5))
    g.case("ResizeArea", images=some(np.uint8, (1, 3, 3, 1)), size=i32(2, 5))
    for bad in [i32(0, 2), i32(2, -1)]:
        g.case("ResizeBicubic", images=x, size=bad)
        g.case("ResizeArea", images=x, size=bad)
    for dtype in [np.float32, np.uint8, np.int64]:
        for sizes, steps, rates in [((2, 3), (1, 1), (1, 1)), ((2, 2), (2, 3), (2, 1)), ((6, 1), (1, 1), (1, 1))]:
            for padding in ["SAME", "VALID"]:
                if padding == "SAME" or sizes[0] < 6:
                    wide = lambda pair: [1, *pair, 1]
                    g.case("ExtractImagePatches", images=some(dtype, (2, 5, 4, 2)), ksizes=wide(sizes), strides=wide(steps), rates=wide(rates), padding=padding)
    turn = np.array([[0.9, 0.3, -0.4, -0.2, 1.1, 0.7, 0.01, -0.02]], np.float32)
    both = np.concatenate([turn, [[1, 0, -2.5, 0, 1, 3.5, 0, 0]]]).astype(np.float32)
    for mode in ["CONSTANT", "REFLECT", "WRAP", "NEAREST"]:
        for how in ["NEAREST", "BILINEAR"]:
            for transforms in [turn, both]:
                g.case("ImageProjectiveTransformV3", images=x, transforms=transforms, output_shape=i32(6, 5), fill_value=np.float32(0.5), interpolation=how, fill_mode=mode)
            g.case("ImageProjectiveTransformV2", images=x, transforms=both, output_shape=i32(4, 6), interpolation=how, fill_mode=mode)
    g.case("ImageProjectiveTransformV3", images=x, transforms=both[:, :7], output_shape=i32(6, 5), fill_value=np.float32(0), interpolation="NEAREST")
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.1, 0.7, 0.9], [1, 1, 0, 0], [-0.5, 0.2, 1.4, 0.8]], np.float32)
    for method in ["bilinear", "nearest"]:
        for size in [(3, 3), (1, 4), (7, 2)]:
            g.case("CropAndResize", image=x, boxes=boxes, box_ind=i32(0, 1, 1, 0), crop_size=i32(*size), method=method, extrapolation_value=-2.0)
    g.case("CropAndResize", image=some(np.uint8, (2, 5, 4, 2)), boxes=boxes, box_ind=i32(0, 1, 1, 0), crop_size=i32(2, 2))
    g.case("CropAndResize", image=x, boxes=boxes, box_ind=i32(0, 2, 1, 0), crop_size=i32(2, 2))
    g.case("CropAndResize", image=x, boxes=boxes[:0], box_ind=i32(), crop_size=i32(2, 2))
    for value in [np.nan, np.inf, -np.inf]:
        bad = boxes.copy()
        bad[1, 2] = value
        g.case("CropAndResize", image=x, boxes=bad, box_ind=i32(0, 1, 1, 0), crop_size=i32(2, 2))
    g.case("CropAndResize", image=x, boxes=bad, box_ind=i32(0, 1, 2, 0), crop_size=i32(2, 2))


def drawing(g):
    f = np.float32
    boxes = np.array([[0, 0, 1, 1], [0.2, 0.3, 0.7, 0.9], [-0.5, 0.25, 0.5, 2], [0.9, 0, 0.1, 1], [1.5, 0, 2, 1], [0, -2, 1, -1], [0.5, 0.5, 0.5, 0.5], [0, 0, 3, 0.4], [np.nan, 0, 1, 1], [0, 0, 1e30, 1], [0.3, -1e-6, 0.6, 1]], f)
    for depth in [1, 3, 4]:
        images = np.abs(some(f, (2, 4, 5, depth)))
        for pick in [[0, 1], [2, 3], [4, 6], [7, 8], [9, 10]]:
            each = np.stack([boxes[pick], boxes[pick[::-1]]])
            g.case("DrawBoundingBoxes", images=images, boxes=each)
            g.case("DrawBoundingBoxesV2", images=images, boxes=each, colors=some(f, (3, 4)))
        g.case("DrawBoundingBoxesV2", images=images[:1], boxes=boxes[None], colors=np.zeros((0, 4), f))
        g.case("DrawBoundingBoxes", images=images, boxes=np.zeros((2, 0, 4), f))
    tiny = np.zeros((1, 2, 2, 3), f)
    many = np.tile(np.array([[0.9, 0, 0.9, 1]], f), (12, 1))
    g.case("DrawBoundingBoxes", images=tiny, boxes=many[None])
    g.case("DrawBoundingBoxes", images=tiny[:, :0], boxes=many[None])
    g.case("DrawBoundingBoxes", images=tiny[:0], boxes=many[None][:0])
    one = many[None, :1]
    for kw in [dict(images=tiny[0]), dict(boxes=one[0]), dict(images=tiny[:0]), dict(images=tiny[..., :2]), dict(boxes=one[..., :3])]:
        g.case("DrawBoundingBoxes", **{**dict(images=tiny, boxes=one), **kw})
    for colours in [np.zeros((2,), f), np.zeros((2, 2), f)]:
        g.case("DrawBoundingBoxesV2", images=tiny, boxes=one, colors=colours)


def detection(g):
    r = np.random.RandomState(3)
    corners = r.uniform(0, 0.6, (20, 2))
    boxes = np.concatenate([corners, corners + r.uniform(0.1, 0.4, (20, 2))], 1).astype(np.float32)
    boxes[4] = boxes[4][[2, 3, 0, 1]]
    boxes[7] = boxes[6]
    scores = r.uniform(0, 1, 20).astype(np.float32)
    scores[9] = scores[11]
    f = np.float32
    for count in [0, 3, 30]:
        for overlap in [0.2, 0.5, 1.0]:
            limit, threshold = np.int32(count), f(overlap)
            g.case("NonMaxSuppression", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=overlap)
            g.case("NonMaxSuppressionV2", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold)
            g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold, score_threshold=f(0.3))
            for pads in [False, True]:
                common = dict(boxes=boxes, scores=scores, max_output_size=limit, iou_threshold=threshold, score_threshold=f(0.3), pad_to_max_output_size=pads)
                g.case("NonMaxSuppressionV4", **common)
                for soft in [0.0, 0.5]:
                    g.case("NonMaxSuppressionV5", **common, soft_nms_sigma=f(soft))
    g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores[:5], max_output_size=np.int32(3), iou_threshold=f(0.5), score_threshold=f(0))
    g.case("NonMaxSuppressionV3", boxes=boxes[:, :3], scores=scores, max_output_size=np.int32(3), iou_threshold=f(0.5), score_threshold=f(0))
    g.case("NonMaxSuppressionV3", boxes=boxes, scores=scores, max_output_size=np.int32(3), iou_threshold=f(1.5), score_threshold=f(0))
    many = np.stack([boxes * 1.5 - 0.2, boxes[::-1]])
    by_class = r.uniform(0, 1, (2, 20, 3)).astype(np.float32)
    for groups in [1, 3]:
        for pads in [False, True]:
            for clips in [False, True]:
                shifted = np.stack([many + 0.01 * k for k in range(groups)], 2).astype(np.float32)
                g.case("CombinedNonMaxSuppression", boxes=shifted, scores=by_class, max_output_size_per_class=np.int32(4), max_total_size=np.int32(15), iou_threshold=f(0.4), score_threshold=f(0.3), pad_per_class=pads, clip_boxes=clips)
    for per_class, total in [(0, 5), (5, 0)]:
        g.case("CombinedNonMaxSuppression", boxes=shifted, scores=by_class, max_output_size_per_class=np.int32(per_class), max_total_size=np.int32(total), iou_threshold=f(0.4), score_threshold=f(0.3))


def glimpses(g):
    """Windows around places, without noise where they leave the image."""
    x = (np.arange(2 * 5 * 6 * 3).reshape(2, 5, 6, 3) % 47).astype(np.float32)
    for op in ["ExtractGlimpse", "ExtractGlimpseV2"]:
        for centered, normalized in [(False, False), (True, False), (False, True), (True, True)]:
            for offsets in [[[0, 0], [1, -1]], [[0.4, 0.6], [-0.5, 0.25]], [[2, 3], [-9, 2]]]:
                g.case(op, input=x, size=i32(3, 4), offsets=np.array(offsets, np.float32), centered=centered, normalized=normalized, uniform_noise=False, noise="zero")
        g.case(op, input=x[:, :, :, 0], size=i32(3, 4), offsets=np.zeros((2, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(3, 4, 1), offsets=np.zeros((2, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(3, 4), offsets=np.zeros((3, 2), np.float32), noise="zero", uniform_noise=False)
        g.case(op, input=x, size=i32(2, 2), offsets=np.ones((2, 2), np.float32), centered=False, normalized=False, only=[])


FAMILIES = {
    "images": images,
    "encoded-images": encoded_images,
    "colour": colour,
    "resampling": resampling,
    "drawing": drawing,
    "detection": detection,
    "glimpses": glimpses,
}
