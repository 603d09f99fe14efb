import { type GraphNode, refKey, type TensorRef, type ValueInfo } from "./ir.js";
import { type Program, prune, rewrite } from "./program.js";

/** Ops that hand input 0 on. CheckNumerics stays: it fails on purpose. */
const PASS_THROUGH = new Set([
  "Identity",
  "IdentityN",
  "RefIdentity",
  "StopGradient",
  "PreventGradient",
  "Snapshot",
  "PlaceholderWithDefault",
  "Print",
  "DebugIdentity",
  "Copy",
  "DeepCopy",
]);

/**
 * Removes nodes that change nothing: Identity and its kin, casts to the same dtype, EnsureShape that holds anyway. Nodes
 * with control edges stay, because they tie an effect to what is computed after it.
 *
 * @param infos dtypes and shapes where known
 */
export function simplify(program: Program, infos: ReadonlyMap<string, ValueInfo>): Program {
  const aliases = new Map<string, TensorRef>();
  // A node that others only wait for stays in the graph, but has nothing left to replace.
  const used = new Set(
    [...program.outputs, ...[...program.graph.values()].flatMap(({ inputs }) => inputs)].map(refKey),
  );
  for (const node of program.graph.values()) {
    if (node.controls.length > 0 || !isNoOp(node, infos)) continue;
    const count = node.op === "IdentityN" ? node.inputs.length : 1;
    for (let i = 0; i < count; i++) {
      const key = `${node.name}:${i}`;
      if (used.has(key)) aliases.set(key, node.inputs[i]!);
    }
  }
  return aliases.size === 0 ? program : prune(rewrite(program, aliases));
}

function isNoOp(node: GraphNode, infos: ReadonlyMap<string, ValueInfo>): boolean {
  if (PASS_THROUGH.has(node.op)) return node.inputs.length > 0;
  const input = node.inputs[0] && infos.get(refKey(node.inputs[0]));
  switch (node.op) {
    case "Cast":
      return input !== undefined && input.dtype === node.attrs.dtype("DstT");
    case "Bitcast":
      return input !== undefined && input.dtype === node.attrs.dtype("type");
    case "EnsureShape": {
      const wanted = node.attrs.shape("shape");
      if (!wanted) return true;
      const shape = input?.shape;
      return shape?.length === wanted.length && wanted.every((dim, i) => dim === -1 || dim === shape[i]);
    }
    default:
      return false;
  }
}
