import { readFile } from "node:fs/promises";
import { resolve, sep } from "node:path";
import { ServingError } from "@shardserve/core";
import {
  Attrs,
  constantOf,
  type GraphNode,
  type HostState,
  type HostValue,
  type KernelTable,
  type ModelGraph,
  plansWithin,
  resourceKey,
  type SignaturePlan,
} from "@shardserve/graph";
import type { TableBinding } from "@shardserve/savedmodel";
import { scalar } from "@shardserve/tensor";
import type { Checkpoint } from "./checkpoint.js";

const IDENTITIES_MAX = 16;

/**
 * The state of a servable before anything was restored. Assets are read from the paths that the graph holds; what requests name must lie
 * among them.
 *
 * @param dir  of the model
 */
export function emptyState(dir: string): HostState {
  const assetsDir = resolve(dir, "assets") + sep;
  return {
    resources: new Map(),
    variables: new Map(),
    readFile: async (path, { signal, isFromRequest = false }) => {
      if (isFromRequest && !resolve(path).startsWith(assetsDir)) {
        throw new ServingError(
          "INVALID_ARGUMENT",
          `${path} is no asset of the model: nothing else is read for a request`,
        );
      }
      try {
        const bytes = await readFile(path);
        signal?.throwIfAborted();
        return bytes;
      } catch (cause) {
        if (signal?.aborted) throw signal.reason;
        if (isFromRequest && (cause as NodeJS.ErrnoException).code === "ENOENT") {
          throw new ServingError("NOT_FOUND", `${path}; No such file or directory`, { cause });
        }
        throw new ServingError("SAVED_MODEL_INVALID", `asset ${path} cannot be read: ${(cause as Error).message}`, {
          cause,
        });
      }
    },
  };
}

/** Gives mutable variables the values that the checkpoint holds, once. */
export async function restoreVariables(
  plans: readonly SignaturePlan[],
  state: HostState,
  checkpoint: Checkpoint,
): Promise<void> {
  for (const { mutableVariables } of plans) {
    for (const [key, checkpointKey] of mutableVariables) {
      if (checkpointKey === undefined || state.variables.has(key)) continue;
      state.variables.set(key, await checkpoint.read(checkpointKey));
    }
  }
}

/** Fills mutable lookup tables that were saved with the checkpoint and that some plan uses. */
export async function restoreTables(
  tables: ReadonlyMap<string, TableBinding>,
  plans: readonly SignaturePlan[],
  model: ModelGraph,
  kernels: KernelTable,
  state: HostState,
  checkpoint: Checkpoint,
): Promise<void> {
  if (tables.size === 0) return;
  const used = resourcesOf(plans);
  for (const [name, binding] of tables) {
    const table = model.graph.get(name);
    if (table && !used.has(resourceKey(table))) continue;
    const make = table && kernels.get(table.op);
    const fill = kernels.get("LookupTableImportV2");
    // A table whose op has no kernel is an error of the signatures that use it, not of the model.
    if (!table || !make || !fill) continue;
    const [handle] = await make({ node: table, inputs: constantInputs(model, table), state });
    const [keys, values] = [await checkpoint.read(binding.keys), await checkpoint.read(binding.values)];
    const attrs = new Attrs("LookupTableImportV2", { Tin: keys.dtype, Tout: values.dtype });
    const node: GraphNode = { name: `${name}/restore`, op: "LookupTableImportV2", inputs: [], controls: [], attrs };
    const inputs: HostValue[] = [handle!, keys, values];
    await fill({ node, inputs, state });
  }
}

/** Makes the ensembles of boosted trees that some plan uses of what the checkpoint holds. */
export async function restoreEnsembles(
  ensembles: ReadonlyMap<string, string>,
  plans: readonly SignaturePlan[],
  model: ModelGraph,
  kernels: KernelTable,
  state: HostState,
  checkpoint: Checkpoint,
): Promise<void> {
  if (ensembles.size === 0) return;
  const used = resourcesOf(plans);
  const op = "BoostedTreesDeserializeEnsemble";
  const fill = kernels.get(op);
  for (const [name, checkpointKey] of ensembles) {
    const ensemble = model.graph.get(name);
    const make = ensemble && kernels.get(ensemble.op);
    if (!make || !fill || !used.has(resourceKey(ensemble))) continue;
    const [handle] = await make({ node: ensemble, inputs: [], state });
    const node: GraphNode = { name: `${name}/restore`, op, inputs: [], controls: [], attrs: new Attrs(op) };
    // Its stamp only trainers compare.
    await fill({ node, inputs: [handle!, scalar("int64", 0n), await checkpoint.read(checkpointKey)], state });
  }
}

/** Ops that make something large of their attributes alone, and keep it. */
const MADE_AHEAD: ReadonlySet<string> = new Set(["SentencepieceOp"]);

/**
 * Makes what some plans keep between requests and could make at the first of them: a model of 128 000 pieces takes a
 * second. What cannot be made is an error of the requests that need it, as in TensorFlow.
 */
export async function makeAhead(
  plans: readonly SignaturePlan[],
  kernels: KernelTable,
  state: HostState,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const whole of plans) {
    for (const { graph } of plansWithin(whole)) {
      for (const node of graph.values()) {
        if (!MADE_AHEAD.has(node.op)) continue;
        try {
          await kernels.get(node.op)?.({ node, inputs: [], state, signal });
        } catch (error) {
          if (!(error instanceof ServingError)) throw error;
        }
      }
    }
  }
}

/** Keys of all that the nodes of some plans may name. */
function resourcesOf(plans: readonly SignaturePlan[]): Set<string> {
  const used = new Set<string>();
  for (const whole of plans) {
    for (const { graph } of plansWithin(whole)) for (const node of graph.values()) used.add(resourceKey(node));
  }
  return used;
}

/** What a table is made with (the reserved keys of a dense table): constants of the main graph. */
function constantInputs(model: ModelGraph, table: GraphNode): HostValue[] {
  return table.inputs.map((ref) => {
    let node = model.graph.get(ref.node);
    for (let steps = 0; node?.op === "Identity" && steps < IDENTITIES_MAX; steps++) {
      node = model.graph.get(node.inputs[0]!.node);
    }
    const value = constantOf(node);
    if (value) return value;
    throw new ServingError("GRAPH_INVALID", `table "${table.name}" is made with "${ref.node}", which is no constant`);
  });
}
