import type { FunctionLibrary } from "../../import/import.js";
import { inlineCalls } from "../../ir/inline.js";
import { uniqueName } from "../../ir/unique-name.js";
import { type Graph, type GraphNode, outputKey, type Program, type TensorRef } from "../../ir/ir.js";
import { prune, rewrite } from "../../ir/program.js";
import { Block, type Value } from "./dataset-blocks.js";
import { alivePositions, handOn, walkOf } from "./dataset-stages.js";
import { indexedDataset } from "./indexed-datasets.js";
import { renameControls } from "../control/regions.js";

/**
 * Turns datasets that a request makes and uses up in the graph (tf.data in a serving function) into plain loops and gathers:
 * `reduce`, and with it `for` over a dataset, becomes a loop over the indices of its elements, `get_single_element` the
 * element 0. Datasets of other kinds (shuffled ones, files) stay, and are reported as ops that nothing can run.
 */
export function formDatasets(program: Program, library: FunctionLibrary): Program {
  const aliases = new Map<string, TensorRef>();
  const added = new Map<string, GraphNode>();
  const renamed = new Map<string, string>();
  for (const node of program.graph.values()) {
    const use = USES[node.op];
    if (!use) continue;
    const prefix = uniqueName(`${node.name}/dataset`, (name) => program.graph.has(name));
    const block = new Block(prefix, library, (name) => program.graph.has(name));
    const results = use(node, program.graph, block);
    if (!results) continue;
    for (const [i, { ref }] of results.entries()) aliases.set(outputKey(node.name, i), ref);
    for (const [name, made] of block.nodes)
      added.set(name, { ...made, controls: [...made.controls, ...node.controls] });
    if (results[0]) renamed.set(node.name, results[0].ref.node);
  }
  if (renamed.size === 0) return program;
  return inlineCalls(prune(renameControls(rewrite(program, aliases, added), renamed)), library);
}

/** What takes a dataset and gives tensors; undefined where the dataset is of no known kind. */
type Use = (node: GraphNode, graph: Graph, block: Block) => readonly Value[] | undefined;

const USES: Readonly<Record<string, Use>> = { ReduceDataset: reduced, DatasetToSingleElement: onlyElement };

function reduced({ inputs, attrs }: GraphNode, graph: Graph, block: Block): readonly Value[] | undefined {
  const walk = walkOf(graph, inputs[0]!, block);
  if (!walk) return undefined;
  const { source, stages } = walk;
  const f = attrs.func("f");
  const dtypes = attrs.dtypes("Tstate");
  const others = attrs.dtypes("Targuments").map((dtype, i) => ({ ref: inputs[1 + dtypes.length + i]!, dtype }));
  const remembered = stages.flatMap(({ state }) => state);
  const state = [...remembered, ...dtypes.map((dtype, i) => ({ ref: inputs[1 + i]!, dtype }))];
  const shapes = [...remembered.map(() => undefined), ...attrs.shapes("output_shapes")];
  const last = block.loop(source.count, state, shapes, alivePositions(stages), (body, index, now) =>
    handOn(stages, body, source.at(body, index), now, (inner, element, own) =>
      inner.call(f, [...own, ...element, ...others.map((other) => inner.global(other))], dtypes),
    ),
  );
  return last.slice(remembered.length);
}

function onlyElement({ inputs }: GraphNode, graph: Graph, block: Block): readonly Value[] | undefined {
  const dataset = indexedDataset(graph, inputs[0]!, block);
  if (!dataset) return undefined;
  const one = block.long(1);
  const isAny = block.compare("LessEqual", one, dataset.count);
  const isOne = block.compare("LessEqual", dataset.count, one);
  const first = block.guarded(dataset.at(block, block.long(0)), isAny, "Dataset was empty.");
  return block.guarded(first, isOne, "Dataset had more than one element.");
}
