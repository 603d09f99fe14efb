"""Strings: cut, joined, formatted, matched, hashed and looked up."""

import zlib

import numpy as np
import tensorflow as tf

from golden_cases.values import INT_TYPES, i32, i64, int_values, rng, some, texts


def strings(g):
    lengths = list(range(0, 20)) + [31, 32, 33, 47, 63, 64, 65, 66, 100, 127, 128, 129, 191, 192, 193, 200]
    r = rng()
    words = np.array([bytes(r.randint(0, 256, n).tolist()) for n in lengths], object)
    for buckets in [10, 1000003, 2**40 + 7, 2**53 - 1]:
        g.case("StringToHashBucketFast", input=words if buckets == 10 or buckets > 2**50 else words[:8], num_buckets=buckets)
    g.case("StringToHashBucket", string_tensor=words[::2], num_buckets=2**53 - 1)
    g.case("StringToHashBucketStrong", input=words[::2], num_buckets=2**53 - 1, key=[123, 456])
    g.case("StringToHashBucketStrong", input=words[:5], num_buckets=97, key=[2**62 + 3, -5])
    g.case("StringToHashBucketFast", input=some(object, (2, 3)), num_buckets=1)
    floats = np.array([0, -0.0, 1, -1.5, 0.1, 1e-7, 123456789, 1e20, 1e30, 0.0078125, 2.5, 0.5, 3.14159265, -2e-5, np.inf, -np.inf, 99999.95, 1e21], np.float64)
    for dtype in [np.float32, np.float64]:
        v = floats.astype(dtype)
        for kw in [{}, {"precision": 2}, {"scientific": True}, {"shortest": True}, {"precision": 0}, {"scientific": True, "precision": 3},
                   {"shortest": True, "precision": 3}, {"width": 12}, {"width": 12, "fill": "0"}, {"width": 12, "fill": "-"},
                   {"width": 12, "fill": "+"}, {"width": 3, "fill": " "}, {"precision": 12}]:
            g.case("AsString", input=v, **kw)
    g.case("AsString", input=np.array([1.5, -2, 65504], np.float16))
    g.case("AsString", input=np.array([1.5, -2, 3.140625], tf.bfloat16.as_numpy_dtype))
    for dtype in INT_TYPES:
        v = np.array([x for x in int_values(dtype)], dtype)
        g.case("AsString", input=v)
        if dtype in (np.int32, np.int64):
            for fill in ["", "0", "-", "+", " "]:
                g.case("AsString", input=v[:4], width=6, fill=fill)
    g.case("AsString", input=np.array([True, False]))
    g.case("AsString", input=np.array([1 + 2j], np.complex64), precision=1)
    g.case("AsString", input=some(object, (2,)))
    g.case("AsString", input=i32(1), precision=2)
    g.case("AsString", input=i32(1), scientific=True)
    g.case("AsString", input=np.float32(1), scientific=True, shortest=True)
    g.case("AsString", input=np.float32(1), fill="x")
    g.case("StringJoin", inputs=[texts("a", "b"), texts("c", ""), np.array(b"x", object)], separator="-")
    g.case("StringJoin", inputs=[np.array(b"x", object), np.array(b"y", object)])
    g.case("StringJoin", inputs=[texts("a", "b"), texts("a", "b", "c")])
    for op in ["StringLower", "StringUpper"]:
        for encoding in ["", "utf-8"]:
            g.case(op, input=texts("ABC xyz 1", "\u00c9t\u00e9 \u0130", ""), encoding=encoding)
        g.case(op, input=texts("x"), encoding="latin1")
    g.case("StringStrip", input=texts("  a b\t\n", "", " \x0b\x0c", "x", b"\xc2\xa0x "))
    for unit in ["BYTE", "UTF8_CHAR"]:
        g.case("StringLength", input=texts("abc", "\u00e9t\u00e9", "", "\U0001f600x"), unit=unit)
        words3 = texts("hello", "\u00e9t\u00e9s", "\U0001f600xyz!")
        for pos, size in [(0, 2), (1, 100), (-2, 1), (-3, 2), (2, 0)]:
            g.case("Substr", input=words3, pos=np.int32(pos), len=np.int32(size), unit=unit)
        g.case("Substr", input=words3, pos=i64(0, 1, 2), len=i64(1, 2, 3), unit=unit)
        g.case("Substr", input=words3, pos=np.int32(100), len=np.int32(1), unit=unit)
        g.case("Substr", input=words3, pos=np.int32(-100), len=np.int32(1), unit=unit)
    g.case("Substr", input=texts("abc", "def").reshape(2, 1), pos=np.array([[0, 1]], np.int32), len=np.array([[1, 1]], np.int32))
    g.case("Substr", input=texts("abc"), pos=i32(0), len=np.int32(1))
    for value in [texts("a b  c", "", " x ", "one"), texts()]:
        for sep in ["", " ", "b", ",", "  "]:
            for n in [-1, 0, 1, 2]:
                g.case("StringSplitV2", input=value, sep=np.array(sep.encode(), object), maxsplit=n)
        for sep in ["", " ", "b ", ","]:
            for skip in [True, False]:
                g.case("StringSplit", input=value, delimiter=np.array(sep.encode(), object), skip_empty=skip)
    g.case("StringSplitV2", input=np.array(b"a b", object), sep=np.array(b"", object))
    numbers = texts("1.5", " -2 ", "1e3", "inf", "-inf", "0x10", "+7", ".5", "5.")
    for dtype in [tf.float32, tf.float64]:
        g.case("StringToNumber", string_tensor=numbers, out_type=dtype)
    for dtype in [tf.int32, tf.int64]:
        g.case("StringToNumber", string_tensor=texts("1", " -22 ", "2147483647", "-2147483648", "+5"), out_type=dtype)
    g.case("StringToNumber", string_tensor=texts("9223372036854775807"), out_type=tf.int64)
    for bad in ["", "x", "1.5x", "1 2", "1e", "--1"]:
        g.case("StringToNumber", string_tensor=texts(bad), out_type=tf.float32, text=True)
    for bad in ["", "1.5", "9999999999", "0x1"]:
        g.case("StringToNumber", string_tensor=texts(bad), out_type=tf.int32, text=True)
    for value in [some(np.float32, (2, 3)), some(np.int64, (9,)), some(object, (2,)), np.float32(0.1), some(np.float64, (2,)), some(np.int32, (2, 2, 8)),
                  np.array([True, False]), texts("a\n\"q\"", "\u00e9"), np.array([1e10, 1e-10, 16777216, 3], np.float32), some(np.float32, (0,)), some(np.float32, (8, 8))]:
        g.case("StringFormat", inputs=[value], template="v: %s!", placeholder="%s", summarize=3)
    g.case("StringFormat", inputs=[some(np.int32, (8,)), np.int32(4)], template="{} {}", placeholder="{}", summarize=-1)
    for data in [[some(np.float32, (5,)), texts("bad", "x\ny")], [np.array(b"m", object)], [some(np.int64, (2, 2)), np.int32(3)]]:
        g.case("Assert", condition=np.array(False), data=data, summarize=3, text=True)
    data = texts("abc", "defgh", "", "i")
    for sizes in [[2], [1, 2], [3]]:
        for pad in [-1, 0, 1]:
            for keep in [True, False]:
                g.case("StringNGrams", data=data, data_splits=i64(0, 3, 3, 4), separator="|", ngram_widths=sizes, left_pad="LP", right_pad="RP", pad_width=pad, preserve_short_sequences=keep)
    g.case("UnsortedSegmentJoin", inputs=data, segment_ids=i32(1, 0, 1, 0), num_segments=np.int32(3), separator=":")
    g.case("EncodeBase64", input=some(object, (6,)), pad=True)
    g.case("EncodeBase64", input=some(object, (6,)))
    g.case("DecodeBase64", input=texts("", "YQ", "YQ==", "YWI", "YWJj", "_-8"))
    for bad in ["Y", "Y$==", "YQ=", "a+b/"]:
        g.case("DecodeBase64", input=texts(bad))
    for dtype in [tf.uint8, tf.int16, tf.int32, tf.float32, tf.int64, tf.float64]:
        g.case("DecodeRaw", bytes=texts(b"\x01\x02\x03\x04\x05\x06\x07\x08", b"\x00\x00\x80\x3f\x00\x00\x00\x40"), out_type=dtype)
        g.case("DecodeRaw", bytes=texts(b"\x01\x02\x03\x04\x05\x06\x07\x08"), out_type=dtype, little_endian=False)
    g.case("DecodeRaw", bytes=texts("abc"), out_type=tf.int32)
    g.case("DecodeRaw", bytes=texts("abc", "a"), out_type=tf.uint8)
    g.case("DecodePaddedRaw", input_bytes=texts("abc", "abcdefgh", ""), fixed_length=np.int32(4), out_type=tf.int16)
    for errors in ["replace", "ignore", "strict"]:
        value = texts("a\u00e9\U0001f600", b"x\xffy\xc3", b"\xe2\x82z\xed\xa0\x80") if errors != "strict" else texts("\u00e9")
        g.case("UnicodeDecode", input=value, input_encoding="UTF-8", errors=errors)
        g.case("UnicodeDecodeWithOffsets", input=value, input_encoding="UTF-8", errors=errors)
    g.case("UnicodeDecode", input=texts(b"\xff"), input_encoding="UTF-8", errors="strict")
    g.case("UnicodeEncode", input_values=i32(97, 233, 0x1F600, 0xD800), input_splits=i64(0, 2, 4), output_encoding="UTF-8")
    defaults = [np.array([7], np.int32), np.array([0.5], np.float32), texts("none")]
    for line in ["1,2.5,abc", ",,", '3,1e2,"a,""b"', "1,2", "x,1,a", '1,2,a"b', "1,2,NA", " 4 ,5,6"]:
        g.case("DecodeCSV", records=texts(line), record_defaults=defaults, na_value="NA", text=True)
    g.case("DecodeCSV", records=texts("1,2"), record_defaults=[np.array([], np.int64), texts("d")], select_cols=[])
    g.case("DecodeCSV", records=texts(",2"), record_defaults=[np.array([], np.int64), texts("d")], text=True)
    g.case("DecodeCSV", records=texts("1;2;3"), record_defaults=[np.array([], np.float64)], field_delim=";", select_cols=[1])


