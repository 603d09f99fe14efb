import type { FunctionDef } from "@shardserve/api";
import { type Pieces, ServingError } from "@shardserve/core";
import {
  attr,
  type HloFunction,
  type HloModule,
  type HloOp,
  type HloRegion,
  type HloValue,
} from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import { ARRAYS } from "./arrays.js";
import { CONTROL } from "./control.js";
import { CONVOLUTIONS } from "./convolution.js";
import { CUSTOM } from "./custom-calls.js";
import { DOT } from "./dot.js";
import { ELEMENTWISE } from "./elementwise.js";
import { FunctionBuilder, NODES_MAX, type Ref } from "./function-builder.js";
import { GATHERS } from "./gather.js";
import { LINEAR_ALGEBRA } from "./linear-algebra.js";
import { REDUCING } from "./reductions.js";
import { SCATTERING } from "./scatter.js";
import { SORTING } from "./sorting.js";
import { SPECTRAL } from "./spectral.js";
import { OpTranslation, type Surroundings, type Translate, type Translated } from "./translation.js";
import { WINDOWS } from "./windows.js";

const TRANSLATIONS: ReadonlyMap<string, Translate> = new Map(
  [ARRAYS, CONTROL, CONVOLUTIONS, CUSTOM, DOT, ELEMENTWISE, GATHERS, LINEAR_ALGEBRA, REDUCING, SCATTERING, SORTING, SPECTRAL, WINDOWS].flatMap(
    (table) => Object.entries(table),
  ),
);

export interface ModuleOptions {
  /** Of the function that `main` becomes; the names of the others begin with it. */
  readonly name: string;
  /** Position of this machine's platform among those that the module is for; undefined when it is for one alone. */
  readonly platformIndex: number | undefined;
  /** TensorFlow functions that the module calls by number. */
  readonly hostFunctions: readonly string[];
}

/** Ops between two pauses: a few milliseconds. */
const OPS_PER_PIECE = 32;

/**
 * Turns a StableHLO module into functions of TensorFlow ops: `main`, what it calls, and the regions of loops and branches, one
 * function each.
 *
 * @throws ServingError UNIMPLEMENTED naming the op and the function, GRAPH_INVALID for a module that contradicts itself
 */
export function translateModule(module: HloModule, options: ModuleOptions): Pieces<readonly FunctionDef[]> {
  return new ModuleTranslation(module, options).run();
}

/** A function as those that call it know it. */
interface Called {
  readonly function: string;
  readonly results: readonly DType[];
}

class ModuleTranslation {
  readonly module: HloModule;
  readonly options: ModuleOptions;
  readonly #functions: FunctionDef[] = [];
  /** Functions that are called and not yet made. */
  readonly #open: (() => Pieces<void>)[] = [];
  readonly #called = new Map<string, Called>();
  readonly #definitions = new Map<HloValue, HloOp>();
  readonly ranges = new Map<HloValue, number>();
  readonly lists = new Set<HloValue>();
  #regionCount = 0;
  #nodeCount = 0;

  constructor(module: HloModule, options: ModuleOptions) {
    this.module = module;
    this.options = options;
  }

  *run(): Pieces<readonly FunctionDef[]> {
    yield* this.#main();
    for (let make = this.#open.pop(); make; make = this.#open.pop()) yield* make();
    return this.#functions;
  }

  *#main(): Pieces<void> {
    const source = this.#source("main");
    const b = new FunctionBuilder(this.options.name);
    const around = new FunctionTranslation(this, b, source.name);
    const { platformIndex } = this.options;
    const args = [...source.body.args];
    if (platformIndex !== undefined) {
      const platform = args.shift();
      if (platform) around.define(platform, b.scalar(dtypeOf(platform), platformIndex));
    }
    for (const value of args) around.define(value, checkedArgument(b, value));
    this.#finish(b, yield* around.run(source.body));
  }

  called(name: string): Called {
    const known = this.#called.get(name);
    if (known) return known;
    const { body } = this.#source(name);
    const results = (body.ops.at(-1)?.operands ?? []).map(dtypeOf);
    const made = { function: `${this.options.name}/${name}`, results };
    this.#called.set(name, made);
    this.#later(made.function, name, body, []);
    return made;
  }

