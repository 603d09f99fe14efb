import type { AttrValue, FunctionDef, NodeDef } from "@shardserve/api";

/** The functions that nodes call, and those that they call in turn. */
export function functionsOf(
  nodes: Iterable<NodeDef>,
  library: ReadonlyMap<string, FunctionDef>,
): Map<string, FunctionDef> {
  const found = new Map<string, FunctionDef>();
  const visit = (defs: Iterable<NodeDef>): FunctionDef[] => {
    const fresh: FunctionDef[] = [];
    for (const node of defs) {
      for (const name of [node.op, ...Object.values(node.attr).flatMap(functionNames)]) {
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

function functionNames({ value }: AttrValue): string[] {
  if (value.case === "func") return [value.value.name, ...Object.values(value.value.attr).flatMap(functionNames)];
  if (value.case === "list") return value.value.func.map(({ name }) => name);
  return [];
}
