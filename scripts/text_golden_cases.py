"""The cases of make_op_goldens.py for the ops of TensorFlow Text."""

import numpy as np
from op_golden_cases import texts

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


FAMILIES = {
    "text-normalize": normalize,
}
