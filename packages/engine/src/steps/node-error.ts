import { ServingError } from "@shardserve/core";

/** What a node's failure is told as: TensorFlow's texts end with the node that failed. */
export function nodeError(error: unknown, node: string): unknown {
  if (!(error instanceof ServingError) || error.message.includes("[[{{node ")) return error;
  const { code, details, message } = error;
  return new ServingError(code, `${message}\n\t [[{{node ${node}}}]]`, { cause: error, details });
}
