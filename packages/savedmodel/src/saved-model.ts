/**
 * Reads a SavedModel directory: the message, its meta graphs and what serving needs to find in them. Layout:
 * tensorflow/cc/saved_model/README.md; which ops restore and initialise: tensorflow/cc/saved_model/loader_util.cc.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  type AssetFileDef,
  AssetFileDefSchema,
  fromBinary,
  type MetaGraphDef,
  type SavedModel as SavedModelMessage,
} from "@shardserve/api";
import { exists, type Pause, runInTurns, ServingError, unreadable } from "@shardserve/core";
import { parseSavedModel } from "./parse-saved-model.js";

/** A SavedModel directory whose saved_model.pb was read. */
export interface SavedModel {
  readonly dir: string;
  /** As read, unknown fields included; it may be changed and written again. */
  readonly message: SavedModelMessage;
  /** Prefix of the checkpoint (`DIR/variables/variables`); undefined when the model has no variables. */
  readonly variablesPrefix: string | undefined;
}

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** After each turn; default: one turn of the event loop. */
  readonly pause?: Pause;
}

/** protobuf's own limit; beyond it TensorFlow writes saved_model.cpb, which is not read here. */
const MESSAGE_BYTES_MAX = 2 ** 31 - 1;

/**
 * Reads `DIR/saved_model.pb`. Parses in turns of a millisecond, so that a server can load beside its traffic.
 * Of functions, only those that the graph calls are parsed; the others are kept as unknown fields. Memory: about 12 times
 * what is parsed of real graphs, at most about 100 times for hostile ones (a file of empty messages); constants stay views
 * of the file's bytes.
 *
 * @throws ServingError SAVED_MODEL_INVALID naming the file, and the byte where the encoding breaks; PERMISSION_DENIED, UNAVAILABLE
 *   where the system does not let it be read
 */
export async function readSavedModel(dir: string, options: ReadOptions = {}): Promise<SavedModel> {
  const path = join(dir, "saved_model.pb");
  const bytes = await readWhole(path, dir, options.signal);
  const message = await runInTurns(parseSavedModel(path, bytes), options.signal, options.pause);
  if (message.metaGraphs.length === 0) {
    throw new ServingError("SAVED_MODEL_INVALID", `${path} holds no meta graph; export the model again`);
  }
  const prefix = join(dir, "variables", "variables");
  return { dir, message, variablesPrefix: (await exists(`${prefix}.index`)) ? prefix : undefined };
}

