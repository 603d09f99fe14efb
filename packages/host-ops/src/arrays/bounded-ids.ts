/** Ids of a table as JAX takes them: see `BoundedIds` in the compiler's IR. */
import { elementCount, type Tensor, tensor } from "@shardserve/tensor";
import { allocate } from "../call/limits.js";
import type { Kernel, OpCall } from "../call/op-call.js";

function boundedIds(op: OpCall): Tensor[] {
  const ids = op.tensor(0);
  const [most, added] = [op.attrs.int("most"), op.attrs.int("added")];
  const given = ids.data as Int32Array;
  const count = elementCount(ids.shape);
  const [bounded, within] = [allocate("int32", count), allocate("bool", count)];
  for (let i = 0; i < count; i++) {
    const id = given[i]! < 0 ? given[i]! + added : given[i]!;
    within[i] = id >= 0 && id <= most ? 1 : 0;
    bounded[i] = Math.max(0, Math.min(most, id));
  }
  return [tensor("int32", ids.shape, bounded), tensor("bool", ids.shape, within)];
}

export const BOUNDED_IDS_KERNELS: Readonly<Record<string, Kernel>> = { BoundedIds: boundedIds };
