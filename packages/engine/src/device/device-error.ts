import { ServingError } from "@shardserve/core";
import { CHECK_LABEL, EMPTY_LABEL, OVERFLOW_LABEL, RANK_LABEL } from "@shardserve/onnx";

/** "... while running Gather node. Name:'scope/embedding/Gather_3' Status Message: ..." */
const NODE_FAILURE = /while running \S+ node\. Name:'([^']*)' Status Message: (.*)$/s;
/** Names that lowering gives: TensorFlow's node, the ONNX op, a number. Fused nodes have others. */
const NODE_NAME = /^(.*)\/([^/]*?)_\d+$/s;
/** What nodes of ours say that are there to fail. */
const REASONS: ReadonlyMap<string, string> = new Map([
  [CHECK_LABEL, "an input is out of range or the output would be too large"],
  [EMPTY_LABEL, "a tensor without elements (an empty batch or sequence), which ONNX Runtime does not take here"],
  [OVERFLOW_LABEL, "the least integer of its type divided by -1, which ONNX Runtime does not take here"],
  [RANK_LABEL, "a tensor of a rank that the op does not take"],
]);
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
    const [, name, text] = failure as unknown as [string, string, string];
    const [, node, label] = NODE_NAME.exec(name) ?? [name, name, ""];
    const what = REASONS.get(label) ?? plainText(text);
    return new ServingError("INVALID_ARGUMENT", `${what}\n\t [[{{node ${node}}}]]`, { cause: error });
  }
  // ONNX Runtime checks the feeds themselves before it runs anything.
  if (error.details["ortCode"] === "INVALID_ARGUMENT") {
    return new ServingError("INVALID_ARGUMENT", error.message, { cause: error });
  }
  return error;
}

/** ONNX Runtime's enforcement texts begin with a source position, a signature and the condition that did not hold. */
function plainText(text: string): string {
  const enforced = /^\/\S+:\d+ .*? was false\.\s*(.*)$/s.exec(text)?.[1];
  return (enforced || text.replace(/^\/\S+:\d+ /, "")).trim();
}
