/**
 * The wire formats of shardserve as protobuf-es schemas, generated from /protos by `npm run generate`.
 *
 * `fromBinary(PredictRequestSchema, bytes)`, `toBinary(...)` and `create(...)` are protobuf-es, re-exported so that its
 * users need no second dependency. TensorProto fields hold undecoded bytes (protos/README.md): use @shardserve/tensor.
 * ONNX shares names with TensorFlow and has its own namespace, `onnx`.
 */
export {
  clone,
  clearField,
  create,
  equals,
  fromBinary,
  fromJson,
  isMessage,
  ScalarType,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
export type {
  DescEnum,
  DescField,
  DescFile,
  DescMessage,
  DescMethod,
  DescService,
  Message,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
export { reflect, scalarZeroValue } from "@bufbuild/protobuf/reflect";
export type { ReflectList, ReflectMap, ReflectMessage } from "@bufbuild/protobuf/reflect";
export {
  anyPack,
  anyUnpack,
  AnySchema,
  BoolValueSchema,
  type DescriptorProto,
  FieldDescriptorProto_Type,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  Int64ValueSchema,
  type Any,
} from "@bufbuild/protobuf/wkt";
export * from "./gen/grpc/health/v1/health_pb.js";
export * from "./gen/grpc/reflection/v1/reflection_pb.js";
export * from "./gen/kserve/open_inference_grpc_pb.js";
export * from "./gen/shardserve/v1/row_service_pb.js";
export * from "./gen/shardserve/v1/traffic_pb.js";
export * from "./gen/shardserve/v1/update_service_pb.js";
export * from "./gen/tensorflow/core/example/example_pb.js";
export * from "./gen/tensorflow/core/example/feature_pb.js";
export * from "./gen/tensorflow/core/framework/attr_value_pb.js";
export * from "./gen/tensorflow/core/framework/function_pb.js";
export * from "./gen/tensorflow/core/framework/graph_pb.js";
export * from "./gen/tensorflow/core/framework/node_def_pb.js";
export * from "./gen/tensorflow/core/framework/op_def_pb.js";
export * from "./gen/tensorflow/core/framework/resource_handle_pb.js";
export * from "./gen/tensorflow/core/framework/tensor_pb.js";
export * from "./gen/tensorflow/core/framework/tensor_shape_pb.js";
export * from "./gen/tensorflow/core/framework/tensor_slice_pb.js";
export * from "./gen/tensorflow/core/framework/types_pb.js";
export * from "./gen/tensorflow/core/framework/variable_pb.js";
export * from "./gen/tensorflow/core/framework/versions_pb.js";
export {
  type Tree as BoostedTree,
  type TreeEnsemble,
  TreeEnsembleSchema,
} from "./gen/tensorflow/core/kernels/boosted_trees/boosted_trees_pb.js";
export * from "./gen/tensorflow/core/protobuf/config_pb.js";
export * from "./gen/tensorflow/core/protobuf/error_codes_pb.js";
export * from "./gen/tensorflow/core/protobuf/fingerprint_pb.js";
export * from "./gen/tensorflow/core/protobuf/meta_graph_pb.js";
export * from "./gen/tensorflow/core/protobuf/named_tensor_pb.js";
export * from "./gen/tensorflow/core/protobuf/saved_model_pb.js";
export * from "./gen/tensorflow/core/protobuf/saved_object_graph_pb.js";
export * from "./gen/tensorflow/core/protobuf/saver_pb.js";
export * from "./gen/tensorflow/core/protobuf/tensor_bundle_pb.js";
export * from "./gen/tensorflow/core/protobuf/trackable_object_graph_pb.js";
export * from "./gen/tensorflow_serving/apis/classification_pb.js";
export * from "./gen/tensorflow_serving/apis/get_model_metadata_pb.js";
export * from "./gen/tensorflow_serving/apis/get_model_status_pb.js";
export * from "./gen/tensorflow_serving/apis/inference_pb.js";
export * from "./gen/tensorflow_serving/apis/input_pb.js";
export * from "./gen/tensorflow_serving/apis/model_management_pb.js";
export * from "./gen/tensorflow_serving/apis/model_pb.js";
export * from "./gen/tensorflow_serving/apis/model_service_pb.js";
export * from "./gen/tensorflow_serving/apis/predict_pb.js";
export * from "./gen/tensorflow_serving/apis/prediction_log_pb.js";
export * from "./gen/tensorflow_serving/apis/prediction_service_pb.js";
export * from "./gen/tensorflow_serving/apis/regression_pb.js";
export * from "./gen/tensorflow_serving/apis/session_service_pb.js";
export * from "./gen/tensorflow_serving/config/file_system_storage_path_source_pb.js";
export * from "./gen/tensorflow_serving/config/logging_config_pb.js";
export * from "./gen/tensorflow_serving/config/model_server_config_pb.js";
export * from "./gen/tensorflow_serving/config/monitoring_config_pb.js";
export * from "./gen/tensorflow_serving/config/platform_config_pb.js";
export * from "./gen/tensorflow_serving/config/saved_model_config_pb.js";
export * from "./gen/tensorflow_serving/config/session_bundle_config_pb.js";
export * from "./gen/tensorflow_serving/config/ssl_config_pb.js";
export * from "./gen/tensorflow_serving/core/logging_pb.js";
export * from "./gen/tensorflow_serving/util/status_pb.js";
export * as onnx from "./gen/onnx/onnx_pb.js";
