import { type DType, scalar, strings, tensor, toNumbers } from "@shardserve/tensor";
import { Attrs, type AttrValue, type Shape } from "../ir/attrs.js";
import { uniqueName } from "../ir/inline.js";
import { constantOf, type Graph, type GraphNode, type Program, refKey, type Region, type TensorRef } from "../ir/ir.js";
import { nodeOf, prune, rewrite } from "../ir/program.js";
import { reduceControls } from "./effects.js";
import { constantNode } from "./fold.js";
import { argument, behindIdentity, pruneRegion } from "./regions.js";
import { simplify } from "./simplify.js";

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
  readonly uses: readonly GraphNode[];
}

const READS = new Set(["TensorListGetItem", "TensorArrayReadV3"]);
const LENGTHS = new Set(["TensorListLength", "TensorArraySizeV3"]);
const SETS = new Set(["TensorListSetItem", "TensorArrayWriteV3"]);
const STACKS = new Set(["TensorListStack", "TensorArrayGatherV3"]);

/** Which input of a list op is the list: of a TensorArray it is the flow. */
function listInput({ op, inputs }: GraphNode): TensorRef {
  return op.startsWith("TensorArray") ? inputs.at(-1)! : inputs[0]!;
}

function elementDType({ op, attrs }: GraphNode): DType {
  if (op === "TensorArrayWriteV3") return attrs.dtype("T");
  return attrs.dtype(op.startsWith("TensorArray") ? "dtype" : "element_dtype");
}

class LoopLists {
  readonly #program: Program;
  readonly #loop: GraphNode;
  readonly #carried: number;
  readonly #condition: Region;
  readonly #body: Region;
  readonly #uses: { readonly program: Uses; readonly condition: Uses; readonly body: Uses };
  readonly #added = new Map<string, GraphNode>();

  constructor(program: Program, loop: GraphNode) {
    this.#program = program;
    this.#loop = loop;
    this.#carried = loop.attrs.int("carried");
    const [condition, body] = loop.regions!.map(plain);
    this.#condition = condition!;
    this.#body = body!;
    this.#uses = { program: new Uses(program), condition: new Uses(condition!), body: new Uses(body!) };
  }

