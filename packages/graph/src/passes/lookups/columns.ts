import type { Pieces } from "@shardserve/core";
import { inferring } from "../../infer/infer.js";
import type { Inference } from "../../infer/inference.js";
import type { KernelTable } from "../../ir/host.js";
import type { Program } from "../../ir/program.js";
import { findBoundedIds } from "./bounded-ids.js";
import { findFilledIds } from "./filled-ids.js";
import { poolFilledIds } from "./pooled-lookups.js";
import { findPresentElements } from "./present-elements.js";
import { Readers } from "../readers.js";

/**
 * Brings the chains of feature columns and of JAX's lookups, dozens of small ops for each column, into few nodes of the host's own;
 * see docs/decisions/077-columns-in-few-steps.md. The nodes compute what the ops would, errors included.
 *
 * @param shortRows  names of the gathers whose rows are added up on the host
 */
export function* fuseColumns(
  given: Program,
  before: Inference,
  kernels: KernelTable,
  shortRows: ReadonlySet<string>,
): Pieces<{ readonly program: Program; readonly inference: Inference }> {
  if (!kernels.get("FilledIds")) return { program: given, inference: before };
  let program = given;
  let inference = before;
  let readers = yield* Readers.reading(program);
  for (const pass of [findFilledIds, findPresentElements, poolFilledIds, findBoundedIds]) {
    const next = pass(program, inference, readers, shortRows);
    yield;
    if (next === program) continue;
    program = next;
    inference = yield* inferring(next, inference);
    readers = yield* Readers.reading(next);
  }
  return { program, inference };
}
