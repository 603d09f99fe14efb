import { flag } from "../flags.js";

/** Flags of everything that answers predict requests; names and meaning are TensorFlow Serving's where it has them. */
export const SERVING_FLAGS = {
  port: flag.int("gRPC port; 0 = any free one", 0, 65_535, 8500),
  grpcSocketPath: flag.text("Unix socket for gRPC instead of a port", "PATH", ""),
  restApiPort: flag.int("REST port, also metrics and health; -1 = none, 0 = any free one", -1, 65_535, 8501),
  restApiTimeoutInMs: flag.int("time for a REST request to finish; 0 = no limit", 0, 86_400_000, 30_000),
  restApiEnableCorsSupport: flag.bool("CORS headers on REST replies"),
  host: flag.text("address to listen on", "ADDRESS", "0.0.0.0"),
  enableBatching: flag.bool("join requests of one signature across callers", true),
  maxBatchRows: flag.int("rows of a joined run", 1, 1_000_000, 512),
  enableSerializationAsTensorContent: flag.bool("reply with tensor_content instead of typed fields"),
  savedModelTags: flag.list("tags of the meta graph to serve", "TAGS", ["serve"]),
  maxNumLoadRetries: flag.int("tries after a failed load", 0, 1000, 5),
  intraOpThreads: flag.int("threads of the engine; 0 = all cores", 0, 1024, 0),
  drainSeconds: flag.int("how long requests in flight may still take after SIGTERM", 0, 86_400, 30),
  drainDelaySeconds: flag.number("how much of that goes by before new connections are refused", 0, 86_400, 0),
};
