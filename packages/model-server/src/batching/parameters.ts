import { type BatchingParameters, BatchingParametersSchema } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { readTextFile } from "../config/text-file.js";
import type { BatchingOptions } from "./options.js";

/** What TensorFlow Serving's batching does where its file says nothing (servables/tensorflow/bundle_factory_util.cc). */
const MAX_BATCH_SIZE = 1000n;
const MAX_ENQUEUED_BATCHES = 10n;
/** Beyond these a value is a slip of the pen. */
const LIMIT = 2n ** 31n;

/**
 * Reads a --batching_parameters_file: BatchingParameters in protobuf's text format.
 *
 * @param cores  threads where the file does not say num_batch_threads
 * @throws ServingError NOT_FOUND, CONFIG_INVALID
 */
export async function readBatchingParameters(path: string, cores: number): Promise<BatchingOptions> {
  return batchingOptions(await readTextFile(BatchingParametersSchema, path), cores, path);
}

/**
 * The options that BatchingParameters mean, with TensorFlow Serving's defaults.
 *
 * @param where  what they come from, for messages
 * @throws ServingError CONFIG_INVALID
 */
export function batchingOptions(parameters: BatchingParameters, cores: number, where: string): BatchingOptions {
  const invalid = (message: string) => new ServingError("CONFIG_INVALID", `${where}: ${message}`);
  const within = (name: string, value: bigint, min: bigint): number => {
    if (value < min || value > LIMIT) throw invalid(`${name} is ${value}, not ${min} to ${LIMIT}`);
    return Number(value);
  };
  const isLargeSplit = parameters.enableLargeBatchSplitting ?? false;
  const requestRowsMax = within("max_batch_size", parameters.maxBatchSize ?? MAX_BATCH_SIZE, 1n);
  const maxBatchRows = isLargeSplit
    ? within("max_execution_batch_size", parameters.maxExecutionBatchSize ?? BigInt(requestRowsMax), 1n)
    : requestRowsMax;
  if (maxBatchRows > requestRowsMax) {
    throw invalid(`max_execution_batch_size ${maxBatchRows} is more than max_batch_size ${requestRowsMax}`);
  }
  const allowedRows = parameters.allowedBatchSizes.map((size) => within("allowed_batch_sizes", size, 1n));
  for (const [i, size] of allowedRows.entries()) {
    if (i > 0 && size <= allowedRows[i - 1]!) {
      throw invalid("allowed_batch_sizes entries must be in increasing order");
    }
  }
  const last = allowedRows.at(-1);
  if (last !== undefined && last !== maxBatchRows) {
    const name = isLargeSplit ? "max_execution_batch_size" : "max_batch_size";
    throw invalid(
      `Last entry in allowed_batch_sizes must match ${name}; last entry was ${last}; expected ${maxBatchRows}`,
    );
  }
  const batches = within("max_enqueued_batches", parameters.maxEnqueuedBatches ?? MAX_ENQUEUED_BATCHES, 0n);
  return {
    isEnabled: true,
    maxBatchRows,
    requestRowsMax: isLargeSplit ? Number.POSITIVE_INFINITY : requestRowsMax,
    isLargeSplit,
    allowedRows,
    isPadded: parameters.padVariableLengthInputs,
    queueRowsMax: Math.max(batches, 1) * maxBatchRows,
    runsMax: within("num_batch_threads", parameters.numBatchThreads ?? BigInt(cores), 1n),
    timeoutMs: within("batch_timeout_micros", parameters.batchTimeoutMicros ?? 0n, 0n) / 1000,
    targetLatencyMs: Number.POSITIVE_INFINITY,
  };
}
