import type { GraphNode, ModelGraph } from "@shardserve/graph";
import type { Bindings } from "@shardserve/savedmodel";

/**
 * Checkpoint keys that serving needs: those of variables, tables and tree ensembles that a signature or the init op reaches. What a
 * checkpoint holds besides (optimizer slots are often twice the model) only training needs.
 */
export function variablesRead(model: ModelGraph, bindings: Bindings): ReadonlySet<string> {
  const nodes = new Set<string>();
  for (const { graph } of model.programs.values()) for (const name of graph.keys()) nodes.add(name);
  if (model.initOp !== undefined) addReachable(model, model.initOp.replace(/:\d+$/, ""), nodes);
  const keys = new Set<string>();
  for (const name of nodes) {
    const variable = bindings.variables.get(name);
    if (variable) keys.add(variable.checkpointKey);
    const table = bindings.tables.get(name);
    if (table) keys.add(table.keys).add(table.values);
    const ensemble = bindings.ensembles.get(name);
    if (ensemble !== undefined) keys.add(ensemble);
  }
  return keys;
}

/** What functions use comes in through their callers' inputs, so the main graph is enough. */
function addReachable(model: ModelGraph, from: string, nodes: Set<string>): void {
  const stack = [from];
  for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
    const node: GraphNode | undefined = model.graph.get(name);
    if (!node || nodes.has(name)) continue;
    nodes.add(name);
    stack.push(...node.inputs.map((input) => input.node), ...node.controls);
  }
}
