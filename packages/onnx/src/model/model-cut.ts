import { create, onnx, toBinary } from "@shardserve/api";
import { invariant, ServingError } from "@shardserve/core";
import { type DType, DTYPES } from "@shardserve/tensor";
import { isOp, valuesRead } from "./model-graph.js";
import { dtypeOfOnnx, findTableUses, type OnnxLookup } from "./model-tables.js";

/** Type of a tensor value as ONNX Runtime tells it: -1 = any length; `symbols` name such lengths, "" = no name. */
export interface OnnxValueType {
  readonly dtype: DType;
  readonly shape: readonly number[] | undefined;
  readonly symbols: readonly string[];
}

/** A lookup between two stages. Its rows and slots are inputs of later stages: `rows[slots]` is what the gather gives. */
export interface CutLookup extends OnnxLookup {
  /** Names of the values that stand for it. */
  readonly rows: string;
  readonly slots: string;
}

/** A part of the graph that runs as one model, and the lookups whose ids are known after it. */
export interface OnnxStage {
  readonly nodes: readonly onnx.NodeProto[];
  /** Values that it takes: inputs of the model, values of earlier stages, rows and slots of earlier lookups. */
  readonly inputs: readonly string[];
  /** Values that later stages, lookups or callers need. */
  readonly outputs: readonly string[];
  readonly lookups: readonly CutLookup[];
}

/**
 * An ONNX model whose tables are inputs (as shard-export leaves them), cut at its lookups: each stage computes just what the
 * next lookups need, the last one the rest. Pure; {@link encodeStage} makes the models.
 */
export interface OnnxCut {
  readonly model: onnx.ModelProto;
  readonly graph: onnx.GraphProto;
  /** Inputs that callers feed: all but the tables. */
  readonly inputs: readonly onnx.ValueInfoProto[];
  readonly stages: readonly OnnxStage[];
}

/**
 * @param tables  inputs of the graph that are tables
 * @throws ServingError GRAPH_INVALID when a table is no input, or is read otherwise than by row
 */
export function cutModel(
  model: onnx.ModelProto & { readonly graph: onnx.GraphProto },
  tables: readonly string[],
): OnnxCut {
  const { graph } = model;
  const names = new Set(tables);
  const { lookups: found, whole } = findTableUses(graph, names);
  for (const table of tables) {
    const why = graph.input.some(({ name }) => name === table) ? whole.get(table) : "not an input of the graph";
    if (why !== undefined)
      throw new ServingError(
        "GRAPH_INVALID",
        `the manifest names the table "${table}", which is ${why}; export it anew`,
      );
  }
  const initialisers = new Set(graph.initializer.map(({ name }) => name));
  const inputs = graph.input.filter(({ name }) => !names.has(name) && !initialisers.has(name));
  const stages = new Stages(graph, found).cut();
  return { model, graph, inputs, stages };
}

/** Which node runs in which stage. */
class Stages {
  readonly #graph: onnx.GraphProto;
  /** Lookups by the node that gathers. */
  readonly #lookups: ReadonlyMap<number, CutLookup>;
  /** What each node reads; a gather reads its rows and slots. */
  readonly #reads: readonly (readonly string[])[];
  readonly #producers = new Map<string, number>();
  readonly #stageOf: Int32Array;

