import { type Pieces, ServingError } from "@shardserve/core";
import type { HloOp, HloRegion, HloValue } from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import { ARRAYS } from "./arrays.js";
import { CONTROL } from "./control.js";
import { CONVOLUTIONS } from "./convolution.js";
import { CUSTOM } from "./custom-calls.js";
import { DOT } from "./dot.js";
import { ELEMENTWISE } from "./elementwise.js";
import { GATHERS } from "./gather.js";
import { LINEAR_ALGEBRA } from "./linear-algebra.js";
import { REDUCING } from "./reductions.js";
import { SCATTERING } from "./scatter.js";
import { SORTING } from "./sorting.js";
import { SPECTRAL } from "./spectral.js";
import { UPDATING } from "./update-slice.js";
import { WINDOWS } from "./windows.js";
import type { FunctionBuilder, Ref } from "./function-builder.js";
import { OpTranslation, type Surroundings, type Translate, type Translated } from "./translation.js";

const TRANSLATIONS: ReadonlyMap<string, Translate> = new Map(
  [
    ARRAYS,
    CONTROL,
    CONVOLUTIONS,
    CUSTOM,
    DOT,
    ELEMENTWISE,
    GATHERS,
    LINEAR_ALGEBRA,
    REDUCING,
    SCATTERING,
    SORTING,
    SPECTRAL,
    UPDATING,
    WINDOWS,
  ].flatMap((table) => Object.entries(table)),
);

/** Ops between two pauses: a few milliseconds. */
const OPS_PER_PIECE = 32;

/** A function as those that call it know it. */
export interface Called {
  readonly function: string;
  readonly results: readonly DType[];
}

/** What the translation of a function asks of its module's. */
export interface ModuleState {
  readonly options: { readonly platformIndex: number | undefined; readonly hostFunctions: readonly string[] };
  /** Integers from 0 on, and what they are below. */
  readonly ranges: Map<HloValue, number>;
  /** Arguments of regions that are TensorLists. */
  readonly lists: Set<HloValue>;
  /** Values that are the number of this machine's platform. */
  readonly platforms: Set<HloValue>;
  record(op: HloOp): void;
  definition(value: HloValue): HloOp | undefined;
  bodyOf(name: string): HloRegion;
  called(name: string): Called;
  region(name: string, region: HloRegion, captures: readonly HloValue[], handedOn: readonly HloValue[]): string;
  written(
    name: string,
    args: readonly DType[],
    captures: readonly HloValue[],
    make: (around: Surroundings, args: readonly Ref[]) => readonly Ref[],
  ): string;
}

/** Functions of more ops are called, and so are those inside of so many others. */
const [INLINED_OPS_MAX, INLINED_DEPTH_MAX] = [16, 4];

/** A function that costs less as nodes of its caller, which then sees its constants, than as a call. */
function isSmall({ ops }: HloRegion): boolean {
  return ops.length <= INLINED_OPS_MAX && ops.every(({ name }) => name !== "while" && name !== "case" && name !== "if");
}

/** Translates one function, or one region that became a function. */
export class FunctionTranslation implements Surroundings {
  readonly b: FunctionBuilder;
  readonly #module: ModuleState;
  /** Names of the StableHLO functions whose ops are translated: this one, and those that are put into it. */
  readonly #functions: string[];
  readonly #values = new Map<HloValue, Translated>();
  /** Arguments of functions that are put into this one -> what they stand for. */
  readonly #operands = new Map<HloValue, HloValue>();

  constructor(module: ModuleState, b: FunctionBuilder, name: string) {
    this.#module = module;
    this.b = b;
    this.#functions = [name];
  }

