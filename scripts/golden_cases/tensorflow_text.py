"""Ops of TensorFlow Text."""

import os
import tempfile

import numpy as np
import tensorflow as tf

from golden_cases.values import i32, i64, some, texts

MALFORMED = [b"ab\xffCD", b"e\xcc\xff\x81", b"e\xff\xcc\x81", b"\xed\xa0\x80X", b"\xf0\x9f\x98E\xcc\x81", b"\xe0\x80\x80",
             b"A\xc0\x80b", b"E\xcc\x81\xcc", b"\xef\xac\x81\xfe", b"\xff", b"\xc3"]


def normalize(g):
    words = ["", "plain ASCII", "\ufeffBOM", "caf\u00e9 cafe\u0301 \u00c9\u0301", "\u1e9b\u0323", "\ufb01ne \u2460\u00bd", "\u0130\u0131I\u017f\u212a",
             "\u039c\u0391\u03a3 \u03bc\u03ac\u03c2 \u1fb3 \u1fbc", "Stra\u00dfe STRA\u1e9eE", "\uac01\u1100\u1161\u11a8", "\uff21\uff22 \uff76\uff9e",
             "\u13a0\u13f8\uab70", "a\u00adb\u200bc\u034f\u0301", "x\u0323\u0307 x\u0307\u0323", "\U0001f469\u200d\U0001f680", "\U0001d400\U0001d6a4",
             "\u0938\u0924\u094d\u092f \u0644\u0627 \ufefb", "\u00bfTodav\u00eda est\u00e1n en casa?", "\u0e33", "\u2126\u212b\u2024", "\U000e0041\u2065\ufff0"]
    letters = "aeAE\u00e9\u0130\u03a3\u03c3\u1100\u1161\u11a8\uac00\u0301\u0327\u0323\u0345\u034f\u00ad\u200d\u00df\ufb03\u1fb3\u2126\u0958\u0915\u093c \u3131\uff76\uff9e"
    r = np.random.RandomState(11)
    words += ["".join(letters[i] for i in r.randint(0, len(letters), r.randint(2, 12))) for _ in range(60)]
    for form in ["NFC", "NFD", "NFKC", "NFKD", "nfkc", "nfd"]:
        g.case("NormalizeUTF8", input=texts(*words), normalization_form=form)
        g.case("NormalizeUTF8", input=texts(*MALFORMED), normalization_form=form)
    g.case("NormalizeUTF8", input=texts(*words[:12]).reshape(2, 3, 2), normalization_form="NFKC")
    g.case("NormalizeUTF8", input=np.array("e\u0301".encode(), object), normalization_form="NFC")
    g.case("NormalizeUTF8", input=np.zeros((0, 2), object), normalization_form="NFC")
    g.case("NormalizeUTF8", input=texts("a"), normalization_form="NFKC_CF", text=True)
    g.case("CaseFoldUTF8", input=texts(*words))
    g.case("CaseFoldUTF8", input=texts(*MALFORMED))
    g.case("CaseFoldUTF8", input=texts(*words[:12]).reshape(2, 3, 2))
    g.case("CaseFoldUTF8", input=np.array("\u00c9".encode(), object))
    g.case("CaseFoldUTF8", input=np.zeros((0, 2), object))
    every_fold(g)


def every_fold(g):
    """All characters that fold, a line each; that the others do not, a test of packages/host-ops knows."""
    from tensorflow_text import case_fold_utf8

    chars = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    folds = case_fold_utf8(chars).numpy()
    g.case("CaseFoldUTF8", input=texts("\n".join(c for c, fold in zip(chars, folds) if c != fold.decode())))


def scalar(text):
    return np.array(text if isinstance(text, bytes) else text.encode(), object)


