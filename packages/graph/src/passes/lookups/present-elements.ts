import type { Inference } from "../../infer/inference.js";
import { Attrs } from "../../ir/attrs.js";
import { type GraphNode, outputKey, refKey, type TensorRef } from "../../ir/ir.js";
import { type Program, prune, rewrite } from "../../ir/program.js";
import type { Readers } from "../readers.js";

/**
 * Makes `indices = Where(x != absent)` and `GatherNd(x, indices)` one node `PresentElements`: how feature columns make a sparse
 * tensor of a dense input. Only where x is fed, and strings or the indices of a `FilledIds`: the host has both then.
 */
export function findPresentElements(program: Program, inference: Inference, readers: Readers): Program {
  const aliases = new Map<string, TensorRef>();
  const replaced = new Map<string, GraphNode>();
  for (const where of program.graph.values()) {
    if (where.op !== "Where" || where.controls.length > 0) continue;
    const test = program.graph.get(where.inputs[0]!.node)!;
    if (test.op !== "NotEqual" || test.controls.length > 0) continue;
    const [x, absent] = test.inputs as [TensorRef, TensorRef];
    const info = inference.info(x);
    if (
      program.graph.get(x.node)!.op !== "Placeholder" ||
      !info?.shape ||
      info.shape.length === 0 ||
      info.shape.length > 8
    )
      continue;
    if (inference.info(absent)?.shape?.length !== 0) continue;
    const users = readers.of({ node: where.name, index: 0 });
    const isHosts = info.dtype === "string" || users.some(({ op }) => op === "FilledIds");
    const gather = users.find(
      (user) => user.op === "GatherNd" && user.controls.length === 0 && refKey(user.inputs[0]!) === refKey(x),
    );
    if (!isHosts || !gather || !/^(string|int64|int32)$/.test(info.dtype)) continue;
    const attrs = new Attrs("PresentElements");
    replaced.set(where.name, { name: where.name, op: "PresentElements", inputs: [x, absent], controls: [], attrs });
    aliases.set(outputKey(gather.name), { node: where.name, index: 1 });
  }
  return replaced.size === 0 ? program : prune(rewrite(program, aliases, replaced));
}