  /**
   * The function that a region becomes; it takes what the region takes, and then `captures`.
   *
   * @param name  of the StableHLO function that the region is part of
   * @param handedOn  what the function returns behind the region's results
   */
  region(name: string, region: HloRegion, captures: readonly HloValue[], handedOn: readonly HloValue[]): string {
    const made = `${this.options.name}//region_${this.#regionCount++}`;
    this.#later(made, name, { ...region, args: [...region.args, ...captures] }, handedOn);
    return made;
  }

  #later(made: string, name: string, body: HloRegion, handedOn: readonly HloValue[]): void {
    this.#open.push(
      function* (this: ModuleTranslation): Pieces<void> {
        const b = new FunctionBuilder(made);
        const around = new FunctionTranslation(this, b, name);
        for (const value of body.args) {
          around.define(value, b.argument(this.lists.has(value) ? "variant" : dtypeOf(value)));
        }
        const results = yield* around.run(body);
        this.#finish(b, [...results, ...handedOn.map((value) => around.translated(value).full())]);
      }.bind(this),
    );
  }

  #finish(b: FunctionBuilder, results: readonly Ref[]): void {
    this.#nodeCount += b.nodeCount;
    if (this.#nodeCount > NODES_MAX) {
      throw new ServingError("GRAPH_INVALID", `a StableHLO module becomes more than ${NODES_MAX} nodes`);
    }
    this.#functions.push(b.finish(results));
  }

  /** A function that `make` writes; `captures` are its last arguments. */
  written(
    name: string,
    args: readonly DType[],
    captures: readonly HloValue[],
    make: (around: Surroundings, args: readonly Ref[]) => readonly Ref[],
  ): string {
    const made = `${this.options.name}//region_${this.#regionCount++}`;
    const b = new FunctionBuilder(made);
    const around = new FunctionTranslation(this, b, name);
    const own = args.map((dtype) => b.argument(dtype));
    for (const value of captures) around.define(value, b.argument(dtypeOf(value)));
    this.#finish(b, make(around, own));
    return made;
  }

  bodyOf(name: string): HloRegion {
    return this.#source(name).body;
  }

  record(op: HloOp): void {
    for (const value of op.results) this.#definitions.set(value, op);
  }

  definition(value: HloValue): HloOp | undefined {
    return this.#definitions.get(value);
  }

  #source(name: string): HloFunction {
    const source = this.module.functions.get(name);
    if (!source) throw new ServingError("GRAPH_INVALID", `the StableHLO module has no function "${name}"`);
    return source;
  }
}

function dtypeOf({ type }: HloValue): DType {
  if (type.kind === "tensor" && type.element.dtype) return type.element.dtype;
  const what = type.kind === "tensor" ? type.element.name : type.kind === "other" ? type.name : `a ${type.kind}`;
  throw new ServingError("UNIMPLEMENTED", `a StableHLO function takes ${what}`);
}

/** An argument that must have the shape that the module was made for. */
function checkedArgument(b: FunctionBuilder, value: HloValue): Ref {
  const ref = b.argument(dtypeOf(value));
  const shape = value.type.kind === "tensor" ? value.type.shape : [];
  return b.emit("EnsureShape", [ref], { shape: attr.shape(shape) });
}

/** Functions of more ops are called, and so are those inside of so many others. */
const [INLINED_OPS_MAX, INLINED_DEPTH_MAX] = [16, 4];

/** A function that costs less as nodes of its caller, which then sees its constants, than as a call. */
function isSmall({ ops }: HloRegion): boolean {
  return ops.length <= INLINED_OPS_MAX && ops.every(({ name }) => name !== "while" && name !== "case" && name !== "if");
}

/** Translates one function, or one region that became a function. */
class FunctionTranslation implements Surroundings {
  readonly b: FunctionBuilder;
  readonly #module: ModuleTranslation;
  /** Names of the StableHLO functions whose ops are translated: this one, and those that are put into it. */
  readonly #functions: string[];
  readonly #values = new Map<HloValue, Translated>();
  /** Arguments of functions that are put into this one -> what they stand for. */
  readonly #operands = new Map<HloValue, HloValue>();

  constructor(module: ModuleTranslation, b: FunctionBuilder, name: string) {
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

  calledFunction(name: string): Called {
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
