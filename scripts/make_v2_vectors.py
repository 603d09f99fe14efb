"""Records inference requests as tritonclient writes them, for packages/model-server/test/testdata/v2-requests.json.

    pip install 'tritonclient[grpc,http]' numpy
    python scripts/make_v2_vectors.py > packages/model-server/test/testdata/v2-requests.json

Each case names the signature that it calls and what its input "x" holds: shape, datatype and raw little-endian bytes.
"""
import base64
import json
import sys
from importlib.metadata import version

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.grpc._utils import _get_inference_request
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

VALUES = [
    ("bool", np.array([[True, False, True]])),
    ("int8", np.array([-128, 0, 127], np.int8)),
    ("int16", np.array([-32768, 32767], np.int16)),
    ("int32", np.array([[-(2**31)], [2**31 - 1]], np.int32)),
    ("int64", np.array([-(2**63), 2**63 - 1, 2**53 + 1], np.int64)),
    ("uint8", np.array([0, 255], np.uint8)),
    ("uint16", np.array([0, 65535], np.uint16)),
    ("uint32", np.array([0, 2**32 - 1], np.uint32)),
    ("uint64", np.array([0, 2**64 - 1], np.uint64)),
    ("float16", np.array([0.5, -2.0], np.float16)),
    ("float32", np.array([[1.5, -0.1], [3e38, 1e-40]], np.float32)),
    ("float64", np.array([0.1, 1e300], np.float64)),
    ("string", np.array([b"a", "grüße".encode(), b""], np.object_)),
    ("float32", np.zeros([0, 2], np.float32)),
]


def b64(data):
    return base64.b64encode(data).decode()


def raw(array):
    if array.dtype == np.object_:
        return serialize_byte_tensor(array).item() if array.size else b""
    return array.tobytes()


def grpc_request(signature, array):
    value = grpc_client.InferInput("x", array.shape, np_to_triton_dtype(array.dtype))
    value.set_data_from_numpy(array)
    return _get_inference_request(
        inputs=[value], model_name="echo", model_version="", request_id="7",
        outputs=[grpc_client.InferRequestedOutput("y")], sequence_id=0, sequence_start=False, sequence_end=False,
        priority=0, timeout=None, parameters={"signature_name": signature},
    ).SerializeToString()


def http_request(signature, array, binary):
    value = http_client.InferInput("x", array.shape, np_to_triton_dtype(array.dtype))
    value.set_data_from_numpy(array, binary_data=binary)
    body, length = http_client.InferenceServerClient.generate_request_body(
        [value], outputs=[http_client.InferRequestedOutput("y", binary_data=binary)], request_id="7",
        parameters={"signature_name": signature},
    )
    return {"body": b64(body), "json_bytes": length}


cases = []
for signature, array in VALUES:
    case = {
        "signature": signature,
        "datatype": np_to_triton_dtype(array.dtype),
        "shape": list(array.shape),
        "raw": b64(raw(array)),
        "grpc": b64(grpc_request(signature, array)),
        "http_binary": http_request(signature, array, True),
    }
    if array.dtype != np.float16:
        case["http_json"] = http_request(signature, array, False)
    cases.append(case)
json.dump({"client": f"tritonclient {version('tritonclient')}", "cases": cases}, sys.stdout, indent=1)
print()
