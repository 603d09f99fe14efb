import { type DType, scalar, strings, type Tensor } from "@shardserve/tensor";
import type { FunctionLibrary } from "../../import/import.js";
import { Attrs, type AttrValue, type FunctionRef, type Shape } from "../../ir/attrs.js";
import { inlineCalls } from "../../ir/inline.js";
import { uniqueName } from "../../ir/unique-name.js";
import { type GraphNode, refKey, type Region, type TensorRef } from "../../ir/ir.js";
import { constantNode } from "../rewrites/fold.js";
import { argument, makeBranch, makeLoop } from "../control/regions.js";

/** A value of one block, with its dtype. */
export interface Value {
  readonly ref: TensorRef;
  readonly dtype: DType;
}

/** Turns of a loop are counted as int32, as loops over lists are; no loop of more ends. */
const TURNS_MAX = 2 ** 31 - 1;

/** Nodes in the making: at the top of a program, or in the body of a loop, which sees what lies outside as its arguments. */
export class Block {
  readonly nodes = new Map<string, GraphNode>();
  readonly #prefix: string;
  readonly #library: FunctionLibrary;
  readonly #taken: (name: string) => boolean;
  readonly #outer: Block | undefined;
  /** Values of the outer block that this one uses: key there -> argument here. */
  readonly #captured = new Map<string, { readonly outside: Value; readonly inside: Value }>();

  constructor(prefix: string, library: FunctionLibrary, taken: (name: string) => boolean, outer?: Block) {
    this.#prefix = prefix;
    this.#library = library;
    this.#taken = taken;
    this.#outer = outer;
  }