  get #function(): string {
    return this.#functions.at(-1)!;
  }

  define(value: HloValue, made: Ref | Translated): void {
    this.#values.set(value, "full" in made ? made : { full: () => made });
  }

  /** @returns what the region returns */
  *run(region: HloRegion): Pieces<Ref[]> {
    for (const [i, op] of region.ops.entries()) {
      if (op.name === "return") return op.operands.map((value) => this.translated(value).full());
      this.#translate(op);
      if (i % OPS_PER_PIECE === OPS_PER_PIECE - 1) yield;
    }
    throw new ServingError("GRAPH_INVALID", `a region of StableHLO function "${this.#function}" returns nothing`);
  }

  #translate(op: HloOp): void {
    const translate = TRANSLATIONS.get(op.name);
    try {
      if (!translate) throw new ServingError("UNIMPLEMENTED", `stablehlo.${op.name} is not supported`);
      this.#module.record(op);
      const made = translate(new OpTranslation(op, this));
      if (made.length < op.results.length) {
        throw new ServingError("GRAPH_INVALID", `stablehlo.${op.name} has ${op.results.length} results`);
      }
      for (const [i, value] of op.results.entries()) this.define(value, made[i]!);
    } catch (error) {
      if (!(error instanceof ServingError) || error.message.endsWith(")")) throw error;
      throw new ServingError(error.code, `${error.message} (in function "${this.#function}")`);
    }
  }

  translated(value: HloValue): Translated {
    const known = this.#values.get(value);
    if (known) return known;
    throw new ServingError("GRAPH_INVALID", "a value is used before it is made");
  }

  known(value: HloValue): Translated | undefined {
    return this.#values.get(value);
  }

  definition(value: HloValue): HloOp | undefined {
    return this.#module.definition(this.behindCalls(value));
  }

  behindCalls(value: HloValue): HloValue {
    let current = value;
    for (let next = this.#operands.get(current); next; next = this.#operands.get(current)) current = next;
    return current;
  }

  inlinedCall(name: string, operands: readonly HloValue[]): readonly Translated[] | undefined {
    const body = this.#module.bodyOf(name);
    const isOpen = this.#functions.includes(name) || this.#functions.length > INLINED_DEPTH_MAX;
    if (isOpen || !isSmall(body) || body.args.length !== operands.length) return undefined;
    const args = operands.map((value) => this.translated(value));
    const stands = operands.map((value) => this.behindCalls(value));
    for (const [i, value] of body.args.entries()) this.#operands.set(value, stands[i]!);
    this.#functions.push(name);
    const results = this.inlined(body, args);
    this.#functions.pop();
    return results;
  }

  platformOf(value: HloValue): number | undefined {
    return this.#module.platforms.has(this.behindCalls(value)) ? this.#module.options.platformIndex : undefined;
  }

  isInlined(body: HloRegion): boolean {
    return isSmall(body) && body.ops.every(({ name }) => name !== "call") && this.#functions.length === 1;
  }

  setRange(value: HloValue, limit: number): void {
    this.#module.ranges.set(value, limit);
  }

  limitOf(value: HloValue): number | undefined {
    return this.#module.ranges.get(this.behindCalls(value));
  }

  setList(value: HloValue): void {
    this.#module.lists.add(value);
  }

  calledFunction(name: string, operands: readonly HloValue[]): Called {
    const { args } = this.#module.bodyOf(name);
    // It is one number in all calls.
    for (const [i, value] of operands.entries()) {
      if (this.platformOf(value) !== undefined && args[i]) this.#module.platforms.add(args[i]);
    }
    return this.#module.called(name);
  }

  calledBody(name: string): HloRegion {
    return this.#module.bodyOf(name);
  }

  inlined(region: HloRegion, args: readonly (Ref | Translated)[]): Translated[] {
    for (const [i, value] of region.args.entries()) this.define(value, args[i]!);
    for (const op of region.ops) {
      if (op.name === "return") return op.operands.map((value) => this.translated(value));
      this.#translate(op);
    }
    throw new ServingError("GRAPH_INVALID", `a region of StableHLO function "${this.#function}" returns nothing`);
  }

  writtenFunction(
    args: readonly DType[],
    captures: readonly HloValue[],
    make: (around: Surroundings, args: readonly Ref[]) => readonly Ref[],
  ): string {
    return this.#module.written(this.#function, args, captures, make);
  }

  hostFunction(index: number): string {
    const name = this.#module.options.hostFunctions[index];
    if (name !== undefined) return name;
    throw new ServingError("GRAPH_INVALID", `there is no TensorFlow function ${index}`);
  }

  regionFunction(region: HloRegion, captures: readonly HloValue[], extra: "hand on" | "drop"): string {
    return this.#module.region(this.#function, region, captures, extra === "hand on" ? captures : []);
  }
}