async function readWhole(path: string, dir: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const invalid = (why: string) => new ServingError("SAVED_MODEL_INVALID", `${path} ${why}`);
  try {
    const found = await stat(path);
    if (!found.isFile()) throw invalid("is no file"); // opening a pipe would wait for ever
    if (found.size > MESSAGE_BYTES_MAX) throw invalid(`has ${found.size} bytes, protobuf allows ${MESSAGE_BYTES_MAX}`);
    return await readFile(path, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") throw await missing(dir);
    throw unreadable(path, cause, "SAVED_MODEL_INVALID");
  }
}

/** Says what lies where saved_model.pb should be. */
async function missing(dir: string): Promise<ServingError> {
  if (await exists(join(dir, "saved_model.pbtxt"))) {
    return new ServingError(
      "SAVED_MODEL_INVALID",
      `${dir} holds saved_model.pbtxt, the text form, which is not read; convert it with tf.saved_model.load and tf.saved_model.save`,
    );
  }
  if (await exists(join(dir, "saved_model.cpb"))) {
    return new ServingError(
      "SAVED_MODEL_INVALID",
      `${dir} holds saved_model.cpb, the chunked form of graphs above 2 GB, which is not read`,
    );
  }
  const versions = (await readdir(dir).catch(() => [])).filter((name) => /^\d+$/.test(name));
  const hint = versions.length > 0 ? `${join(dir, versions[0]!)}, say` : "one version of it";
  return new ServingError("SAVED_MODEL_INVALID", `no saved_model.pb in ${dir}; name a SavedModel directory, ${hint}`);
}

/** The tag sets of all meta graphs, each sorted. */
export function tagSets(savedModel: SavedModel): string[][] {
  return savedModel.message.metaGraphs.map((metaGraph) => [...(metaGraph.metaInfoDef?.tags ?? [])].sort());
}

/** Ops of the main graph that a restore op fills. */
export const VARIABLE_OPS: ReadonlySet<string> = new Set(["VarHandleOp", "VariableV2", "Variable"]);

/**
 * The meta graph whose tags are exactly `tags`, whatever their order.
 *
 * One with variables and without a checkpoint is refused: TensorFlow serves it, and fails each request that reads one. Copies
 * under way look so, as saved_model.pb is smaller than variables/ and comes before it.
 *
 * @throws ServingError SAVED_MODEL_INVALID listing the tag sets that there are, or naming the file that lacks
 */
export function selectMetaGraph(savedModel: SavedModel, tags: readonly string[] = ["serve"]): MetaGraphDef {
  const wanted = [...new Set(tags)].sort().join(",");
  const available = tagSets(savedModel).map((set) => [...new Set(set)].join(","));
  const found = savedModel.message.metaGraphs[available.indexOf(wanted)];
  if (found) return withCheckpoint(savedModel, found);
  throw new ServingError(
    "SAVED_MODEL_INVALID",
    `${savedModel.dir} has no meta graph with tags {${wanted}}; it has ${available.map((set) => `{${set}}`).join(", ")}`,
  );
}

function withCheckpoint({ dir, variablesPrefix }: SavedModel, metaGraph: MetaGraphDef): MetaGraphDef {
  if (variablesPrefix !== undefined || !restoreOp(metaGraph)) return metaGraph;
  const variable = metaGraph.graphDef?.node.find(({ op }) => VARIABLE_OPS.has(op));
  if (!variable) return metaGraph;
  throw new ServingError(
    "SAVED_MODEL_INVALID",
    `${dir} has no variables/variables.index for its variables ("${variable.name}"); copy the whole model, beside its place, and rename it`,
  );
}

const INIT_OP_KEY = "__saved_model_init_op";

/** A file of `assets/` and the tensor that takes its path. */
export interface Asset {
  /** `node:0` of a string placeholder or constant. */
  readonly tensorName: string;
  readonly filename: string;
  readonly path: string;
}

/**
 * Assets of a meta graph: `asset_file_def`, or what TensorFlow 1 put into the collection `saved_model_assets`.
 *
 * @throws ServingError SAVED_MODEL_INVALID when a filename leads out of `assets/`
 */
export function assets(savedModel: SavedModel, metaGraph: MetaGraphDef): Asset[] {
  const definitions =
    metaGraph.assetFileDef.length > 0 ? metaGraph.assetFileDef : collectedAssets(savedModel, metaGraph);
  return definitions.map((asset) => {
    if (asset.filename.split(/[\\/]/).includes("..") || asset.filename.startsWith("/")) {
      throw new ServingError(
        "SAVED_MODEL_INVALID",
        `${savedModel.dir}: asset "${asset.filename}" lies outside of assets/`,
      );
    }
    const tensorName = asset.tensorInfo?.encoding.case === "name" ? asset.tensorInfo.encoding.value : "";
    return { tensorName, filename: asset.filename, path: join(savedModel.dir, "assets", asset.filename) };
  });
}

function collectedAssets(savedModel: SavedModel, metaGraph: MetaGraphDef): AssetFileDef[] {
  const kind = metaGraph.collectionDef["saved_model_assets"]?.kind;
  if (kind?.case !== "anyList") return [];
  return kind.value.value.map((any) => {
    try {
      return fromBinary(AssetFileDefSchema, any.value);
    } catch (cause) {
      throw new ServingError("SAVED_MODEL_INVALID", `${savedModel.dir}: collection saved_model_assets cannot be read`, {
        cause,
      });
    }
  });
}

/** Node that a session runs after restoring (fills lookup tables), or undefined. */
export function initOp(metaGraph: MetaGraphDef): string | undefined {
  const output = metaGraph.signatureDef[INIT_OP_KEY]?.outputs[INIT_OP_KEY];
  if (output?.encoding.case === "name") return nodeOf(output.encoding.value);
  for (const key of ["saved_model_main_op", "legacy_init_op"]) {
    const kind = metaGraph.collectionDef[key]?.kind;
    if (kind?.case === "nodeList" && kind.value.value[0] !== undefined) return nodeOf(kind.value.value[0]);
  }
  return undefined;
}

/** Node that restores the variables, and the tensor that takes the checkpoint's prefix. */
export function restoreOp(
  metaGraph: MetaGraphDef,
): { readonly node: string; readonly filenameTensor: string } | undefined {
  const saver = metaGraph.saverDef;
  if (!saver?.restoreOpName) return undefined;
  return { node: nodeOf(saver.restoreOpName), filenameTensor: saver.filenameTensorName };
}

/** "scope/node:1" and "^scope/node" -> "scope/node". */
function nodeOf(reference: string): string {
  return reference.replace(/^\^/, "").replace(/:\d+$/, "");
}
