import { ServingError } from "@shardserve/core";

/** "... while running Gather node. Name:'scope/embedding/Gather_3' Status Message: ..." */
const NODE_FAILURE = /while running (\S+) node\. Name:'(.*?)\/[^/']*' Status Message: (.*)$/s;
const OUT_OF_MEMORY = /failed to allocate memory|bad_alloc|out of memory/i;

/**
 * What a failed run means to the caller. A kernel that refuses its input refuses what the request brought: shapes that do
 * not fit, indices out of range, division by zero. That is INVALID_ARGUMENT, as in TensorFlow; running out of memory is
 * RESOURCE_EXHAUSTED; anything else stays ENGINE_FAILED.
 */
export function deviceError(error: unknown): unknown {
  if (!(error instanceof ServingError) || error.code !== "ENGINE_FAILED") return error;
  if (OUT_OF_MEMORY.test(error.message)) {
    return new ServingError("RESOURCE_EXHAUSTED", error.message, { cause: error });
  }
  const failure = NODE_FAILURE.exec(error.message);
  if (failure) {
    const [, op, node, text] = failure as unknown as [string, string, string, string];
    return new ServingError("INVALID_ARGUMENT", `${plainText(text)}\n\t [[{{node ${node}}}]] (${op})`, {
      cause: error,
    });
  }
  // ONNX Runtime checks the feeds themselves before it runs anything.
  if (error.details["ortCode"] === "INVALID_ARGUMENT") {
    return new ServingError("INVALID_ARGUMENT", error.message, { cause: error });
  }
  return error;
}

/** ONNX Runtime's enforcement texts begin with a source position and a signature. */
function plainText(text: string): string {
  return text.replace(/^\/\S+:\d+ .*?(?=\S+ was false\.|\w+ .*)/s, "").trim() || text;
}