def split(g):
    from tensorflow_text.python.ops import bert_tokenizer

    words = ["Hello, World! (x)", "", "  a  b ", "one", "don't-stop,", "\u4f60\u597d\u5417 hi\u3002", "\u00e9t\u00e9\u00a0\u2014 fin\n", "[unused1] [CLS]",
             b"a b\x00c d", b"\xffab\xfe c,\xc3 d\xe4\xbd", b" \xff ", "aXbXXc", "\U00020000x\U0001f600 y"]
    bert, kept = bert_tokenizer._DELIM_REGEX_PATTERN, bert_tokenizer._KEEP_DELIM_NO_WHITESPACE_PATTERN
    patterns = [(f"({bert})", f"({kept})"), (f"({bert})", ""), (r"(\s)", ""), (r"(\s)", r"(\s)"), (r"(\s+|X)", "(X)"), ("([A-Z]|,)", "([B-Z])"), (r"(\pL)", r"(\p{Lu})"),
                ("a(X)b", "X"), ("((X)(b)?)", "X"), (r"(\b\w)", r"\w"), ("(o$|,)", "o"), ("X", "X"), ("(.)", "[a-m]"), ("(\u00e9|\u4f60)", "\u00e9"), ("(?i)(x|E)", "e")]
    for delimiter, keep in patterns:
        g.case("RegexSplitWithOffsets", input=texts(*words), delim_regex_pattern=scalar(delimiter), keep_delim_regex_pattern=scalar(keep))
    # Here anchors are not read on malformed bytes.
    g.case("RegexSplitWithOffsets", input=texts(*(word for word in words if isinstance(word, str))), delim_regex_pattern=scalar("(^.)"), keep_delim_regex_pattern=scalar("."))
    space = scalar(r"(\s)")
    g.case("RegexSplitWithOffsets", input=texts(*words[:4]).reshape(2, 2), delim_regex_pattern=space, keep_delim_regex_pattern=scalar(""))
    g.case("RegexSplitWithOffsets", input=scalar("a b"), delim_regex_pattern=space, keep_delim_regex_pattern=scalar(""))
    g.case("RegexSplitWithOffsets", input=np.zeros((0,), object), delim_regex_pattern=space, keep_delim_regex_pattern=scalar(""))
    g.case("RegexSplitWithOffsets", input=texts("a b"), delim_regex_pattern=scalar("("), keep_delim_regex_pattern=scalar(""))
    g.case("RegexSplitWithOffsets", input=texts("a b"), delim_regex_pattern=space, keep_delim_regex_pattern=scalar("[z"))
    g.case("RegexSplitWithOffsets", input=texts("a b"), delim_regex_pattern=texts("( )"), keep_delim_regex_pattern=scalar(""))


