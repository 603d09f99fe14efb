/**
 * Ops that get their value from outside of the request: from a feed or a dataset. A served graph has neither, so they fail
 * every request that needs them, as they do in TensorFlow Serving.
 */
import { ServingError } from "@shardserve/core";
import { resourceKey } from "@shardserve/graph";
import { tfDTypeName } from "@shardserve/tensor";
import { invalid } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";

function placeholder({ node, attrs }: OpCall): never {
  const dtype = tfDTypeName(attrs.dtype("dtype"));
  throw invalid(`You must feed a value for placeholder tensor '${node.name}' with dtype ${dtype}`);
}

function iterator({ node }: OpCall) {
  return [{ kind: "other" as const, key: resourceKey(node) }];
}

function next(): never {
  throw new ServingError(
    "FAILED_PRECONDITION",
    "GetNext() failed because the iterator has not been initialized. Ensure that you have run the initializer operation for this iterator before getting the next element.",
  );
}

export const UNFED_KERNELS: Readonly<Record<string, Kernel>> = {
  Placeholder: placeholder,
  PlaceholderV2: placeholder,
  Iterator: iterator,
  IteratorV2: iterator,
  IteratorFromStringHandle: iterator,
  IteratorFromStringHandleV2: iterator,
  OneShotIterator: iterator,
  IteratorGetNext: next,
  IteratorGetNextSync: next,
};