def strings_more(g):
    value = "a\u00e9\U0001f600\x07z"
    encoded = {"UTF-8": value.encode(), "UTF-16-BE": value.encode("utf-16-be"), "UTF-16LE": value.encode("utf-16-le"), "UTF-32-BE": value.encode("utf-32-be"),
               "UTF-32LE": value.encode("utf-32-le"), "ISO-8859-1": b"a\xe9\x07z", "US-ASCII": b"a\xe9\x07z"}
    broken = {"UTF-8": b"x\xffy\xc3", "UTF-16-BE": b"\x00a\xd8\x00\x00b\xdc\x00\x00c", "UTF-32-BE": b"\x00\x11\x00\x00\x00\x00\x00a\x00\x00"}
    for name, data in encoded.items():
        g.case("UnicodeDecodeWithOffsets", input=texts(data, b""), input_encoding=name)
        for to in ["UTF-8", "UTF-16-BE", "UTF-32-BE"]:
            g.case("UnicodeTranscode", input=texts(data, b"").reshape(2, 1), input_encoding=name, output_encoding=to)
    for name, data in broken.items():
        for errors in ["replace", "ignore", "strict"]:
            g.case("UnicodeTranscode", input=texts(data), input_encoding=name, output_encoding="UTF-8", errors=errors, replacement_char=63)
            g.case("UnicodeDecodeWithOffsets", input=texts(data), input_encoding=name, errors=errors)
    for errors in ["replace", "ignore"]:
        g.case("UnicodeTranscode", input=texts(value), input_encoding="UTF-8", output_encoding="UTF-8", errors=errors, replace_control_characters=True)
        g.case("UnicodeDecode", input=texts(value), input_encoding="UTF-8", errors=errors, replace_control_characters=True)
    for to in ["UTF-16-BE", "UTF-32-BE"]:
        g.case("UnicodeEncode", input_values=i32(97, 233, 0x1F600, 0xD800), input_splits=i64(0, 2, 4), output_encoding=to)
    for x in [some(np.float32, (2, 3)), some(np.int64, (2,)), some(object, (2, 2)), np.int32(5), some(np.bool_, (3,)), some(np.float16, (2,)), some(np.float32, (0, 2)), some(np.complex64, (2,))]:
        g.case("SerializeTensor", tensor=x)
        data = tf.io.serialize_tensor(x).numpy()
        g.case("ParseTensor", serialized=np.array(data, object), out_type=tf.as_dtype(x.dtype) if x.dtype != object else tf.string)
    g.case("ParseTensor", serialized=np.array(data, object), out_type=tf.float32)
    g.case("ParseTensor", serialized=np.array(b"\xff\xff", object), out_type=tf.float32)
    g.case("ParseTensor", serialized=texts("", ""), out_type=tf.float32)
    for x in [some(np.float32, (3, 2)), some(np.int64, (2,)), some(object, (3,)), some(object, (2, 2)), some(object, (2, 1)), some(np.uint8, (2, 2, 3)), some(np.float32, (0, 2))]:
        g.case("Fingerprint", data=x, method=np.array(b"farmhash64", object))
    g.case("Fingerprint", data=some(np.float32, (3, 2)), method=np.array(b"md5", object))
    g.case("Fingerprint", data=np.float32(1), method=np.array(b"farmhash64", object))
    compress = zlib.compressobj(9, zlib.DEFLATED, 31)
    zipped = compress.compress(b"hello" * 9) + compress.flush()
    g.case("DecodeCompressed", bytes=texts(zlib.compress(b"hello" * 20), zlib.compress(b"")), compression_type="ZLIB")
    g.case("DecodeCompressed", bytes=texts(zipped), compression_type="GZIP")
    g.case("DecodeCompressed", bytes=texts("plain"), compression_type="")