  /** A node with one output. */
  add(op: string, dtype: DType, inputs: readonly Value[], attrs: Readonly<Record<string, AttrValue>> = {}): Value {
    return { ref: { node: this.#node(op, inputs, attrs).name, index: 0 }, dtype };
  }

  constant(value: Tensor): Value {
    const node = constantNode(this.#name("Const"), value);
    this.nodes.set(node.name, node);
    return { ref: { node: node.name, index: 0 }, dtype: value.dtype };
  }

  long(value: bigint | number): Value {
    return this.constant(scalar("int64", BigInt(value)));
  }

  /** `a op b`, of one dtype, which is also that of the answer. */
  math(op: string, a: Value, b: Value): Value {
    return this.add(op, a.dtype, [a, b], { T: a.dtype });
  }

  compare(op: "Less" | "Equal" | "LessEqual", a: Value, b: Value): Value {
    return this.add(op, "bool", [a, b], { T: a.dtype });
  }

  select(condition: Value, yes: Value, no: Value): Value {
    return this.add("SelectV2", yes.dtype, [condition, yes, no], { T: yes.dtype });
  }

  cast(value: Value, dtype: DType): Value {
    return value.dtype === dtype ? value : this.add("Cast", dtype, [value], { SrcT: value.dtype, DstT: dtype });
  }

  /** The values of a function. */
  call(f: FunctionRef, inputs: readonly Value[], outputs: readonly DType[]): Value[] {
    const { name } = this.#node("PartitionedCall", inputs, {
      f,
      Tin: inputs.map(({ dtype }) => dtype),
      Tout: outputs,
    });
    return outputs.map((dtype, index) => ({ ref: { node: name, index }, dtype }));
  }

  /** Lets values be had only where a condition holds; else the request fails with `message`. */
  guarded(values: readonly Value[], condition: Value, message: string): Value[] {
    const text = this.constant(strings([], [message]));
    const assert = this.#node("Assert", [condition, text], { T: ["string"] });
    return values.map(({ ref, dtype }) => {
      const name = this.#name("Identity");
      this.nodes.set(name, {
        name,
        op: "Identity",
        inputs: [ref],
        controls: [assert.name],
        attrs: new Attrs("Identity", { T: dtype }),
      });
      return { ref: { node: name, index: 0 }, dtype };
    });
  }

  /**
   * What `state` is after `count` turns.
   *
   * @param shapes of the state, which hold before and after every turn
   * @param alive  positions of bools of the state: the loop ends early when one of them is false
   * @param turn   adds what makes the next state to the loop's body, where {@link outside} gives values of this block
   */
  loop(
    count: Value,
    state: readonly Value[],
    shapes: readonly Shape[],
    alive: readonly number[],
    turn: (body: Block, index: Value, state: readonly Value[]) => readonly Value[],
  ): Value[] {
    const name = this.#name("loop");
    const limit = this.cast(this.math("Minimum", count, this.long(TURNS_MAX)), "int32");
    const variables = [this.constant(scalar("int32", 0)), limit, ...state];
    const body = new Block(`${name}/body`, this.#library, () => false, this);
    const args = body.#arguments(variables);
    const next = turn(body, body.cast(args[0]!, "int64"), args.slice(2));
    const counter = body.math("AddV2", args[0]!, body.constant(scalar("int32", 1)));
    const captured = [...body.#captured.values()];
    const inputs = [...variables, ...captured.map(({ outside }) => outside)];
    const dtypes = inputs.map(({ dtype }) => dtype);
    const condition = new Block(`${name}/condition`, this.#library, () => false);
    const asked = condition.#arguments(inputs);
    const verdict = alive.reduce(
      (verdict, i) => condition.add("LogicalAnd", "bool", [verdict, asked[2 + i]!]),
      condition.compare("Less", asked[0]!, asked[1]!),
    );
    const { loop, results } = makeLoop(
      { name, inputs: inputs.map(({ ref }) => ref), controls: [] },
      condition.#region(asked, [verdict]),
      body.#region(
        [...args, ...captured.map(({ inside }) => inside)],
        [counter, args[1]!, ...next, ...captured.map(({ inside }) => inside)],
      ),
      dtypes,
      [[], [], ...shapes, ...captured.map(() => undefined)],
    );
    this.nodes.set(name, loop);
    return state.map(({ dtype }, i) => ({ ref: results[2 + i]!, dtype }));
  }

  /** What `turn` makes of `state` where a condition holds, else `state` itself. */
  when(
    condition: Value,
    state: readonly Value[],
    turn: (block: Block, state: readonly Value[]) => readonly Value[],
  ): Value[] {
    const name = this.#name("branch");
    const yes = new Block(`${name}/then`, this.#library, () => false, this);
    const changed = yes.#arguments(state);
    const next = turn(yes, changed);
    const captured = [...yes.#captured.values()];
    const inputs = [...state, ...captured.map(({ outside }) => outside)];
    const no = new Block(`${name}/else`, this.#library, () => false);
    const kept = no.#arguments(inputs);
    const branch = makeBranch(
      { name, inputs: [condition, ...inputs].map(({ ref }) => ref), controls: [] },
      [
        no.#region(kept, kept.slice(0, state.length)),
        yes.#region([...changed, ...captured.map(({ inside }) => inside)], next),
      ],
      true,
      state.map(({ dtype }) => dtype),
      state.map(() => undefined),
    );
    this.nodes.set(name, branch);
    return state.map(({ dtype }, index) => ({ ref: { node: name, index }, dtype }));
  }

  /** A value of the block around this one. */
  outside(value: Value): Value {
    const key = refKey(value.ref);
    let entry = this.#captured.get(key);
    if (!entry) {
      const node = argument(`${this.#prefix}/captured_${this.#captured.size}`, value.dtype);
      this.nodes.set(node.name, node);
      entry = { outside: value, inside: { ref: { node: node.name, index: 0 }, dtype: value.dtype } };
      this.#captured.set(key, entry);
    }
    return entry.inside;
  }

  /** A value of the program, in whatever depth this block lies. */
  global(value: Value): Value {
    return this.#outer ? this.outside(this.#outer.global(value)) : value;
  }

  #arguments(values: readonly Value[]): Value[] {
    return values.map(({ dtype }, i) => {
      const node = argument(`${this.#prefix}/arg_${i}`, dtype);
      this.nodes.set(node.name, node);
      return { ref: { node: node.name, index: 0 }, dtype };
    });
  }

  #region(args: readonly Value[], outputs: readonly Value[]): Region {
    const program = inlineCalls(
      { graph: this.nodes, outputs: outputs.map(({ ref }) => ref), targets: [] },
      this.#library,
    );
    return { ...program, args: args.map(({ ref }) => ref.node) };
  }

  #node(op: string, inputs: readonly Value[], attrs: Readonly<Record<string, AttrValue>>): GraphNode {
    const name = this.#name(op);
    const node = { name, op, inputs: inputs.map(({ ref }) => ref), controls: [], attrs: new Attrs(op, attrs) };
    this.nodes.set(name, node);
    return node;
  }

  #name(op: string): string {
    return uniqueName(`${this.#prefix}/${op}`, (name) => this.nodes.has(name) || this.#taken(name));
  }
}
