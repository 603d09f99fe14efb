import { runAtOnce } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";
import { Inference } from "../../infer/inference.js";
import { uniqueName } from "../../ir/unique-name.js";
import { type Graph, type GraphNode, outputKey, type Program, type Region, type TensorRef } from "../../ir/ir.js";
import { nodeOf, prune, rewrite } from "../../ir/program.js";
import { reduceControls } from "../control/effects.js";
import { elementDType, LENGTHS, lengthOf, listInput, READS, rowsOf, SETS, STACKS, valueOf } from "./list-ops.js";
import { NewNodes } from "../new-nodes.js";
import { Readers } from "../readers.js";
import { behindIdentity, pruneRegion } from "../control/regions.js";
import { readRows } from "./rows-of-lists.js";
import { simplify } from "../rewrites/simplify.js";
import { StackedList } from "./stacked-list.js";

/**
 * Loops walk lists: recurrent layers and map_fn read element i of one list and set element i of another in turn i. This pass
 * replaces such lists by plain tensors, so that nothing in the loop is a variant and all of it may run on the device:
 * - a list that is only read becomes the tensor that it was made from, and its reads gathers of rows;
 * - a list whose element i is set in turn i, counted from 0, becomes a stacked output of the `Loop` (see ir.ts); so does a
 *   list of one element that every turn sets anew, of which the last is taken.
 * Lists that are used in any other way stay lists.
 */
export function liftLists(program: Program): Program {
  let current = program;
  for (const { name, op, inputs } of program.graph.values()) {
    const hasLists = (graph: Graph): boolean => inputs.some((ref) => rowsOf(graph, ref) ?? lengthOf(graph, ref));
    const loop = op === "Loop" && hasLists(program.graph) ? current.graph.get(name) : undefined;
    if (loop) current = new LoopLists(current, loop).lifted();
  }
  return current;
}

/** A list that the loop reads: input of the loop -> the tensor that the list was made from. */
interface ReadList {
  readonly input: number;
  readonly rows: TensorRef;
}

/** A list that the loop fills, one element a turn, or sets the only element of in every turn. */
interface FilledList {
  readonly input: number;
  readonly value: TensorRef;
  readonly dtype: DType;
  /** Number of elements, a scalar outside of the loop. */
  readonly length: TensorRef;
  /** The variable that counts the turns; undefined where every turn sets the only element. */
  readonly counter: number | undefined;
  /** Whether the list says that its elements have one shape. */
  readonly isAlike: boolean;
  /** Nodes after the loop that read it. */
  readonly uses: readonly GraphNode[];
}

/** The lists of one loop. */
class LoopLists {
  readonly #program: Program;
  readonly #loop: GraphNode;
  readonly #carried: number;
  readonly #condition: Region;
  readonly #body: Region;
  readonly #readers: { readonly program: Readers; readonly condition: Readers; readonly body: Readers };

  constructor(program: Program, loop: GraphNode) {
    this.#program = program;
    this.#loop = loop;
    this.#carried = loop.attrs.int("carried");
    const [condition, body] = loop.regions!.map(plain);
    this.#condition = condition!;
    this.#body = body!;
    const readers = (of: Program): Readers => runAtOnce(Readers.reading(of));
    this.#readers = { program: readers(program), condition: readers(condition!), body: readers(body!) };
  }