PUNCTUATION = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'


def regex(g):
    value = texts("Hello, World! (x)", "a.b-c_d", "", "aaa", "x1y22z", "\u00e9t\u00e9 \u00c9", b"\xffab\xfe", "tab\there  two\n")
    for pattern, rewrite in [(PUNCTUATION, ""), (r"\s+", " "), (r"[a-c]+", "<\\0>"), (r"(\w)(\d)", "\\2\\1"), ("a*", "-"), ("", "-"), (".", "#"), ("^a", "Z"),
                             (r"\bH", "J"), ("(?i)h", "q"), (r"[^a-z]", ""), (r"\pL", "L"), ("a|b", "\\\\"), ("x", "\\1"), ("x", "\\"), (r"l+", "LL"), ("\u00e9", "e"),
                             (r"[[:punct:]]", ""), (r"\d{2}", "N"), (r"(a)|b", "[\\1]"), ("[a-z]", "x"), (r"\.", ""), ("-", "+"), ("$", "!"), (r"[\s,]+", "")]:
        for every in [True, False]:
            g.case("StaticRegexReplace", input=value, pattern=pattern, rewrite=rewrite, replace_global=every)
        g.case("RegexReplace", input=value[:3], pattern=np.array(pattern.encode(), object), rewrite=np.array(rewrite.encode(), object))
    # RE2 is lenient with odd bytes in the complement of a class of ASCII characters: surrogates, overlong forms, above U+10FFFF.
    odd = texts("ab\u00e9c", b"a\xed\xa0\x80b", b"a\xe0\x80\x80b", b"\xf4\xbf\xbf\xbfb", b"a\xf0\x80\x80\x80", b"a\xe2\x82", b"\x80\xff\xc1\x80a", b"\xe2\x82\xac\xe2\x82\xac\xff\xe2\x82\xac",
                b"a\n.B\x00\xf0\x9f\x98\x80", b"\xf5\x80\x80\x80", b"\xc3\xc3\xa9")
    for pattern in ["[^a-z0-9 ]", "[^a-z]+", r"\W", r"\S+", r"\D+", r"[^\w\s]", "[^$]", "[^^a]+"]:
        for every in [True, False]:
            g.case("StaticRegexReplace", input=odd, pattern=pattern, rewrite="<>", replace_global=every)
    for pattern in [".*", "a+", "[a-z]*", r"\w+", "Hello.*", "(", "aaa|b", "(?s).*", ""]:
        g.case("StaticRegexFullMatch", input=value, pattern=pattern)
        g.case("RegexFullMatch", input=value, pattern=np.array(pattern.encode(), object))
    g.case("StaticRegexReplace", input=value, pattern="(", rewrite="")
    g.case("RegexReplace", input=value, pattern=np.array(b"[", object), rewrite=np.array(b"", object))


