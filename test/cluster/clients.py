"""Real Python clients against one server of the model wide_deep; one JSON object of answers by client on standard output.

    python clients.py GRPC_ADDRESS REST_ADDRESS CLIENT       CLIENT: tensorflow-serving-api | tritonclient | reflection

Exits with 3 when the client's packages are not installed. Answers are hexadecimal bytes, so that two servers can be compared.
"""
import json
import sys

MISSING = 3
ROWS = {
    "age": ("float32", [[31.0], [58.5], [17.0]]),
    "city": ("bytes", [[b"berlin"], [b"nowhere"], [b"paris"]]),
    "device": ("int64", [[0], [3], [2**40]]),
    "score": ("float32", [[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], [-1, -2, -3, -4]]),
    "user_id": ("int64", [[7], [2**62 + 1], [7]]),
}


def arrays():
    import numpy as np

    return {name: np.array(rows, dtype=object if kind == "bytes" else kind) for name, (kind, rows) in ROWS.items()}


def serialized(message):
    return message.SerializeToString(deterministic=True).hex()


def tensorflow_serving_api(grpc_address, rest_address):
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_service_pb2_grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(grpc_address)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "wide_deep"
    for name, values in arrays().items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values.tolist() if values.dtype == object else values))
    answers = {}
    reply, call = stub.Predict.with_call(request, timeout=20)
    answers["predict"] = serialized(reply)
    answers["version trailer"] = dict(call.trailing_metadata())["x-shardserve-model-version"]
    assert tf.make_ndarray(reply.outputs["activation"]).shape == (3, 1)
    request.output_filter.append("logit")
    answers["predict, one output"] = serialized(stub.Predict(request, timeout=20))
    request.model_spec.version.value = 99
    try:
        stub.Predict(request, timeout=20)
    except grpc.RpcError as error:
        answers["unknown version"] = f"{error.code().name}: {error.details()}"
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "wide_deep"
    found = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(metadata, timeout=20).metadata["signature_def"].Unpack(found)
    answers["metadata"] = sorted(found.signature_def["serving_default"].inputs)
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "wide_deep"
    model_stub = model_service_pb2_grpc.ModelServiceStub(channel)
    answers["status"] = serialized(model_stub.GetModelStatus(status, timeout=20))
    return answers


def tritonclient(grpc_address, rest_address):
    import tritonclient.grpc as over_grpc
    import tritonclient.http as over_http
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

    answers = {}
    for module, address, forms in ((over_grpc, grpc_address, [{}]), (over_http, rest_address, [{"binary_data": True}, {"binary_data": False}])):
        client = module.InferenceServerClient(address)
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("wide_deep")
        assert not client.is_model_ready("nothing")
        metadata = client.get_model_metadata("wide_deep")
        versions = metadata["versions"] if isinstance(metadata, dict) else list(metadata.versions)
        answers[f"{module.__name__} versions"] = versions
        for form in forms:
            inputs = []
            for name, values in arrays().items():
                value = module.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
                value.set_data_from_numpy(values, **form)
                inputs.append(value)
            outputs = [module.InferRequestedOutput(name, **form) for name in ("activation", "discretization", "logit")]
            result = client.infer("wide_deep", inputs, outputs=outputs, request_id="42")
            for name in ("activation", "discretization", "logit"):
                answers[f"{module.__name__} {form} {name}"] = result.as_numpy(name).tobytes().hex()
        compressed = {} if module is over_grpc else {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
        result = client.infer("wide_deep", inputs, **compressed)
        answers[f"{module.__name__} all outputs"] = result.as_numpy("activation").tobytes().hex()
        try:
            client.infer("wide_deep", inputs[1:])
        except InferenceServerException as error:
            answers[f"{module.__name__} missing input"] = f"{error.status()}: {error.message()}"
    values = {answer for key, answer in answers.items() if "activation" in key or "all outputs" in key}
    assert len(values) == 1, f"the transports disagree: {values}"
    return answers


def reflection(grpc_address, rest_address):
    import grpc
    from google.protobuf import descriptor_pool, message_factory
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    channel = grpc.insecure_channel(grpc_address)
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = descriptor_pool.DescriptorPool(database)
    answers = {"services": sorted(database.get_services())}
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").FindMethodByName("Predict")
    request = message_factory.GetMessageClass(method.input_type)()
    request.model_spec.name = "wide_deep"
    fields = {"float32": (1, "float_val"), "int64": (9, "int64_val"), "bytes": (7, "string_val")}
    for name, (kind, rows) in ROWS.items():
        tensor = request.inputs[name]
        tensor.dtype, field = fields[kind]
        for size in (len(rows), len(rows[0])):
            tensor.tensor_shape.dim.add().size = size
        getattr(tensor, field).extend(value for row in rows for value in row)
    answer_class = message_factory.GetMessageClass(method.output_type)
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = channel.unary_unary(path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=answer_class.FromString)
    answers["predict"] = serialized(call(request, timeout=20))
    return answers


CLIENTS = {"tensorflow-serving-api": tensorflow_serving_api, "tritonclient": tritonclient, "reflection": reflection}

try:
    print(json.dumps(CLIENTS[sys.argv[3]](sys.argv[1], sys.argv[2])))
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(MISSING)
