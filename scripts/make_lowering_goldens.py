"""What TensorFlow answers for single ops: the truth that the ONNX lowerings are tested against.

    python scripts/make_lowering_goldens.py        (TensorFlow 2.21, CPU)

Writes packages/onnx/test/goldens/golden-FAMILY.json: a list of cases
  {op, attrs, in: [tensor], out: [tensor] | error: 1, only?: [output index]}
where a tensor is {d: DataType number, s: shape, b: base64 of little-endian data, c?: 1 when it is a constant of the graph}.
"""

import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from lowering_cases import FAMILIES, record  # noqa: E402

OUT = os.path.join(HERE, "..", "packages", "onnx", "test", "goldens")
CONFORMANCE = os.path.join(HERE, "..", "test", "conformance", "goldens")


def main():
    for name in sys.argv[1:] or FAMILIES:
        cases = record(FAMILIES[name])
        # Ops without a lowering of their own: the conformance suite alone can run them.
        path = os.path.join(CONFORMANCE if name == "compositions" else OUT, f"golden-{name}.json")
        with open(path, "w") as out:
            out.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
        print(name, len(cases), sum("error" in c for c in cases), os.path.getsize(path))


if __name__ == "__main__":
    main()