  constructor(graph: onnx.GraphProto, found: readonly OnnxLookup[]) {
    this.#graph = graph;
    this.#lookups = new Map(
      found.map((lookup): [number, CutLookup] => {
        const cut = { ...lookup, rows: `shardserve/${lookup.node}/rows`, slots: `shardserve/${lookup.node}/slots` };
        return [lookup.node, cut];
      }),
    );
    this.#reads = graph.node.map((node, i) => {
      const lookup = this.#lookups.get(i);
      return lookup ? [lookup.rows, lookup.slots] : valuesRead(node);
    });
    for (const [i, { output }] of graph.node.entries()) for (const name of output) this.#producers.set(name, i);
    this.#stageOf = new Int32Array(graph.node.length).fill(-1);
  }

  cut(): OnnxStage[] {
    const { needed, levels } = this.#levels();
    const lookups = [...this.#lookups.values()].filter(({ node }) => needed[node] === 1);
    const count = lookups.reduce((max, { node }) => Math.max(max, levels[node]!), 0);
    // A gather's level is one more than that of its ids: they are computed in the stage before.
    const after = (stage: number) => lookups.filter(({ node }) => levels[node] === stage + 1);
    for (let stage = 0; stage < count; stage++)
      this.#assign(
        after(stage).map(({ ids }) => ids),
        stage,
      );
    this.#assign(
      this.#graph.output.map(({ name }) => name),
      count,
    );
    return Array.from({ length: count + 1 }, (_, stage) => this.#stage(stage, after(stage), lookups));
  }

  /** Per node: 1 when an output needs it; how many lookups lie one behind the other on the way to it. */
  #levels(): { readonly needed: Uint8Array; readonly levels: Int32Array } {
    const { node: nodes, output } = this.#graph;
    const reads = nodes.map((_, i) => (this.#lookups.has(i) ? [this.#lookups.get(i)!.ids] : this.#reads[i]!));
    const levels = new Int32Array(nodes.length);
    for (let i = 0; i < nodes.length; i++) {
      for (const name of reads[i]!) {
        const producer = this.#producers.get(name);
        if (producer === undefined) continue;
        if (producer >= i)
          throw new ServingError(
            "GRAPH_INVALID",
            `the nodes of the ONNX model are not in order: "${name}" is read before it is made`,
          );
        levels[i] = Math.max(levels[i]!, levels[producer]!);
      }
      if (this.#lookups.has(i)) levels[i] = levels[i]! + 1;
    }
    const needed = new Uint8Array(nodes.length);
    const wanted = new Set(output.map(({ name }) => name));
    for (let i = nodes.length - 1; i >= 0; i--) {
      if (!nodes[i]!.output.some((name) => wanted.has(name))) continue;
      needed[i] = 1;
      for (const name of reads[i]!) wanted.add(name);
    }
    return { needed, levels };
  }

  /** Puts what values need, and no earlier stage has, into a stage. */
  #assign(values: readonly string[], stage: number): void {
    const stack = [...values];
    for (let name = stack.pop(); name !== undefined; name = stack.pop()) {
      const producer = this.#producers.get(name);
      if (producer === undefined || this.#stageOf[producer] !== -1) continue;
      this.#stageOf[producer] = stage;
      stack.push(...this.#reads[producer]!);
    }
  }

  #stage(stage: number, after: readonly CutLookup[], lookups: readonly CutLookup[]): OnnxStage {
    const { node: nodes, input, initializer, output } = this.#graph;
    const own: number[] = [];
    const later = new Set([...after.map(({ ids }) => ids), ...output.map(({ name }) => name)]);
    const read = new Set<string>();
    for (let i = 0; i < nodes.length; i++) {
      if (this.#stageOf[i] === stage) {
        own.push(i);
        for (const name of this.#reads[i]!) read.add(name);
      } else if (this.#stageOf[i]! > stage) for (const name of this.#reads[i]!) later.add(name);
    }
    const made = new Set(own.flatMap((i) => nodes[i]!.output).filter((name) => name !== ""));
    const constants = new Set(initializer.map(({ name }) => name));
    const outside = new Set([
      ...input.map(({ name }) => name).filter((name) => !constants.has(name)),
      ...lookups.flatMap(({ rows, slots }) => [rows, slots]),
      ...this.#producers.keys(),
    ]);
    return {
      nodes: own.map((i) => this.#rewritten(i)),
      inputs: [...read].filter((name) => outside.has(name) && !made.has(name)),
      outputs: [...made].filter((name) => later.has(name)),
      lookups: after,
    };
  }

  #rewritten(index: number): onnx.NodeProto {
    const node = this.#graph.node[index]!;
    const lookup = this.#lookups.get(index);
    if (!lookup) return node;
    invariant(isOp(node, "Gather") || isOp(node, "GatherND"), "only gathers are cut");
    const { name, output } = node;
    return create(onnx.NodeProtoSchema, { name, output, opType: "Gather", input: [lookup.rows, lookup.slots] });
  }
}

/**
 * A stage as a model of its own.
 *
 * @param types  of every input of the stage that is no input of the model
 */
export function encodeStage(cut: OnnxCut, stage: OnnxStage, types: ReadonlyMap<string, OnnxValueType>): Uint8Array {
  const { model, graph } = cut;
  const read = new Set(stage.nodes.flatMap(valuesRead));
  const input = stage.inputs.map((name) => {
    const own = cut.inputs.find((candidate) => candidate.name === name);
    return own ?? valueInfo(name, types.get(name)!);
  });
  return toBinary(
    onnx.ModelProtoSchema,
    create(onnx.ModelProtoSchema, {
      irVersion: model.irVersion,
      opsetImport: model.opsetImport,
      functions: model.functions,
      graph: create(onnx.GraphProtoSchema, {
        name: graph.name || "stage",
        node: [...stage.nodes],
        initializer: graph.initializer.filter(({ name }) => read.has(name)),
        sparseInitializer: graph.sparseInitializer.filter(({ values }) => values && read.has(values.name)),
        input,
        // ONNX Runtime finds out what types they have.
        output: stage.outputs.map(
          (name) =>
            graph.output.find((candidate) => candidate.name === name) ?? create(onnx.ValueInfoProtoSchema, { name }),
        ),
      }),
    }),
  );
}

function valueInfo(name: string, { dtype, shape, symbols }: OnnxValueType): onnx.ValueInfoProto {
  return tensorInfo(name, DTYPES[dtype].onnx, shape && { shape, symbols });
}

/** The declaration of a tensor value. @param dims  undefined = the rank is unknown */
export function tensorInfo(
  name: string,
  elemType: number,
  dims: { readonly shape: readonly number[]; readonly symbols: readonly string[] } | undefined,
): onnx.ValueInfoProto {
  const dim = dims?.shape.map((length, i) => {
    if (length >= 0) return { value: { case: "dimValue" as const, value: BigInt(length) } };
    const symbol = dims.symbols[i] ?? "";
    return symbol === "" ? {} : { value: { case: "dimParam" as const, value: symbol } };
  });
  return create(onnx.ValueInfoProtoSchema, {
    name,
    type: { value: { case: "tensorType", value: { elemType, ...(dim && { shape: { dim } }) } } },
  });
}

/** What a model declares of a tensor. @returns undefined for sequences, maps and types that tensors here do not have */
export function declaredType(info: onnx.ValueInfoProto): OnnxValueType | undefined {
  const value = info.type?.value;
  if (value?.case !== "tensorType") return undefined;
  const dtype = dtypeOfOnnx(value.value.elemType);
  if (dtype === undefined) return undefined;
  const dims = value.value.shape?.dim;
  return {
    dtype,
    shape: dims?.map((dim) => (dim.value.case === "dimValue" ? Number(dim.value.value) : -1)),
    symbols: dims?.map((dim) => (dim.value.case === "dimParam" ? dim.value.value : "")) ?? [],
  };
}
