import type { MetaGraphDef } from "@shardserve/api";
import {
  type Bindings,
  BundleReader,
  initOp,
  objectKeys,
  readSavedModel,
  type SavedModel,
  selectMetaGraph,
  variableBindings,
} from "@shardserve/savedmodel";
import { importModel, type ModelGraph } from "./model.js";

/** A SavedModel that was read as far as planning needs it; dispose of it to close its checkpoint. */
export interface OpenedModel extends AsyncDisposable {
  readonly savedModel: SavedModel;
  readonly metaGraph: MetaGraphDef;
  /** Undefined for a model without variables. */
  readonly bundle: BundleReader | undefined;
  readonly bindings: Bindings;
  readonly model: ModelGraph;
}

/**
 * Opens a SavedModel for a look at it: reads the meta graph of `tags`, binds its variables to the checkpoint, imports it.
 * Serving goes another way, because an exported version keeps its tables elsewhere.
 *
 * @throws ServingError SAVED_MODEL_INVALID, CHECKPOINT_INVALID, GRAPH_INVALID
 */
export async function openModel(
  dir: string,
  options: { readonly tags?: readonly string[] | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<OpenedModel> {
  const { tags, signal } = options;
  const withSignal = signal ? { signal } : {};
  const savedModel = await readSavedModel(dir, withSignal);
  const metaGraph = selectMetaGraph(savedModel, tags);
  const prefix = savedModel.variablesPrefix;
  const bundle = prefix === undefined ? undefined : await BundleReader.open(prefix, withSignal);
  try {
    const entries = bundle?.entries ?? new Map<string, never>();
    const bindings = variableBindings(metaGraph, entries, bundle ? await objectKeys(metaGraph, bundle) : new Map());
    const model = importModel(metaGraph, { bindings: bindings.variables, entries, initOp: initOp(metaGraph) });
    return {
      savedModel,
      metaGraph,
      bundle,
      bindings,
      model,
      [Symbol.asyncDispose]: async () => {
        await bundle?.close();
      },
    };
  } catch (error) {
    await bundle?.close();
    throw error;
  }
}
