import { Metadata, type ServerErrorResponse, type ServiceError } from "@grpc/grpc-js";
import { GRPC_STATUS, type ServingError } from "@shardserve/core";
import type { RowsReport, ServableId } from "@shardserve/servable";
import type { RequestExplanation } from "../predict/explanation.js";
import type { Answer } from "../predict/predictor.js";
import { answerEntries } from "../predict/report.js";

/** TensorFlow Serving cuts the text of a status at this many bytes: headers have limits. */
const MESSAGE_BYTES_MAX = 1024;

/** A failure as gRPC sends it; our stable error code travels in the trailer x-shardserve-error. */
export function grpcError(error: ServingError): Partial<ServiceError> & ServerErrorResponse {
  const metadata = new Metadata();
  metadata.set("x-shardserve-error", error.code);
  return {
    name: "Error",
    message: error.message,
    code: GRPC_STATUS[error.status],
    details: truncated(error.message),
    metadata,
  };
}

function truncated(message: string): string {
  const bytes = Buffer.from(message);
  if (bytes.length <= MESSAGE_BYTES_MAX) return message;
  // A character that the cut splits is dropped.
  const kept = bytes
    .subarray(0, MESSAGE_BYTES_MAX)
    .toString()
    .replace(/\ufffd$/, "");
  return `${kept}...TRUNCATED`;
}

/** By what they tell of: the rows of a joined run, else the version. grpc-js only reads them. */
const trailers = new WeakMap<RowsReport | ServableId, Metadata>();

/** The trailers that tell which version answered, and where its rows came from. */
export function answerTrailer({ by, report }: Answer, explanation?: RequestExplanation): Metadata | undefined {
  if (!by) return undefined;
  if (explanation) return trailerOf(answerEntries(by, report, explanation));
  const source = report ?? by;
  let trailer = trailers.get(source);
  if (!trailer) trailers.set(source, (trailer = trailerOf(answerEntries(by, report))));
  return trailer;
}

function trailerOf(entries: ReturnType<typeof answerEntries>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of entries) metadata.set(name, value);
  return metadata;
}
