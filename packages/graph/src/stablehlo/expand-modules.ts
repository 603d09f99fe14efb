import {
  create,
  type FunctionDef,
  FunctionDefLibrarySchema,
  type GraphDef,
  type NodeDef,
  NodeDefSchema,
} from "@shardserve/api";
import { type Pieces, ServingError } from "@shardserve/core";
import { attr, readStableHlo } from "@shardserve/savedmodel";
import { importAttrs } from "../import/import.js";
import type { Attrs } from "../ir/attrs.js";
import { uniqueName } from "../ir/unique-name.js";
import { translateModule } from "./translate-module.js";

/** Versions of the op's conventions that TensorFlow 2.21 takes (tensorflow/compiler/tf2xla/kernels/xla_call_module_loader.cc). */
const [VERSION_MIN, VERSION_MAX] = [5, 10];

/** Where serving runs, as XlaCallModule names it. */
const PLATFORM = "CPU";

/** The attribute in which a node that could not be translated says why. */
export const WHY_NOT = "_why_not";

/**
 * Puts calls of functions of TensorFlow ops in the place of XlaCallModule, which holds what JAX or another front end of XLA
 * made (docs/decisions/063). A module that cannot be translated keeps its node, and fails the signatures that need it.
 */
export function* expandModules(source: GraphDef): Pieces<GraphDef> {
  const library = source.library?.function ?? [];
  const isModule = (node: NodeDef): boolean => node.op === "XlaCallModule";
  if (!source.node.some(isModule) && !library.some(({ nodeDef }) => nodeDef.some(isModule))) return source;
  const names = new Set(library.map(({ signature }) => signature?.name));
  const made: FunctionDef[] = [];
  const expanded = function* (nodes: readonly NodeDef[]): Pieces<NodeDef[]> {
    const result: NodeDef[] = [];
    for (const node of nodes) {
      if (!isModule(node)) {
        result.push(node);
        continue;
      }
      const prefix = uniqueName("stablehlo", (name) => names.has(name));
      names.add(prefix);
      result.push(yield* callOf(node, prefix, made));
    }
    return result;
  };
  const node = yield* expanded(source.node);
  const functions: FunctionDef[] = [];
  for (const def of library) {
    functions.push(def.nodeDef.some(isModule) ? { ...def, nodeDef: yield* expanded(def.nodeDef) } : def);
  }
  const rest = create(FunctionDefLibrarySchema, source.library);
  return { ...source, node, library: { ...rest, function: [...functions, ...made] } };
}

/** @param made  takes the functions that the module becomes */
function* callOf(node: NodeDef, name: string, made: FunctionDef[]): Pieces<NodeDef> {
  try {
    made.push(...(yield* translated(importAttrs(node), name)));
    const { Tin, Tout } = node.attr;
    return create(NodeDefSchema, {
      name: node.name,
      op: "StatefulPartitionedCall",
      input: node.input,
      attr: { ...(Tin && { Tin }), ...(Tout && { Tout }), f: attr.func(name) },
    });
  } catch (error) {
    if (!(error instanceof ServingError)) throw error;
    return create(NodeDefSchema, { ...node, attr: { ...node.attr, [WHY_NOT]: attr.text(error.message) } });
  }
}

function translated(attrs: Attrs, name: string): Pieces<readonly FunctionDef[]> {
  const version = attrs.int("version");
  if (version < VERSION_MIN || version > VERSION_MAX) {
    throw new ServingError("UNIMPLEMENTED", `its version is ${version}, ${VERSION_MIN} to ${VERSION_MAX} are known`);
  }
  if (attrs.bool("has_token_input_output")) throw new ServingError("UNIMPLEMENTED", "it takes and gives a token");
  const platforms = attrs.texts("platforms").map((platform) => platform.toUpperCase());
  const platformIndex = platforms.indexOf(PLATFORM);
  if (platforms.length > 0 && platformIndex < 0 && !attrs.texts("disabled_checks").includes("platform")) {
    throw new ServingError("UNIMPLEMENTED", `it is made for ${platforms.join(", ")}, not for ${PLATFORM}`);
  }
  return translateModule(readStableHlo(attrs.bytes("module")), {
    name,
    platformIndex: platforms.length > 1 ? Math.max(0, platformIndex) : undefined,
    hostFunctions: attrs.funcs("function_list").map(({ func }) => func),
  });
}