def tables(g):
    p = g.program("HashTableV2 string to int64")
    t = p.step("HashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="words")
    p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(-1), text=True)
    p.step("LookupTableImportV2", table_handle=t, keys=texts("a", "b", "", b"\xff"), values=i64(1, 2**60, 3, -4))
    p.step("LookupTableFindV2", table_handle=t, keys=texts("b", "x", "", b"\xff", "a").reshape(5, 1), default_value=np.int64(-1))
    p.step("LookupTableFindV2", table_handle=t, keys=texts(), default_value=np.int64(-1))
    p.step("LookupTableSizeV2", table_handle=t)
    u = p.step("HashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="words")
    p.step("LookupTableFindV2", table_handle=u, keys=texts("b"), default_value=np.int64(-1))
    p.step("LookupTableFindV2", table_handle=u, keys=texts("b"), default_value=i64(1, 2))
    p.step("InitializeTableV2", table_handle=t, keys=texts("a", "b", "", b"\xff"), values=i64(1, 2**60, 3, -4))
    p.step("InitializeTableV2", table_handle=t, keys=texts("a", "b"), values=i64(1, 2))
    p.step("LookupTableFindV2", table_handle=t, keys=texts("a"), default_value=np.int64(0))
    p = g.program("HashTableV2 duplicates")
    t = p.step("HashTableV2", key_dtype=tf.int64, value_dtype=tf.string, shared_name="d")
    p.step("InitializeTableV2", table_handle=t, keys=i64(1, 2, 1), values=texts("x", "y", "z"), text=True)
    t = p.step("HashTableV2", key_dtype=tf.int64, value_dtype=tf.string, shared_name="e")
    p.step("InitializeTableV2", table_handle=t, keys=i64(1, 2, 1), values=texts("x", "y", "x"))
    p.step("LookupTableFindV2", table_handle=t, keys=i64(1, 2, 3, 2**32 + 1, -1), default_value=np.array(b"UNK", object))
    p.step("LookupTableSizeV2", table_handle=t)
    for dtype in [np.float32, np.int32, np.float64]:
        t = p.step("HashTableV2", key_dtype=tf.string if dtype != np.int32 else tf.int32, value_dtype=tf.as_dtype(dtype), shared_name="f" + np.dtype(dtype).name)
        keys = texts("a", "b") if dtype != np.int32 else i32(-7, 7)
        p.step("LookupTableImportV2", table_handle=t, keys=keys, values=some(dtype, (2,)))
        p.step("LookupTableFindV2", table_handle=t, keys=keys[::-1], default_value=np.array(0, dtype))
    p = g.program("MutableHashTableV2")
    for n, (k, v) in enumerate([(texts("a", "b", "a", "z", "q"), i64(1, 2, 3, 4, 5)), (i64(1, -2, 1, 4, 5), texts("1", "2", "3", "4", "five"))]):
        types = [tf.string, tf.int64][:: 1 if n == 0 else -1]
        t = p.step("MutableHashTableV2", key_dtype=types[0], value_dtype=types[1], shared_name="m" + str(n))
        none = v[4:5].reshape(())
        p.step("LookupTableFindV2", table_handle=t, keys=k[:1], default_value=none)
        p.step("LookupTableInsertV2", table_handle=t, keys=k[:3], values=v[:3])
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 1, 4]], default_value=none)
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 3, 1]], default_value=v[2:5])
        p.step("LookupTableRemoveV2", table_handle=t, keys=k[[1, 4]])
        p.step("LookupTableExportV2", table_handle=t, Tkeys=types[0], Tvalues=types[1])
        p.step("LookupTableImportV2", table_handle=t, keys=k[3:4], values=v[3:4])
        p.step("LookupTableSizeV2", table_handle=t)
        p.step("LookupTableFindV2", table_handle=t, keys=k[[0, 3]], default_value=none)
    t = p.step("MutableHashTableOfTensorsV2", key_dtype=tf.int64, value_dtype=tf.float32, value_shape=[2], shared_name="mt")
    p.step("LookupTableInsertV2", table_handle=t, keys=i64(5, 6), values=some(np.float32, (2, 2)))
    p.step("LookupTableFindV2", table_handle=t, keys=i64(6, 9), default_value=np.array([0.5, 1], np.float32))
    p = g.program("InitializeTableFromTextFileV2")
    lines = b"apple\t1\t0.5\nbanana\t-2\t1e3\r\ncherry\t9223372036854775807\t-1.25\n"
    query = texts("apple", "banana", "cherry", "0", "banana\t-2\t1e3")

    def load(content, key_dtype, value_dtype, default, keys, **kw):
        t = p.step("HashTableV2", key_dtype=key_dtype, value_dtype=value_dtype, shared_name=f"file{len(p.entry['steps'])}")
        p.step("InitializeTableFromTextFileV2", table_handle=t, filename=p.file(content), **kw)
        p.step("LookupTableFindV2", table_handle=t, keys=keys, default_value=default)
        p.step("LookupTableSizeV2", table_handle=t)

    unknown = np.array(b"?", object)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=0, value_index=-1)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=0, value_index=1)
    load(lines, tf.string, tf.float32, np.float32(-1), query, key_index=0, value_index=2)
    load(lines, tf.string, tf.int64, np.int64(-1), query, key_index=-2, value_index=-1, offset=10)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, 2, 3), key_index=-1, value_index=0)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, 2, 3), key_index=-1, value_index=-2)
    load(lines, tf.int64, tf.string, unknown, i64(0, 1, -2, 3), key_index=1, value_index=0)
    load(b"a b\nc d", tf.string, tf.string, unknown, texts("a", "c", "d"), key_index=0, value_index=1, delimiter=" ")
    load(b"a\nb\nc\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=2)
    load(b"a\nb\nc\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=3)
    load(b"a\nb\n", tf.string, tf.int64, np.int64(-1), texts("a", "c"), key_index=-2, value_index=-1, vocab_size=3)
    load(b"a\n\nb\n", tf.string, tf.int64, np.int64(-1), texts("a", "b"), key_index=-2, value_index=-1)
    load(b"a\nb\na\n", tf.string, tf.int64, np.int64(-1), texts("a", "b"), key_index=-2, value_index=-1)
    load(b"a\tx\nb\n", tf.string, tf.string, unknown, texts("a"), key_index=0, value_index=1)
    load(b"a\tx\n", tf.string, tf.int64, np.int64(0), texts("a"), key_index=0, value_index=1)
    load(b"", tf.string, tf.int64, np.int64(0), texts("a"), key_index=-2, value_index=-1)
    p = g.program("variables")
    v = p.step("VarHandleOp", dtype=tf.int64, shape=[], shared_name="v")
    p.step("VarIsInitializedOp", resource=v)
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("AssignVariableOp", resource=v, value=np.int64(5))
    p.step("AssignAddVariableOp", resource=v, value=np.int64(3))
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("AssignSubVariableOp", resource=v, value=np.int64(1))
    p.step("ReadVariableOp", resource=v, dtype=tf.int64)
    p.step("VariableShape", input=v)


def files(g):
    p = g.program("ReadFile")
    p.step("ReadFile", filename=p.file(b"bytes \x00\xff of a file\n"))
    p.step("ReadFile", filename=p.file(b""))
    g.case("ReadFile", filename=texts("a", "b"))


FAMILIES = {
    "strings": strings,
    "strings-more": strings_more,
    "regex": regex,
    "tables": tables,
    "files": files,
}