  lifted(): Program {
    const filled = this.#filledLists();
    const read = this.#readLists();
    if (filled.length + read.length === 0) return this.#program;
    const loop = this.#makeLoop(read, filled);
    const aliases = new Map<string, TensorRef>();
    for (const [i] of this.#loop.attrs.dtypes("dtypes").entries()) {
      const at = loop.kept.indexOf(i);
      if (at >= 0) aliases.set(outputKey(this.#loop.name, i), { node: loop.node.name, index: at });
    }
    const nodes = new NewNodes(this.#program.graph);
    for (const [i, list] of filled.entries()) {
      const value = (index: number): TensorRef => ({ node: loop.node.name, index });
      const turns = list.counter === undefined ? undefined : value(loop.kept.indexOf(list.counter));
      const elements = new StackedList(this.#program.graph, nodes, {
        ...list,
        stacked: value(loop.kept.length + i),
        turns,
      });
      for (const node of list.uses) aliases.set(outputKey(node.name), elements.inPlaceOf(node));
    }
    nodes.replace(loop.node);
    const graph = new Map(this.#program.graph);
    // What waited for the loop waits for the new one.
    for (const [name, node] of graph) {
      if (!node.controls.includes(this.#loop.name)) continue;
      const controls = node.controls.map((control) => (control === this.#loop.name ? loop.node.name : control));
      graph.set(name, { ...node, controls });
    }
    const targets = this.#program.targets.map((name) => (name === this.#loop.name ? loop.node.name : name));
    return prune(rewrite({ ...this.#program, graph, targets }, aliases, nodes.nodes));
  }

  #readLists(): ReadList[] {
    const lists: ReadList[] = [];
    for (let input = this.#carried; input < this.#loop.inputs.length; input++) {
      const rows = rowsOf(this.#program.graph, this.#loop.inputs[input]!);
      const isReadIn = (region: Region, uses: Readers): boolean | undefined =>
        uses
          .throughIdentity({ node: region.args[input]!, index: 0 })
          ?.every((node) => (READS.has(node.op) || LENGTHS.has(node.op)) && isArg(region, listInput(node), input));
      const isRead = isReadIn(this.#condition, this.#readers.condition) && isReadIn(this.#body, this.#readers.body);
      if (rows && isRead) lists.push({ input, rows });
    }
    return lists;
  }

  #filledLists(): FilledList[] {
    const lists: FilledList[] = [];
    for (let input = 0; input < this.#carried; input++) {
      const made = lengthOf(this.#program.graph, this.#loop.inputs[input]!);
      const setter = nodeOf(this.#body.graph, behindIdentity(this.#body.graph, this.#body.outputs[input]!).node);
      if (!made || !SETS.has(setter.op) || !isArg(this.#body, listInput(setter), input)) continue;
      if (setter.attrs.has("resize_if_index_out_of_bounds") && setter.attrs.bool("resize_if_index_out_of_bounds"))
        continue;
      const arg = { node: this.#body.args[input]!, index: 0 };
      const isOnlySet =
        this.#readers.body.throughIdentity(arg)?.length === 1 &&
        this.#readers.body.useCount({ node: setter.name, index: 0 }) === 1 &&
        this.#readers.condition.throughIdentity({ node: this.#condition.args[input]!, index: 0 })?.length === 0;
      const counter = this.#counterOf(setter.inputs[1]!);
      const isSingle = valueOf(this.#body.graph, setter.inputs[1]!) === 0 && valueOf(this.#program.graph, made) === 1;
      const uses = this.#readers.program.throughIdentity({ node: this.#loop.name, index: input });
      const isStacked = uses?.every((node) => STACKS.has(node.op) || LENGTHS.has(node.op));
      if (!isOnlySet || !uses || !isStacked || (counter === undefined && !isSingle)) continue;
      // Variants are no device's and have no value that would fill what no turn set: nothing to win.
      if (elementDType(setter) === "variant") continue;
      lists.push({
        input,
        value: setter.inputs[2]!,
        dtype: elementDType(setter),
        length: made,
        counter,
        isAlike: this.#isAlike(input),
        uses,
      });
    }
    return lists;
  }

  /** The variable behind `index`, if it is 0 in the first turn and one more in each further turn. */
  #counterOf(index: TensorRef): number | undefined {
    const counter = this.#body.args.indexOf(behindIdentity(this.#body.graph, index).node);
    if (counter < 0 || counter >= this.#carried) return undefined;
    const start = valueOf(this.#program.graph, this.#loop.inputs[counter]!);
    const { op, inputs, attrs } = nodeOf(
      this.#body.graph,
      behindIdentity(this.#body.graph, this.#body.outputs[counter]!).node,
    );
    if (start !== 0 || (op !== "AddV2" && op !== "Add") || attrs.dtype("T") !== "int32") return undefined;
    const [a, b] = inputs as [TensorRef, TensorRef];
    const isNext = (from: TensorRef, step: TensorRef): boolean =>
      isArg(this.#body, from, counter) && valueOf(this.#body.graph, step) === 1;
    return isNext(a, b) || isNext(b, a) ? counter : undefined;
  }

  #isAlike(input: number): boolean {
    const { node } = behindIdentity(this.#program.graph, this.#loop.inputs[input]!);
    const { op, attrs } = nodeOf(this.#program.graph, node);
    return op === "TensorArrayV3" && attrs.bool("identical_element_shapes");
  }

  /** The loop without those lists, and which of its variables it kept. */
  #makeLoop(read: readonly ReadList[], filled: readonly FilledList[]): { node: GraphNode; kept: readonly number[] } {
    const isFilled = new Set(filled.map(({ input }) => input));
    const kept = Array.from({ length: this.#carried }, (_, i) => i).filter((i) => !isFilled.has(i));
    const rows = new Map(read.map((list) => [list.input, list.rows]));
    const readInputs = read.map(({ input }) => input);
    const condition = readRows(this.#condition, this.#readers.condition, readInputs);
    const body = readRows(this.#body, this.#readers.body, readInputs);
    const results = [...kept.map((i) => body.outputs[i]!), ...filled.map(({ value }) => body.follow(value))];
    const shapes = this.#loop.attrs.shapes("shapes");
    const dtypes = this.#loop.attrs.dtypes("dtypes");
    const constants = this.#loop.inputs.map((_, i) => i).slice(this.#carried);
    const regions = [
      pruneRegion({ ...condition, args: condition.args }),
      pruneRegion({ ...body, outputs: results, args: body.args }),
    ];
    const used = constants.filter((i) => regions.some((region) => region.graph.has(region.args[i]!)));
    const inputs = [...kept, ...used];
    const name = uniqueName(`${this.#loop.name}/rows`, (taken) => this.#program.graph.has(taken));
    const bounds = filled.flatMap(({ counter, length }) => (counter === undefined ? [] : [length]));
    const limits = bounds.map((_, i) => inputs.length + i);
    const attrs = this.#loop.attrs.with({
      carried: kept.length,
      dtypes: [...kept.map((i) => dtypes[i]!), ...filled.map(({ dtype }) => dtype)],
      shapes: [...kept.map((i) => shapes[i] ?? null), ...filled.map(() => null)],
      stacked: filled.length,
      limits,
    });
    const limitArgs = (region: Region): string[] => bounds.map((_, i) => unusedName(region, `${name}/limit_${i}`));
    const node: GraphNode = {
      ...this.#loop,
      name,
      attrs,
      inputs: [...inputs.map((i) => rows.get(i) ?? this.#loop.inputs[i]!), ...bounds],
      regions: regions.map((region) => ({
        ...region,
        args: [...inputs.map((i) => region.args[i]!), ...limitArgs(region)],
      })),
    };
    return { node, kept };
  }
}

/** A region without nodes that only hand values on. */
function plain(region: Region): Region {
  // What hands values on by its op alone: nothing is inferred yet.
  const reduced = runAtOnce(simplify(runAtOnce(reduceControls(region)), new Inference(region, [], new Map())));
  return { ...reduced, args: region.args };
}

function unusedName({ graph }: Region, name: string): string {
  return uniqueName(name, (taken) => graph.has(taken));
}

function isArg({ graph, args }: Region, ref: TensorRef, input: number): boolean {
  const source = behindIdentity(graph, ref);
  return source.node === args[input] && source.index === 0;
}