def tokenize(g):
    import tensorflow_text as tf_text

    words = ["show me the  way.", "", "   ", " a\tb\nc ", "\u4f60\u597d a\u3000b\u00a0c\u2028d\u1680e", "x", "caf\u00e9 \u041f\u0440\u0438\u0432\u0435\u0442, abc\u03b1\u03b2 12 \U0001f600!",
             "\u200bzero\u0085next", "\u3042\u30a2\u4e00 \uac00", "tr\u00e8s\u0301  "]
    codes = [[ord(c) for c in word] for word in words] + [[-1, 32, 97, 0x110000, 98], [0x378, 0x379, 0x10FFFF, 32, 32]]
    flat, splits = i32(*[c for row in codes for c in row]), np.cumsum([0] + [len(row) for row in codes])
    for dtype in [np.int32, np.int64]:
        for op, attrs in [("WhitespaceTokenizeWithOffsets", {}), ("UnicodeScriptTokenizeWithOffsets", {"keep_whitespace": False}),
                          ("UnicodeScriptTokenizeWithOffsets", {"keep_whitespace": True})]:
            g.case(op, input_values=flat, input_splits=splits.astype(dtype), **attrs)
            g.case(op, input_values=flat[:20], input_splits=np.array([3, 20], dtype), **attrs)
            if attrs:  # without tokens, WhitespaceTokenizeWithOffsets ends the process
                g.case(op, input_values=flat[:0], input_splits=np.array([0, 0, 0], dtype), **attrs)
                g.case(op, input_values=flat[:4], input_splits=np.array([0], dtype), **attrs)
    newer = np.arange(0x1FA70, 0x1FB00, dtype=np.int32)  # emoji and more, some of Unicode 14 to 16
    others = np.arange(0x530, 0x20000, 61, dtype=np.int32)
    for value in [newer, others]:
        g.case("UnicodeScriptTokenizeWithOffsets", input_values=value, input_splits=np.array([0, len(value)], np.int64), keep_whitespace=False)
    config = scalar(tf_text.WhitespaceTokenizer()._config)
    for chosen in [config, scalar(""), scalar(b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"), scalar(b"\xff")]:
        g.case("TFText>WhitespaceTokenizeWithOffsetsV2", input_values=texts(*words, *MALFORMED, b"a\xe3\x80 b\xff c\xc2"), input_config=chosen)
    g.case("TFText>WhitespaceTokenizeWithOffsetsV2", input_values=np.zeros((0,), object), input_config=config)


def wordpieces(g):
    vocabulary = ["un", "##aff", "##able", "##able!", "they", "##'", "##re", "##s", "the", "##e", "##y", "a", "##a", "\u4f60", "##\u597d", "##\u00e9", "caf", "[UNK]", "b@", "absent", "ab"]
    ids = np.array([-1 if word == "absent" else i for i, word in enumerate(vocabulary)], np.int64)
    words = texts("unaffable", "unaffables", "they're", "the", "", "xyz", "thezzz", "caf\u00e9", "\u4f60\u597d\u5417", b"the\xff", b"\xe4\xbda", "aaaaaaaaaaaa", "absent", "them\u597d", "unaffable!", "abb@")
    for suffix, most, piece, uses_unknown, unknown, splits, partition in [
        ("##", 100, 0, True, "[UNK]", False, "row_lengths"), ("##", 100, 0, True, "[UNK]", True, "row_splits"), ("##", 100, 0, False, "", False, "row_splits"),
        ("##", 100, 0, False, "[UNK]", True, "row_lengths"), ("##", 8, 0, True, "[UNK]", False, "row_lengths"), ("##", 8, 0, False, "[UNK]", False, "row_lengths"),
        ("##", 100, 2, True, "[UNK]", True, "row_lengths"), ("##", 100, 3, True, "?", False, "row_lengths"), ("", 100, 0, True, "[UNK]", True, "row_lengths"),
        ("@", 0, 0, True, "\u00bf", False, "row_splits"), ("a", 100, 0, True, "[UNK]", True, "row_splits"), ("##" * 20, 100, 0, True, "[UNK]", True, "row_lengths"),
    ]:
        attrs = {"suffix_indicator": suffix, "max_bytes_per_word": most, "max_chars_per_token": piece, "use_unknown_token": uses_unknown,
                 "unknown_token": unknown, "split_unknown_characters": splits, "output_row_partition_type": partition}
        p = g.program(f"WordpieceTokenizeWithOffsets {suffix[:4]} {most} {piece} {uses_unknown} {splits} {partition}")
        t = p.step("HashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="pieces")
        if most > 0:
            p.step("WordpieceTokenizeWithOffsets", input_values=words, vocab_lookup_table=t, text=True, **attrs)
        p.step("LookupTableImportV2", table_handle=t, keys=texts(*vocabulary), values=ids)
        for value in [words, words.reshape(4, 4), texts(), scalar("unaffable"), texts("xyz")]:
            p.step("WordpieceTokenizeWithOffsets", input_values=value, vocab_lookup_table=t, **attrs)
    p = g.program("WordpieceTokenizeWithOffsets of an empty table")
    t = p.step("MutableHashTableV2", key_dtype=tf.string, value_dtype=tf.int64, shared_name="none")
    p.step("WordpieceTokenizeWithOffsets", input_values=words, vocab_lookup_table=t, **attrs)


def trim(g):
    r = np.random.RandomState(5)
    for dtype in [np.int32, np.int64, np.float32, np.bool_, object]:
        for count, rows in [(1, 3), (2, 4), (3, 5)]:
            splits = [np.cumsum([0, *r.randint(0, 7, rows)]).astype(np.int64 if count % 2 else np.int32) for _ in range(count)]
            values = [some(dtype, (int(row_splits[-1]),), seed) for seed, row_splits in enumerate(splits)]
            for most in [0, 5, 9, 40, -3]:
                for op in ["TFText>RoundRobinTrim", "TFText>RoundRobinGenerateMasks"]:
                    g.case(op, max_sequence_length=np.int32(most), input_values=values, input_row_splits=splits)
    empty = [np.zeros(0, np.int64), np.zeros(0, np.int64)]
    for splits in [[np.zeros(1, np.int64)] * 2, [np.zeros(3, np.int64)] * 2]:
        g.case("TFText>RoundRobinTrim", max_sequence_length=np.int32(3), input_values=empty, input_row_splits=splits)


def fast_wordpieces(g):
    from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as builder

    pieces = ["un", "##aff", "##able", "##able!", "they", "##'", "##re", "##s", "the", "##e", "##y", "a", "##a", "\u4f60", "##\u597d", "##\u00e9", "caf", "[UNK]",
              "ab", "abcd", "##cd", "##cdx", "##b", ".", "'", "re", "\u3002", "-", "hel", "##lo", "##l"]
    words = ["unaffable", "unaffables", "they're", "the", "", "xyz", "thezzz", "caf\u00e9", "\u4f60\u597d\u5417", b"the\xff", b"\xe4\xbda", "aaaaaaaaaaaa", "abcdx", "abcdy", "##", "#", "###",
             "##a", "unaffable!", "a" * 30, ".", "!", "\u3002", "hello", "\u00a0"]
    lines = ["they're the unaffable, un-hello.  the\u3000caf\u00e9", " the\tab abcd\n", "\u4f60\u597d\u5417 hello\u3002\u3001the", "thezz the. zz.the !the", "the\u2014the \u20ac5 ## ##a",
             b"the\xff the \xe4\xbd the", "a" * 30 + " the", "a.a..b", "a" * 11, "the,the", "\u00e9\u00e9 the", " ", "x", "! !", "abcdab ab'ab"]
    alone = [piece for piece in pieces if not piece.startswith("##")]
    for vocabulary, suffix, most, is_words in [(pieces, "##", 100, True), (pieces, "##", 100, False), (pieces, "##", 10, True), (pieces, "##", 10, False), ([*pieces, "##"], "##", 100, True),
                                               ([*pieces, "#", "###"], "##", 100, True), ([*pieces, "#", "###"], "##", 100, False), (alone, "", 100, False), (alone, "", 100, True), (["[UNK]", "a"], "<s>", 100, False)]:
        model = np.frombuffer(builder.build_fast_wordpiece_model(vocabulary, most, suffix, "[UNK]", is_words, True), np.uint8)
        g.case("FastWordpieceTokenizeWithOffsets", input_values=texts(*words, *lines), wp_model=model)
        ids = np.array([i % len(vocabulary) for i in range(0, 60, 7)], np.int32)
        g.case("TFText>FastWordpieceDetokenize", input_values=ids, input_row_splits=i64(0, 4, 4, len(ids)), wp_model=model)
    g.case("FastWordpieceTokenizeWithOffsets", input_values=texts(), wp_model=model)
    slim = np.frombuffer(builder.build_fast_wordpiece_model(pieces, 100, "##", "[UNK]", True, False), np.uint8)
    g.case("TFText>FastWordpieceDetokenize", input_values=i32(0, 1), input_row_splits=i64(0, 2), wp_model=slim, text=True)


def fast_bert(g):
    from tensorflow_text.core.pybinds import pywrap_fast_bert_normalizer_model_builder as builder

    words = ["They're the Greatest", "", "\u00c0bc", "caf\u00e9 cafe\u0301 \ufb01ne \u00bd", "a\u0000b\u0007\u200d\u00adc", "plain", "\u4f60\u597d\u3000\U0001f600", "\ufdfa", "\u1e9e\u00df \u03a3\u03c2", *MALFORMED]
    lower, plain = (np.frombuffer(builder.build_fast_bert_normalizer_model(lowers), np.uint8) for lowers in (True, False))
    g.case("FastBertNormalize", input_values=texts(*words), fast_bert_normalizer_model=lower, get_offsets=True)
    for value in [texts(*words), texts()]:
        for offsets in [True, False]:
            g.case("FastBertNormalize", input_values=value, fast_bert_normalizer_model=plain, get_offsets=offsets)


CORPUS = ["the quick brown fox jumps over the lazy dog", "they're unaffable and unaffected by the weather", "hello world, hello there!", "caf\u00e9 cr\u00e8me \u00e0 la carte",
          "\u4f60\u597d \u4e16\u754c", "she sells sea shells by the sea shore", "peter piper picked a peck of pickled peppers", "1 2 3 4 5 1234 5678", "the the the then there these"] * 20


def train_sentencepiece(**options):
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(CORPUS), model_writer=model, num_threads=1, minloglevel=2, hard_vocab_limit=False, **options)
    return model.getvalue()


def sentencepieces(g):
    """The models are of the sentencepiece package (0.2)."""
    rules = os.path.join(tempfile.mkdtemp(), "rules.tsv")
    with open(rules, "w") as file:
        file.write("41\t61\nC9\tE9\n65 301\tE9\n3000\t20\nFB01\t66 69\nAD\t\nBD\t20 31 2F 32 20\n")
    models = {
        "unigram": {"model_type": "unigram", "vocab_size": 120, "normalization_rule_name": "nmt_nfkc"},
        "unigram-user-defined": {"model_type": "unigram", "vocab_size": 150, "user_defined_symbols": ["<sep>", "lo w"], "control_symbols": ["<ctl>"], "normalization_rule_tsv": rules},
        "unigram-bytes": {"model_type": "unigram", "vocab_size": 400, "byte_fallback": True, "normalization_rule_tsv": rules, "unk_surface": "?"},
        "bpe": {"model_type": "bpe", "vocab_size": 140, "user_defined_symbols": ["<sep>"], "normalization_rule_tsv": rules, "unk_id": 2, "bos_id": 3, "eos_id": 1, "pad_id": 0},
        "bpe-suffix": {"model_type": "bpe", "vocab_size": 120, "treat_whitespace_as_suffix": True, "normalization_rule_name": "identity"},
        "bpe-spaces": {"model_type": "bpe", "vocab_size": 130, "remove_extra_whitespaces": False, "add_dummy_prefix": False, "normalization_rule_tsv": rules, "bos_id": -1},
        "char": {"model_type": "char", "vocab_size": 60, "user_defined_symbols": ["<sep>"], "normalization_rule_tsv": rules},
        "word": {"model_type": "word", "vocab_size": 40, "normalization_rule_tsv": rules},
    }
    lines = ["the quick brown fox", "", "   ", "  they're   unaffable  ", "hello<sep>world", "hello lo w <ctl> <s> <unk>", "caf\u00e9 CAF\u00c9 cafe\u0301 A\u00ad\u3000\ufb01\u00bd", "\u4f60\u597d\u5417 \U0001f600\U0001f600x",
             "\u2581the\u2581", b"the\xff\xfe \xe4\xbd dog", "a\u0000b", "zzz QQQ zz", "seashellsbytheseashore 12345678", "\ufffd"]
    no, yes = np.bool_(False), np.bool_(True)
    ids = np.array([3, 7, 0, 1, 2, 9, 30, 11, 4, 20, 5, 6, 8, 12, 13, 31], np.int32)
    pieces = texts("\u2581the", "\u2581\u2581", "x\u2581y", "<unk>", "nothing", "<s>", "</s>", "<sep>", "<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "\u2581a", "")
    for name, options in models.items():
        p = g.program(f"SentencepieceOp {name}")
        handle = p.step("SentencepieceOp", model=train_sentencepiece(**options), container="", shared_name=name, use_node_name_sharing=False)
        p.step("SentencepieceVocabSizeOp", sp_handle=handle)
        for out_type in [tf.int32, tf.string]:
            for bos, eos, reverse in [(no, no, no), (yes, yes, no), (no, yes, yes)] if out_type == tf.int32 else [(no, no, no), (yes, yes, yes)]:
                common = {"sp_handle": handle, "input": texts(*lines), "nbest_size": np.int32(0), "alpha": np.float32(1), "add_bos": bos, "add_eos": eos, "reverse": reverse, "out_type": out_type, "return_nbest": False}
                p.step("SentencepieceTokenizeWithOffsetsOp", Tsplits=tf.int64, **common)
                if not bos and not eos:
                    p.step("SentencepieceTokenizeOp", Tsplits=tf.int32, **common)
        for bos, eos, reverse in [(no, no, no), (no, yes, yes)]:
            p.step("SentencepieceDetokenizeOp", sp_handle=handle, input_values=ids, input_splits=i64(0, 5, 5, 16), add_bos=bos, add_eos=eos, reverse=reverse)
        p.step("SentencepieceDetokenizeOp", sp_handle=handle, input_values=pieces[:13], input_splits=i32(0, 4, 13), add_bos=no, add_eos=no, reverse=no)
        p.step("SentencepieceDetokenizeOp", sp_handle=handle, input_values=i32(100000), input_splits=i64(0, 1), add_bos=no, add_eos=no, reverse=no)
        p.step("SentencepieceIdToStringOp", sp_handle=handle, input=ids.reshape(4, 4))
        p.step("SentencepieceStringToIdOp", sp_handle=handle, input=pieces.reshape(2, 7))


def ngrams(g):
    words = texts("a", "bb", "", "\u00e9", "dd", "e")
    for width in [1, 2, 3, 7]:
        for separator in [" ", "", "\u2014"]:
            attrs = {"width": width, "axis": -1, "string_separator": separator}
            for shape in [(6,), (2, 3), (1, 3, 2)]:
                g.case("TFText>NgramsStringJoin", input_values=words.reshape(shape), input_row_splits=[], Tsplits=tf.int64, **attrs)
        attrs["string_separator"] = "|"
        g.case("TFText>NgramsStringJoin", input_values=words, input_row_splits=[i64(0, 4, 4, 6)], static=True, **attrs)
        g.case("TFText>NgramsStringJoin", input_values=words, input_row_splits=[i64(0, 2, 3), i64(0, 1, 5, 6)], static=True, **attrs)
    g.case("TFText>NgramsStringJoin", input_values=words[:0], input_row_splits=[i64(0, 0)], static=True, **attrs)


def split_bytes(g):
    words = texts("hello", "", b"a\xff\x00c", "\u4f60")
    for value in [words, words[1:2], words[:0]]:
        g.case("TFText>ByteSplitWithOffsets", input_values=value)
    at = {"input_start_offsets": i32(0, 2, 1, 5, 0), "input_end_offsets": i32(2, 4, 3, 5, 3), "input_row_splits": i64(0, 4, 4, 5, 5)}
    g.case("TFText>ByteSplitByOffsets", input_values=words, **at)
    for start, end in [(0, 6), (-1, 2), (6, 6), (3, 1), (1, -1)]:
        odd = {"input_start_offsets": i32(start), "input_end_offsets": i32(end), "input_row_splits": i64(0, 1)}
        g.case("TFText>ByteSplitByOffsets", input_values=words[:1], text=True, **odd)
    none = {"input_start_offsets": i32(), "input_end_offsets": i32()}
    g.case("TFText>ByteSplitByOffsets", input_values=words[:2], input_row_splits=i64(0, 0, 0), **none)
    g.case("TFText>ByteSplitByOffsets", input_values=words[:0], input_row_splits=i64(0), **none)


FAMILIES = {
    "text-bytes": split_bytes,
    "text-normalize": normalize,
    "text-split": split,
    "text-tokenize": tokenize,
    "text-wordpieces": wordpieces,
    "text-trim": trim,
    "text-sentencepieces": sentencepieces,
    "text-ngrams": ngrams,
    "text-fast-bert": fast_bert,
    "text-fast-wordpieces": fast_wordpieces,
}
