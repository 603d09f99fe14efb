import type { FunctionDef, NodeDef } from "@shardserve/api";
import { calledFunctions } from "@shardserve/savedmodel";

/** The functions that nodes call, and those that they call in turn. */
export function functionsOf(
  nodes: Iterable<NodeDef>,
  library: ReadonlyMap<string, FunctionDef>,
): Map<string, FunctionDef> {
  const found = new Map<string, FunctionDef>();
  const visit = (defs: Iterable<NodeDef>): FunctionDef[] => {
    const fresh: FunctionDef[] = [];
    for (const node of defs) {
      for (const name of calledFunctions(node)) {
        const def = library.get(name);
        if (!def || found.has(name)) continue;
        found.set(name, def);
        fresh.push(def);
      }
    }
    return fresh;
  };
  for (let fresh = visit(nodes); fresh.length > 0; fresh = visit(fresh.flatMap(({ nodeDef }) => nodeDef)));
  return found;
}
