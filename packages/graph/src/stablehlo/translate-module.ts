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
import { FunctionBuilder, NODES_MAX, type Ref } from "./function-builder.js";
import { type Called, FunctionTranslation, type ModuleState } from "./function-translation.js";
import type { Surroundings } from "./translation.js";

export interface ModuleOptions {
  /** Of the function that `main` becomes; the names of the others begin with it. */
  readonly name: string;
  /** Position of this machine's platform among those that the module is for; undefined when it is for one alone. */
  readonly platformIndex: number | undefined;
  /** TensorFlow functions that the module calls by number. */
  readonly hostFunctions: readonly string[];
  /** Ops that give what arguments of `main` are known to be: the functions take the arguments nevertheless. */
  readonly definitions?: readonly HloOp[];
}

/**
 * Turns a StableHLO module into functions of TensorFlow ops: `main`, what it calls, and the regions of loops and branches, one
 * function each.
 *
 * @throws ServingError UNIMPLEMENTED naming the op and the function, GRAPH_INVALID for a module that contradicts itself
 */
export function translateModule(module: HloModule, options: ModuleOptions): Pieces<readonly FunctionDef[]> {
  return new ModuleTranslation(module, options).run();
}

class ModuleTranslation implements ModuleState {
  readonly module: HloModule;
  readonly options: ModuleOptions;
  readonly #functions: FunctionDef[] = [];
  /** Functions that are called and not yet made. */
  readonly #open: (() => Pieces<void>)[] = [];
  readonly #called = new Map<string, Called>();
  readonly #definitions = new Map<HloValue, HloOp>();
  readonly ranges = new Map<HloValue, number>();
  readonly lists = new Set<HloValue>();
  /** Values that are the number of this machine's platform. */
  readonly platforms = new Set<HloValue>();
  #regionCount = 0;
  #nodeCount = 0;

  constructor(module: HloModule, options: ModuleOptions) {
    this.module = module;
    this.options = options;
  }

  *run(): Pieces<readonly FunctionDef[]> {
    for (const op of this.options.definitions ?? []) this.record(op);
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
      if (platform) {
        around.define(platform, b.scalar(dtypeOf(platform), platformIndex));
        this.platforms.add(platform);
      }
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
