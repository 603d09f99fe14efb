"""Sound, spectra and sequences of frames."""

import numpy as np

from golden_cases.values import i32, i64, some, texts


def fft(g):
    """Fourier transforms and the arithmetic of complex numbers."""
    for dtype, real, tolerance in [(np.complex64, np.float32, 3e-5), (np.complex128, np.float64, 1e-10)]:
        for n in [1, 2, 8, 7, 12, 15]:
            for op in ["FFT", "IFFT"]:
                g.case(op, tolerance, input=some(dtype, (2, n), n))
            g.case("RFFT", tolerance, input=some(real, (2, n), n), fft_length=i32(n), Tcomplex=dtype)
            g.case("IRFFT", tolerance, input=some(dtype, (2, n // 2 + 1), n), fft_length=i32(n), Treal=real)
        for length in [4, 6, 16]:
            g.case("RFFT", tolerance, input=some(real, (3, 6)), fft_length=i32(length), Tcomplex=dtype)
            g.case("IRFFT", tolerance, input=some(dtype, (3, 4)), fft_length=i32(length), Treal=real)
        for op in ["FFT2D", "IFFT2D"]:
            g.case(op, tolerance, input=some(dtype, (2, 3, 4)))
        for op in ["FFT3D", "IFFT3D"]:
            g.case(op, tolerance, input=some(dtype, (2, 3, 4)))
        g.case("RFFT2D", tolerance, input=some(real, (2, 5, 6)), fft_length=i32(4, 6), Tcomplex=dtype)
        g.case("IRFFT2D", tolerance, input=some(dtype, (2, 4, 4)), fft_length=i32(4, 6), Treal=real)
        g.case("RFFT3D", tolerance, input=some(real, (2, 3, 6)), fft_length=i32(2, 3, 6), Tcomplex=dtype)
        g.case("IRFFT3D", tolerance, input=some(dtype, (2, 3, 4)), fft_length=i32(2, 3, 6), Treal=real)
        for op in ["Add", "AddV2", "Sub", "Mul", "Div", "RealDiv", "SquaredDifference"]:
            g.case(op, tolerance, x=some(dtype, (2, 3)), y=some(dtype, (3,), 2))
            g.case(op, tolerance, x=some(dtype, ()), y=some(dtype, (2, 0), 2))
        for op in ["Neg", "Square", "Exp", "Log", "Inv", "Reciprocal", "OnesLike"]:
            g.case(op, tolerance, x=some(dtype, (2, 3)))
        for op in ["Sum", "Mean"]:
            g.case(op, tolerance, input=some(dtype, (2, 3)), axis=i32(1))
            g.case(op, tolerance, input=some(dtype, (2, 3)), axis=i32(0, 1), keep_dims=True)
        g.case("AddN", tolerance, inputs=[some(dtype, (2, 3)), some(dtype, (2, 3), 2), some(dtype, (2, 3), 3)])
    g.case("FFT", input=some(np.complex64, ()))
    g.case("RFFT", input=some(np.float32, (4,)), fft_length=i32(-1))
    g.case("RFFT", input=some(np.float32, (4,)), fft_length=i32(2, 2))


def wav(samples, channels=1, rate=8000, bits=16, format=1, extra=b"", junk=b"", size=16, frame=None, per_second=None):
    data = np.asarray(samples, "<i2").tobytes()
    frame = 2 * channels if frame is None else frame
    head = np.uint32(size).tobytes() + np.uint16(format).tobytes() + np.uint16(channels).tobytes() + np.uint32(rate).tobytes()
    head += np.uint32(frame * rate if per_second is None else per_second).tobytes() + np.uint16(frame).tobytes() + np.uint16(bits).tobytes() + extra
    body = b"WAVEfmt " + head + junk + b"data" + np.uint32(len(data)).tobytes() + data
    return b"RIFF" + np.uint32(len(body)).tobytes() + body


def audio(g):
    f = np.float32
    for size, stride, shape in [(16, 8, (40, 1)), (12, 5, (40, 2)), (2, 1, (5, 1)), (33, 40, (100, 1)), (16, 8, (10, 2)), (8, 3, (0, 1))]:
        for squared in [False, True]:
            g.case("AudioSpectrogram", 2e-4, input=some(f, shape), window_size=size, stride=stride, magnitude_squared=squared)
    g.case("AudioSpectrogram", input=some(f, (10,)), window_size=4, stride=2)
    g.case("AudioSpectrogram", input=some(f, (10, 1)), window_size=1, stride=2)
    spectrogram = np.abs(some(f, (2, 3, 65)))
    for kw in [{}, dict(upper_frequency_limit=3000.0, lower_frequency_limit=100.0, filterbank_channel_count=20, dct_coefficient_count=13), dict(filterbank_channel_count=5, dct_coefficient_count=5)]:
        g.case("Mfcc", 2e-5, spectrogram=spectrogram, sample_rate=np.int32(16000), **kw)
    g.case("Mfcc", 2e-5, spectrogram=np.zeros((1, 2, 65), f), sample_rate=np.int32(16000))
    g.case("Mfcc", 2e-5, spectrogram=spectrogram, sample_rate=np.int32(4000))
    g.case("Mfcc", 2e-5, spectrogram=spectrogram[:, :0], sample_rate=np.int32(16000))
    for kw in [dict(spectrogram=spectrogram[0]), dict(sample_rate=i32(16000)), dict(sample_rate=np.int32(0)), dict(dct_coefficient_count=41), dict(lower_frequency_limit=5000.0), dict(spectrogram=spectrogram[:, :, :1]), dict(filterbank_channel_count=0)]:
        g.case("Mfcc", **{**dict(spectrogram=spectrogram, sample_rate=np.int32(16000)), **kw})
    mono, stereo = [0, 1, -1, 32767, -32768, 1000], [1, 2, 3, 4, -5, -6]
    good = [wav(mono), wav(stereo, 2), wav(mono, size=18, extra=b"\0\0"), wav(mono, junk=b"LIST\4\0\0\0abcd"), wav([]), wav(mono) + b"tail\2\0\0\0xy"]
    for content in good:
        g.case("DecodeWav", contents=np.array(content, object))
    for content in good[:2]:
        for kw in [dict(desired_channels=1), dict(desired_channels=3), dict(desired_samples=2), dict(desired_samples=9, desired_channels=2)]:
            g.case("DecodeWav", contents=np.array(content, object), **kw)
    bad = [b"", b"RIFF", wav(mono)[:30], wav(mono)[:-1], wav(mono, format=3), wav(mono, bits=8), wav(mono, channels=0), wav(mono, size=17), wav(mono, frame=3), wav(mono, per_second=1), wav(mono).replace(b"data", b"dada"), b"RIFX" + wav(mono)[4:], wav(mono) + b"data\2\0\0\0xy"]
    for content in bad:
        g.case("DecodeWav", contents=np.array(content, object))
    g.case("DecodeWav", contents=texts("a", "b"))
    for shape in [(5, 1), (3, 2)]:
        g.case("EncodeWav", audio=some(f, shape) / 4, sample_rate=np.int32(44100))
    g.case("EncodeWav", audio=np.array([[2], [-2], [0.5 / 32767], [1.5 / 32767], [-1.5 / 32767]], f), sample_rate=np.int32(100))
    for shape, rate in [((5,), np.int32(1)), ((5, 1), np.int32(0)), ((5, 1), i32(1)), ((0, 1), np.int32(1)), ((5, 0), np.int32(1))]:
        g.case("EncodeWav", audio=np.zeros(shape, f), sample_rate=rate)


def ctc(g):
    for dtype in [np.float32, np.float64]:
        for shape, lengths in [((6, 2, 4), [6, 3]), ((9, 1, 3), [9]), ((3, 2, 5), [0, 2]), ((4, 0, 3), [])]:
            inputs, length = some(dtype, shape, shape[0]), np.array(lengths, np.int32)
            for merge in [False, True]:
                for blank in [-1, 0, 1]:
                    g.case("CTCGreedyDecoder", 1e-5, inputs=inputs, sequence_length=length, merge_repeated=merge, blank_index=blank)
                for width, paths in [(1, 1), (3, 1), (4, 2), (50, 3)]:
                    g.case("CTCBeamSearchDecoder", 1e-5, inputs=inputs, sequence_length=length, beam_width=width, top_paths=paths, merge_repeated=merge)
        for seed in range(4):
            inputs = some(dtype, (12, 3, 5), 20 + seed)
            g.case("CTCBeamSearchDecoder", 1e-5, inputs=inputs, sequence_length=i32(12, 8, 10), beam_width=6, top_paths=4, merge_repeated=seed % 2 == 0)
    x = some(np.float32, (4, 2, 3))
    for op, kw in [("CTCGreedyDecoder", {}), ("CTCBeamSearchDecoder", dict(beam_width=4, top_paths=1))]:
        for inputs, length in [(x, i32(4)), (x, i32(5, 1)), (x, np.int32(4)), (x[0], i32(1, 1)), (x[:0], i32(0, 0)), (x[:, :, :0], i32(1, 1))]:
            g.case(op, inputs=inputs, sequence_length=length, **kw)
    g.case("CTCGreedyDecoder", inputs=x, sequence_length=i32(1, 1), blank_index=3)
    g.case("CTCGreedyDecoder", inputs=x, sequence_length=i32(1, 1), blank_index=-4)
    g.case("CTCBeamSearchDecoder", inputs=x, sequence_length=i32(1, 1), beam_width=2, top_paths=3)
    g.case("CTCBeamSearchDecoder", inputs=x, sequence_length=i32(1, 0), beam_width=5, top_paths=5)


def ctc_loss(g):
    def case(dtype, shape, labels, lengths, seed=1, tolerance=1e-5, scale=1, **kw):
        """@param labels: a list of labels for each example"""
        indices = [[b, i] for b, of in enumerate(labels) for i in range(len(of))]
        g.case(
            "CTCLoss", tolerance, inputs=some(dtype, shape, seed) * dtype(scale), labels_indices=np.array(indices, np.int64).reshape(-1, 2),
            labels_values=np.array([v for of in labels for v in of], np.int32), sequence_length=np.array(lengths, np.int32), **kw,
        )

    for dtype in [np.float32, np.float64]:
        for collapse in [False, True]:
            for merge in [False, True]:
                kw = dict(preprocess_collapse_repeated=collapse, ctc_merge_repeated=merge)
                case(dtype, (7, 3, 5), [[0, 1, 1], [3], [2, 2, 2, 2]], [7, 4, 6], **kw)
                case(dtype, (16, 2, 4), [[0, 1, 2, 1, 0, 0, 2], [1, 1, 4, 3]], [16, 15], 3, scale=4, **kw)
        case(dtype, (4, 2, 3), [[0, 1, 0, 1, 0], [1]], [4, 3], ignore_longer_outputs_than_inputs=True)
        case(dtype, (4, 2, 3), [[0], [1]], [0, 3], ignore_longer_outputs_than_inputs=True)
        case(dtype, (3, 2, 3), [[0, 0, 0], [1, 1]], [3, 2])  # no path: each needs a blank between its labels
        case(dtype, (1, 1, 2), [[0]], [1], scale=0.1)
    f = np.float32
    case(f, (16, 2, 12), [[*range(8), 5, 5], [3] * 6], [16, 13], 5)
    case(f, (4, 2, 3), [[0, 1, 0, 1, 0], [1]], [4, 3])
    case(f, (4, 2, 3), [[0, 1], []], [4, 3])
    case(f, (4, 2, 3), [[0, 2, 1], [0]], [4, 3])
    case(f, (4, 2, 3), [[0, -1], [0]], [4, 3])
    case(f, (4, 2, 3), [[0], [1]], [4, 5])
    case(f, (4, 2, 3), [[0], [1]], [4, -1])
    case(f, (4, 2, 3), [[0], [1]], [4])
    case(f, (4, 2, 3), [[0], [1], [1]], [4, 4])
    case(f, (0, 2, 3), [[0], [1]], [0, 0])
    case(f, (4, 0, 3), [], [])
    case(f, (4, 2), [[0], [1]], [4, 4])
    x, one = some(f, (4, 2, 3)), i32(0, 1)
    for indices, values, length in [
        ([[1, 0], [0, 0]], one, i32(4, 4)), ([[0, 0], [0, 0]], one, i32(4, 4)), ([[0, 0], [1, -1]], one, i32(4, 4)), ([[0], [1]], one, i32(4, 4)),
        ([[0, 0, 0], [1, 0, 0]], one, i32(4, 4)), ([0, 1], one, i32(4, 4)), ([[0, 0], [1, 0]], i32(0), i32(4, 4)), ([[0, 0], [1, 0]], np.int32(0), i32(4, 4)),
        ([[0, 0], [1, 0]], one, np.int32(4)), ([[0, 3], [1, 7]], one, i32(4, 4)),
    ]:
        g.case("CTCLoss", inputs=x, labels_indices=np.array(indices, np.int64), labels_values=values, sequence_length=length)


def recurrent(g):
    """Cells of TensorFlow 1 that are one op."""
    f = np.float32

    def lstm(batch, inputs, cell, seed=1, scale=1.0):
        return dict(
            cs_prev=some(f, (batch, cell), seed + 1) * f(scale), h_prev=some(f, (batch, cell), seed + 2), w=some(f, (inputs + cell, 4 * cell), seed + 3) / f(2),
            wci=some(f, (cell,), seed + 4), wcf=some(f, (cell,), seed + 5), wco=some(f, (cell,), seed + 6), b=some(f, (4 * cell,), seed + 7),
        )

    for batch, inputs, cell in [(1, 2, 1), (2, 3, 2), (3, 1, 4), (1, 0, 2)]:
        for peephole in [False, True]:
            for clip in [3.0, 0.0, 0.5] + ([-1.0] if cell == 1 else []):
                for forget in [1.0, 0.0] if clip == 3 else [0.5]:
                    x = some(f, (batch, inputs), 9)
                    g.case("LSTMBlockCell", 1e-5, x=x, **lstm(batch, inputs, cell, scale=2), use_peephole=peephole, cell_clip=clip, forget_bias=forget)
                    g.case("BlockLSTM", 1e-5, seq_len_max=np.int64(2), x=some(f, (2, batch, inputs), 9), **lstm(batch, inputs, cell), use_peephole=peephole, cell_clip=clip, forget_bias=forget)
                g.case("BlockLSTMV2", 1e-5, seq_len_max=np.int64(2), x=some(f, (2, batch, inputs), 9), **lstm(batch, inputs, cell), use_peephole=peephole, cell_clip=clip)
        g.case("GRUBlockCell", 1e-5, x=some(f, (batch, inputs)), h_prev=some(f, (batch, cell), 2), w_ru=some(f, (inputs + cell, 2 * cell), 3), w_c=some(f, (inputs + cell, cell), 4), b_ru=some(f, (2 * cell,), 5), b_c=some(f, (cell,), 6))
    for op in ["BlockLSTM", "BlockLSTMV2"]:
        x = some(f, (4, 2, 3), 9)
        for steps in [0, 1, 3]:
            # Gates behind the end are what the buffer held.
            g.case(op, 1e-5, only=[1, 6], seq_len_max=np.int64(steps), x=x, **lstm(2, 3, 2))
        # A seq_len_max beyond the sequence ends the process of TensorFlow 2.21.
        for kw in [dict(seq_len_max=i64(4)), dict(x=x[0]), dict(x=x[:, :1]), dict(x=x[:, :, :2])]:
            g.case(op, **{**dict(seq_len_max=np.int64(4), x=x), **lstm(2, 3, 2), **kw})
        for name, value in lstm(2, 3, 2).items():
            for bad in [value[:1], value[None]]:
                g.case(op, **{**dict(seq_len_max=np.int64(4), x=x), **lstm(2, 3, 2), name: bad})
        g.case(op, 1e-5, seq_len_max=np.int64(0), x=x[:0], **lstm(2, 3, 2))
        g.case(op, 1e-5, seq_len_max=np.int64(4), x=x[:, :0], **lstm(0, 3, 2))
    x = some(f, (2, 3), 9)
    for name, value in lstm(2, 3, 2).items():
        # Smaller peepholes than a cell are read beyond their end there.
        for bad in [value[None]] + ([] if name.startswith("wc") else [value[:1]]):
            if name not in ("cs_prev", "h_prev", "w") or bad.ndim == 2:
                g.case("LSTMBlockCell", **{**dict(x=x), **lstm(2, 3, 2), name: bad})
    g.case("LSTMBlockCell", x=x[:1], **lstm(2, 3, 2))
    g.case("LSTMBlockCell", x=x[:0], **lstm(0, 3, 2))
    gru = dict(x=x, h_prev=some(f, (2, 2), 2), w_ru=some(f, (5, 4), 3), w_c=some(f, (5, 2), 4), b_ru=some(f, (4,), 5), b_c=some(f, (2,), 6))
    for name, value in gru.items():
        for bad in [value[:1], value[None], value[..., :1]]:
            g.case("GRUBlockCell", **{**gru, name: bad})
    g.case("GRUBlockCell", 1e-5, **{**gru, "x": x[:0], "h_prev": gru["h_prev"][:0]})


FAMILIES = {
    "fft": fft,
    "audio": audio,
    "ctc": ctc,
    "ctc-loss": ctc_loss,
    "recurrent": recurrent,
}
