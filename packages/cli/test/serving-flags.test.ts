import assert from "node:assert/strict";
import { silentLogger } from "@shardserve/core";
import { serve } from "../src/commands/serve.js";
import { parseArguments } from "../src/flags.js";
import { SERVING_FLAGS, warnOfIgnored } from "../src/roles/flags/serving-flags.js";

/** The flags of tensorflow_model_server 2.20 (model_servers/main.cc), with a value each. */
const TENSORFLOW_MODEL_SERVER = `
  port=8500 grpc_socket_path=/s rest_api_port=8501 rest_api_num_threads=16 rest_api_timeout_in_ms=30000
  rest_api_enable_cors_support=true enable_batching=true batching_parameters_file=f
  enable_per_model_batching_parameters=false allow_version_labels_for_unavailable_models=true model_config_file=f
  model_config_file_poll_wait_seconds=5 model_name=m model_base_path=/m num_load_threads=2 num_unload_threads=2
  max_num_load_retries=5 load_retry_interval_micros=60000000 file_system_poll_wait_seconds=1
  flush_filesystem_caches=false tensorflow_session_parallelism=0 tensorflow_intra_op_parallelism=2
  tensorflow_inter_op_parallelism=2 tensorflow_session_config_file=f use_alts_credentials=false ssl_config_file=f
  platform_config_file=f per_process_gpu_memory_fraction=0.5 saved_model_tags=serve
  grpc_channel_arguments=grpc.x=1 grpc_max_threads=8 enable_model_warmup=true num_request_iterations_for_warmup=2
  version monitoring_config_file=f remove_unused_fields_from_bundle_metagraph=false prefer_tflite_model=true
  num_tflite_pools=2 num_tflite_interpreters_per_pool=2 enable_signature_method_name_check=true
  xla_cpu_compilation_enabled=true xla_gpu_compilation_enabled=true enable_profiler=false
  thread_pool_factory_config_file=f mixed_precision=bfloat16 skip_initialize_tpu=true
  enable_grpc_healthcheck_service=false enable_serialization_as_tensor_content=true`
  .trim()
  .split(/\s+/)
  .map((flag) => `--${flag}`);

describe("flags of tensorflow_model_server", () => {
  it("refuse an empty address", () => {
    assert.throws(() => parseArguments("serve", serve.flags, ["--host="]), /--host="": must not be empty/);
  });

  it("are all taken by serve", () => {
    assert.equal(TENSORFLOW_MODEL_SERVER.length, 48);
    const { flags } = parseArguments("serve", serve.flags, TENSORFLOW_MODEL_SERVER);
    assert.equal(flags["modelConfigFilePollWaitSeconds"], 5);
    assert.equal(flags["version"], true);
  });

  it("that change nothing are named once each, and only when given", () => {
    const warned = (args: readonly string[]) => {
      const lines: string[] = [];
      const { flags } = parseArguments("executor", SERVING_FLAGS, args);
      warnOfIgnored(flags, { ...silentLogger, warn: (_fields, message) => lines.push(message) });
      return lines;
    };
    assert.deepEqual(warned(["--port=1"]), []);
    assert.deepEqual(warned(["--enable_profiler=false", "--grpc_max_threads=8", "--no-flush_filesystem_caches"]), [
      "--grpc-max-threads has no effect: one event loop serves all connections",
      "--flush-filesystem-caches has no effect: weights are mapped, their pages are the cache",
      "--enable-profiler has no effect: there is no TensorFlow profiler; see the metrics",
    ]);
  });

  it("that are unknown are refused", () => {
    assert.throws(() => parseArguments("serve", serve.flags, ["--enable_batchng"]), /unknown flag --enable_batchng/);
  });
});