  lifted(): Program {
    const filled = this.#filledLists();
    const read = this.#readLists();
    if (filled.length + read.length === 0) return this.#program;
    const loop = this.#makeLoop(read, filled);
    const aliases = new Map<string, TensorRef>();
    for (const [i] of this.#loop.attrs.dtypes("dtypes").entries()) {
      const at = loop.kept.indexOf(i);
      if (at >= 0) aliases.set(`${this.#loop.name}:${i}`, { node: loop.node.name, index: at });
    }
    for (const [i, list] of filled.entries())
      this.#replaceUses(list, { node: loop.node.name, index: loop.kept.length + i }, aliases, loop.kept);
    this.#added.set(loop.node.name, loop.node);
    const graph = new Map(this.#program.graph);
    // What waited for the loop waits for the new one.
    for (const [name, node] of graph) {
      if (!node.controls.includes(this.#loop.name)) continue;
      const controls = node.controls.map((control) => (control === this.#loop.name ? loop.node.name : control));
      graph.set(name, { ...node, controls });
    }
    const targets = this.#program.targets.map((name) => (name === this.#loop.name ? loop.node.name : name));
    return prune(rewrite({ ...this.#program, graph, targets }, aliases, this.#added));
  }

  #readLists(): ReadList[] {
    const lists: ReadList[] = [];
    for (let input = this.#carried; input < this.#loop.inputs.length; input++) {
      const rows = rowsOf(this.#program.graph, this.#loop.inputs[input]!);
      const isReadIn = (region: Region, uses: Uses): boolean | undefined =>
        uses
          .of({ node: region.args[input]!, index: 0 })
          ?.every((node) => (READS.has(node.op) || LENGTHS.has(node.op)) && isArg(region, listInput(node), input));
      const isRead = isReadIn(this.#condition, this.#uses.condition) && isReadIn(this.#body, this.#uses.body);
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
        this.#uses.body.of(arg)?.length === 1 &&
        this.#uses.body.count({ node: setter.name, index: 0 }) === 1 &&
        this.#uses.condition.of({ node: this.#condition.args[input]!, index: 0 })?.length === 0;
      const counter = this.#counterOf(setter.inputs[1]!);
      const isSingle = valueOf(this.#body.graph, setter.inputs[1]!) === 0 && valueOf(this.#program.graph, made) === 1;
      const uses = this.#uses.program.of({ node: this.#loop.name, index: input });
      const isStacked = uses?.every((node) => STACKS.has(node.op) || LENGTHS.has(node.op));
      if (!isOnlySet || !uses || !isStacked || (counter === undefined && !isSingle)) continue;
      // Variants are no device's and have no value that would fill what no turn set: nothing to win.
      if (elementDType(setter) === "variant") continue;
      lists.push({ input, value: setter.inputs[2]!, dtype: elementDType(setter), length: made, counter, uses });
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

  #makeLoop(read: readonly ReadList[], filled: readonly FilledList[]): { node: GraphNode; kept: readonly number[] } {
    const isFilled = new Set(filled.map(({ input }) => input));
    const kept = Array.from({ length: this.#carried }, (_, i) => i).filter((i) => !isFilled.has(i));
    const rows = new Map(read.map((list) => [list.input, list.rows]));
    const condition = readRows(this.#condition, this.#uses.condition, read);
    const body = readRows(this.#body, this.#uses.body, read);
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

  /** What came after a filled list works on its stacked elements. */
  #replaceUses(list: FilledList, stacked: TensorRef, aliases: Map<string, TensorRef>, kept: readonly number[]): void {
    const turns = { node: stacked.node, index: kept.indexOf(list.counter ?? 0) };
    for (const node of list.uses) {
      if (LENGTHS.has(node.op)) {
        aliases.set(`${node.name}:0`, list.length);
        continue;
      }
      if (list.counter === undefined) {
        aliases.set(`${node.name}:0`, this.#last(node, list, stacked));
        continue;
      }
      const shape = this.#elementShape(node);
      aliases.set(
        `${node.name}:0`,
        node.op === "TensorListStack"
          ? this.#padded(node.name, list, stacked, turns, shape)
          : this.#picked(node, list, stacked, turns, shape),
      );
    }
  }

  /** The shape of an element as far as the graph states it. */
  #elementShape({ op, attrs, inputs }: GraphNode): Shape {
    if (op === "TensorArrayGatherV3") return attrs.shape("element_shape");
    const value = constantOf(nodeOf(this.#program.graph, behindIdentity(this.#program.graph, inputs[1]!).node));
    return value?.shape.length === 1 ? toNumbers(value) : undefined;
  }

  /** The list's only element, as the last turn set it; an error where there was no turn. */
  #last(node: GraphNode, list: FilledList, stacked: TensorRef): TensorRef {
    const at = (suffix: string): string => `${node.name}/${suffix}`;
    const zero = this.#constant(at("axis"), [0], []);
    const [start, one] = [this.#constant(at("start"), [0], [1]), this.#constant(at("one"), [1], [1])];
    const dims = this.#node(at("shape"), "Shape", [stacked], { T: list.dtype, out_type: "int32" });
    const turns = this.#node(at("turns"), "Slice", [dims, start, one], { T: "int32", Index: "int32" });
    const index = this.#node(at("index"), "Sub", [turns, one], { T: "int32" });
    const types = { Tparams: list.dtype, Tindices: "int32", Taxis: "int32" };
    const last = this.#node(at("last"), "GatherV2", [stacked, index, zero], types);
    if (node.op === "TensorListStack") return last;
    return this.#node(at("picked"), "GatherV2", [last, node.inputs[1]!, zero], types);
  }

  /** Elements of a TensorArray by index. What no turn has set is zeros where the element's shape is known, else an error. */
  #picked(node: GraphNode, list: FilledList, stacked: TensorRef, turns: TensorRef, shape: Shape): TensorRef {
    const at = (suffix: string): string => `${node.name}/${suffix}`;
    const zero = this.#constant(at("axis"), [0], []);
    const isKnown = this.#isAlike(list) || (shape !== undefined && !shape.includes(-1));
    let [, indices] = node.inputs as [TensorRef, TensorRef];
    if (!isKnown) {
      const checked = this.#checkedLength(at, list, turns, zero);
      const check = this.#node(at("check"), "Sub", [checked, list.length], { T: "int32" });
      indices = this.#node(at("indices"), "AddV2", [indices, check], { T: "int32" });
    }
    const elements = isKnown ? this.#padded(node.name, list, stacked, turns, shape) : stacked;
    const types = { Tparams: list.dtype, Tindices: "int32", Taxis: "int32" };
    return this.#node(at("picked"), "GatherV2", [elements, indices, zero], types);
  }

  /** A TensorArray whose elements are all of one shape: the first one that is set tells what the zeros look like. */
  #isAlike({ input }: FilledList): boolean {
    const { node } = behindIdentity(this.#program.graph, this.#loop.inputs[input]!);
    const { op, attrs } = nodeOf(this.#program.graph, node);
    return op === "TensorArrayV3" && attrs.bool("identical_element_shapes");
  }

  /**
   * Stacked elements with zeros for those that no turn has set. Without a turn there is nothing that would tell the shape of
   * the zeros: then it must be known, or reading the list is an error, as in TensorFlow.
   */
  #padded(name: string, list: FilledList, stacked: TensorRef, turns: TensorRef, shape: Shape): TensorRef {
    const at = (suffix: string): string => `${name}/${suffix}`;
    const ints = { T: "int32", N: 2 };
    const zero = this.#constant(at("zero"), [0], []);
    const isKnown = shape !== undefined && !shape.includes(-1);
    const one = this.#constant(at("one"), [1], [1]);
    const rest = this.#constant(at("rest"), [-1], [1]);
    const length = isKnown ? list.length : this.#checkedLength(at, list, turns, zero);
    const missing = this.#node(at("missing"), "Sub", [length, turns], { T: "int32" });
    const dims = this.#node(at("shape"), "Shape", [stacked], { T: list.dtype, out_type: "int32" });
    const element = isKnown
      ? this.#constant(at("element"), shape, [shape.length])
      : this.#node(at("element"), "Slice", [dims, one, rest], { T: "int32", Index: "int32" });
    const withLength = (count: TensorRef, suffix: string): TensorRef => {
      const vector = this.#node(at(`${suffix}/count`), "Pack", [count], { T: "int32", N: 1, axis: 0 });
      return this.#node(at(suffix), "ConcatV2", [vector, element, zero], { ...ints, Tidx: "int32" });
    };
    const filler = this.#filler(at, list.dtype, withLength(missing, "filler/shape"));
    const rows = isKnown
      ? this.#node(at("rows"), "Reshape", [stacked, withLength(turns, "rows/shape")], {
          T: list.dtype,
          Tshape: "int32",
        })
      : stacked;
    return this.#node(at("padded"), "ConcatV2", [rows, filler, zero], { T: list.dtype, N: 2, Tidx: "int32" });
  }

  #filler(at: (suffix: string) => string, dtype: DType, shape: TensorRef): TensorRef {
    const value =
      dtype === "string"
        ? this.#leaf(constantNode(at("filler/value"), strings([], [""])))
        : this.#node(at("filler/value"), "Cast", [this.#constant(at("filler/zero"), [0], [])], {
            SrcT: "int32",
            DstT: dtype,
          });
    return this.#node(at("filler"), "Fill", [shape, value], { T: dtype, index_type: "int32" });
  }

  /** The list's length; fails where the loop took no turn. */
  #checkedLength(at: (suffix: string) => string, list: FilledList, turns: TensorRef, zero: TensorRef): TensorRef {
    const one = this.#constant(at("first"), [1], []);
    const before = this.#node(at("before"), "Sub", [turns, one], { T: "int32" });
    const index = this.#node(at("any"), "Minimum", [before, zero], { T: "int32" });
    const vector = this.#node(at("lengths"), "Pack", [list.length], { T: "int32", N: 1, axis: 0 });
    const types = { Tparams: "int32", Tindices: "int32", Taxis: "int32" };
    return this.#node(at("length"), "GatherV2", [vector, index, zero], types);
  }

  #constant(name: string, values: readonly number[], shape: readonly number[]): TensorRef {
    return this.#leaf(constantNode(name, tensor("int32", shape, Int32Array.from(values))));
  }

  #node(name: string, op: string, inputs: readonly TensorRef[], attrs: Readonly<Record<string, AttrValue>>): TensorRef {
    return this.#leaf({ name, op, inputs, controls: [], attrs: new Attrs(op, attrs) });
  }

  #leaf(node: GraphNode): TensorRef {
    const name = uniqueName(node.name, (taken) => this.#program.graph.has(taken) || this.#added.has(taken));
    this.#added.set(name, { ...node, name });
    return { node: name, index: 0 };
  }
}

/** A region without nodes that only hand values on. */
function plain(region: Region): Region {
  const reduced = simplify(reduceControls(region), new Map());
  return { ...reduced, args: region.args };
}

function unusedName({ graph }: Region, name: string): string {
  return uniqueName(name, (taken) => graph.has(taken));
}

function isArg({ graph, args }: Region, ref: TensorRef, input: number): boolean {
  const source = behindIdentity(graph, ref);
  return source.node === args[input] && source.index === 0;
}

/** Who reads the values of a program. */
class Uses {
  readonly #readers = new Map<string, GraphNode[]>();
  readonly #outputs: readonly string[];

  constructor({ graph, outputs }: Program) {
    for (const node of graph.values()) {
      for (const key of new Set(node.inputs.map(refKey))) {
        const known = this.#readers.get(key);
        if (known) known.push(node);
        else this.#readers.set(key, [node]);
      }
    }
    this.#outputs = outputs.map(refKey);
  }

  /** Nodes that read a value, through Identity too; undefined when it is also an output. */
  of(ref: TensorRef): readonly GraphNode[] | undefined {
    const same = new Set([refKey(ref)]);
    const uses: GraphNode[] = [];
    for (const key of same) {
      for (const node of this.#readers.get(key) ?? []) {
        if (node.op === "Identity") same.add(`${node.name}:0`);
        else uses.push(node);
      }
    }
    return this.#outputs.some((key) => same.has(key)) ? undefined : uses;
  }

  /** How often a value is read or an output, not looking through Identity. */
  count(ref: TensorRef): number {
    const key = refKey(ref);
    return (this.#readers.get(key)?.length ?? 0) + this.#outputs.filter((output) => output === key).length;
  }
}

/** The value of a constant integer scalar. */
function valueOf(graph: Graph, ref: TensorRef): number | undefined {
  const value = constantOf(nodeOf(graph, behindIdentity(graph, ref).node));
  return value?.dtype === "int32" && value.shape.length === 0 ? toNumbers(value)[0] : undefined;
}

/** The tensor whose rows are the elements of a list. */
function rowsOf(graph: Graph, ref: TensorRef): TensorRef | undefined {
  const { op, inputs } = nodeOf(graph, behindIdentity(graph, ref).node);
  if (op === "TensorListFromTensor") return inputs[0];
  if (op !== "TensorArrayScatterV3") return undefined;
  const indices = nodeOf(graph, behindIdentity(graph, inputs[1]!).node);
  const isAll =
    indices.op === "Range" && valueOf(graph, indices.inputs[0]!) === 0 && valueOf(graph, indices.inputs[2]!) === 1;
  return isAll ? inputs[2] : undefined;
}

/** The number of elements of a list that nothing is in yet. */
function lengthOf(graph: Graph, ref: TensorRef): TensorRef | undefined {
  const source = behindIdentity(graph, ref);
  const { op, inputs, attrs } = nodeOf(graph, source.node);
  if (op === "TensorListReserve") return inputs[1];
  return op === "TensorArrayV3" && source.index === 1 && !attrs.bool("dynamic_size") ? inputs[0] : undefined;
}

/** A region that reads rows where it read elements of lists. */
function readRows(
  region: Region,
  uses: Uses,
  read: readonly ReadList[],
): Region & { follow(ref: TensorRef): TensorRef } {
  const graph = new Map(region.graph);
  const aliases = new Map<string, TensorRef>();
  const unique = (name: string): string => uniqueName(name, (taken) => graph.has(taken));
  const add = (node: GraphNode): TensorRef => {
    graph.set(node.name, node);
    return { node: node.name, index: 0 };
  };
  for (const { input } of read) {
    const arg = { node: region.args[input]!, index: 0 };
    for (const node of uses.of(arg) ?? []) {
      const dtype = READS.has(node.op) ? elementDType(node) : "float32";
      if (READS.has(node.op)) {
        // What a graph says of the element, a turn checks anyway: its dtype is the argument's.
        graph.set(arg.node, argument(arg.node, dtype));
        const axis = add(constantNode(unique(`${node.name}/axis`), scalar("int32", 0)));
        const attrs = new Attrs("GatherV2", { Tparams: dtype, Tindices: "int32", Taxis: "int32" });
        const inputs = [arg, node.inputs[1]!, axis];
        aliases.set(
          `${node.name}:0`,
          add({ ...node, name: unique(`${node.name}/row`), op: "GatherV2", inputs, attrs }),
        );
      } else {
        const shape = add({
          ...node,
          name: unique(`${node.name}/shape`),
          op: "Shape",
          inputs: [arg],
          attrs: new Attrs("Shape", { T: dtype, out_type: "int32" }),
        });
        const [start, end, step] = [0, 1, 1].map((value, i) =>
          add(constantNode(unique(`${node.name}/slice_${i}`), tensor("int32", [1], Int32Array.of(value)))),
        );
        const attrs = new Attrs("StridedSlice", { T: "int32", Index: "int32", shrink_axis_mask: 1 });
        const inputs = [shape, start!, end!, step!];
        aliases.set(
          `${node.name}:0`,
          add({ ...node, name: unique(`${node.name}/rows`), op: "StridedSlice", inputs, attrs }),
        );
      }
    }
  }
  const follow = (ref: TensorRef): TensorRef => {
    let current = ref;
    for (let next = aliases.get(refKey(current)); next; next = aliases.get(refKey(current))) current = next;
    return current;
  };
  return { ...rewrite({ ...region, graph }, aliases), args: region.args, follow };
}
