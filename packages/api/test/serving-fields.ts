/**
 * Field numbers of package tensorflow.serving, transcribed from TensorFlow Serving's own .proto files at 9d981c5c
 * (master of 2026-07-30), independently of protos/.
 */
export const SERVING_FIELDS = `
ModelSpec: name=1 version=2 version_label=4 signature_name=3
PredictRequest: model_spec=1 inputs=2 output_filter=3 predict_streamed_options=5 client_id=6 request_options=7
PredictRequest.RequestOptions: client_id=1 deterministic_mode=2 return_additional_arrays_from_prefill=3
  return_stoptokens=4 return_all_stoptokens=9 max_cache_length=6
PredictStreamedOptions: request_state=1 split_dimensions=2 return_single_response=3
PredictResponse: outputs=1 model_spec=2
ExampleList: examples=1
ExampleListWithContext: examples=1 context=2
Input: example_list=1 example_list_with_context=2
Class: label=1 score=2
Classifications: classes=1
ClassificationResult: classifications=1
ClassificationRequest: model_spec=1 input=2
ClassificationResponse: result=1 model_spec=2
Regression: value=1
RegressionResult: regressions=1
RegressionRequest: model_spec=1 input=2
RegressionResponse: result=1 model_spec=2
InferenceTask: model_spec=1 method_name=2
InferenceResult: model_spec=1 classification_result=2 regression_result=3
MultiInferenceRequest: tasks=1 input=2
MultiInferenceResponse: results=1
SignatureDefMap: signature_def=1
GetModelMetadataRequest: model_spec=1 metadata_field=2
GetModelMetadataResponse: model_spec=1 metadata=2
GetModelStatusRequest: model_spec=1
ModelVersionStatus: version=1 state=2 status=3
GetModelStatusResponse: model_version_status=1
StatusProto: error_code=1 error_message=2
ReloadConfigRequest: config=1 metric_names=2
ReloadConfigResponse: status=1 metric=2
Metric: name=1 int64_value_increase=2
SessionRunRequest: model_spec=1 feed=2 fetch=3 target=4 options=5 tensor_name_is_alias=6
SessionRunResponse: tensor=1 metadata=2 model_spec=3
LogMetadata: model_spec=1 sampling_config=2 saved_model_tags=3 timestamp_secs=4 dc=5 request_origin=6
  request_criticality=7 safe_aggregation_privacy_key=8
PredictStreamedLog: request=1 response=2
PredictionLog: log_metadata=1 classify_log=2 regress_log=3 multi_inference_log=4 session_run_log=5 predict_log=6
  predict_streamed_log=7
ModelServerConfig: model_config_list=1 custom_model_config=2
ModelConfigList: config=1
ModelConfig: name=1 base_path=2 model_type=3 model_platform=4 logging_config=6 model_version_policy=7 version_labels=8
FileSystemStoragePathSourceConfig: servables=5 file_system_poll_wait_seconds=3 fail_if_zero_versions_at_startup=4
  servable_versions_always_present=6
FileSystemStoragePathSourceConfig.ServableVersionPolicy: latest=100 all=101 specific=102
FileSystemStoragePathSourceConfig.ServableVersionPolicy.Latest: num_versions=1
FileSystemStoragePathSourceConfig.ServableVersionPolicy.All:
FileSystemStoragePathSourceConfig.ServableVersionPolicy.Specific: versions=1
FileSystemStoragePathSourceConfig.ServableToMonitor: servable_name=1 base_path=2 servable_version_policy=4
PlatformConfigMap: platform_configs=1
PlatformConfig: source_adapter_config=1
SavedModelBundleSourceAdapterConfig: legacy_config=1000
SessionBundleConfig: session_target=1 session_config=2 batching_parameters=3 session_run_load_threadpool_index=4
  experimental_transient_ram_bytes_during_load=5 saved_model_tags=6 in_graph_batching_parameters=7
  experimental_fixed_input_tensors=778 enable_model_warmup=779 model_warmup_options=780 enable_session_metadata=781
  remove_unused_fields_from_bundle_metagraph=782 prefer_tflite_model=783
  resource_estimation_uses_validation_result=784 num_tflite_interpreters=785 num_tflite_interpreters_per_pool=786
  num_tflite_pools=787 wrap_session_with_no_threading_params=788 enable_per_model_batching_params=789
  enable_saved_model_config=790 mixed_precision=791
ModelWarmupOptions: num_request_iterations=1 num_model_warmup_threads=2 model_name=3 model_version=4
  enable_all_batch_sizes_warmup=5
BatchingParameters: max_batch_size=1 batch_timeout_micros=2 max_enqueued_batches=3 num_batch_threads=4
  thread_pool_name=5 allowed_batch_sizes=6 pad_variable_length_inputs=7 enable_large_batch_splitting=8
  max_execution_batch_size=9
MonitoringConfig: prometheus_config=1
PrometheusConfig: enable=1 path=2
LoggingConfig: log_collector_config=1 sampling_config=2 custom_logging_config=3
LogCollectorConfig: type=1 filename_prefix=2
SamplingConfig: sampling_rate=1 attributes=2 per_task_sampling_configs=3
SSLConfig: server_key=1 server_cert=2 custom_ca=3 client_verify=4
ThreadPoolFactoryConfig: thread_pool_factory_config=1
StaticStoragePathSourceConfig: servable_name=1 version_num=2 version_path=3
SessionOverrides: remote_op_remap_config=1 batch_op_rewriter_config=2 disable_meta_optimizer=3
PerTaskSamplingConfig: dc=1 task_index=2 sampling_rate=3
SavedModelConfig: session_overrides=1 tfrt_runtime_config=2 critical=3
ClassifyLog: request=1 response=2
RegressLog: request=1 response=2
PredictLog: request=1 response=2
MultiInferenceLog: request=1 response=2
SessionRunLog: request=1 response=2
`;
