import { type Pieces, ServingError } from "@shardserve/core";
import type { DType } from "@shardserve/tensor";
import { Knowledge } from "../../infer/infer.js";
import type { Inference } from "../../infer/inference.js";
import { sameShape } from "../../infer/shapes.js";
import type { Shape } from "../../ir/attrs.js";
import { type GraphNode, type Program, type Region, type ValueInfo } from "../../ir/ir.js";

/** Loops whose shapes have not settled after this many tries are compiled without shapes. */
const TRIES_MAX = 6;

/** Regions of one program, those inside regions included; more is recursion, or a bomb. */
const REGIONS_MAX = 4096;
/** A scan over a length that is not known nests a branch for each bit that the length may have, and some around them. */
const DEPTH_MAX = 64;

/** What is left of the compiler's patience with regions. */
export class RegionBudget {
  #regions = 0;
  readonly #depth: number;
  readonly #root: RegionBudget;

  constructor(outer?: RegionBudget) {
    this.#depth = outer ? outer.#depth + 1 : 0;
    this.#root = outer ? outer.#root : this;
  }

  /** @throws ServingError GRAPH_INVALID when too many regions were compiled, or they are nested too deep */
  enter(): RegionBudget {
    if (this.#depth >= DEPTH_MAX || ++this.#root.#regions > REGIONS_MAX) {
      const what = this.#depth >= DEPTH_MAX ? `nested deeper than ${DEPTH_MAX}` : `more than ${REGIONS_MAX}`;
      throw new ServingError("GRAPH_INVALID", `loops and branches are ${what}: endless recursion?`);
    }
    return new RegionBudget(this);
  }
}

/** What a compiler of one region must tell. */
interface CompiledRegion {
  readonly program: Program;
  readonly inference: Inference;
}

export interface CompiledControls<C extends CompiledRegion> {
  /** Its control nodes state the shapes of their outputs. */
  readonly program: Program;
  readonly inference: Inference;
  /** By node name. */
  readonly regions: ReadonlyMap<string, readonly C[]>;
}

/**
 * Compiles the regions of all `Branch` and `Loop` nodes, in topological order: what comes out of one goes into the next. A
 * loop's variables may change shape from turn to turn, so its body is compiled again until what it gives fits what it
 * takes.
 *
 * @param known  of `source`
 */
export function* compileControls<C extends CompiledRegion>(
  source: Program,
  known: Inference,
  compileRegion: (region: Region) => Pieces<C>,
): Pieces<CompiledControls<C>> {
  const regions = new Map<string, readonly C[]>();
  if (!known.order.some((node) => node.regions)) return { program: source, inference: known, regions };
  const graph = new Map(source.graph);
  const knowledge = new Knowledge(known);
  for (const node of known.order) {
    const inputs = node.regions && node.inputs.map((ref) => knowledge.info(ref));
    // Something before it cannot run; that is reported.
    if (!inputs || inputs.includes(undefined)) {
      knowledge.add(node);
      continue;
    }
    const compiled = yield* node.op === "Loop"
      ? compileLoop(node, inputs as ValueInfo[], compileRegion)
      : compileBranch(node, inputs as ValueInfo[], compileRegion);
    regions.set(node.name, compiled.regions);
    const attrs = node.attrs.with({
      dtypes: compiled.outputs.map(({ dtype }) => dtype),
      shapes: compiled.outputs.map(({ shape }) => shape ?? null),
    });
    const shaped = { ...node, attrs };
    graph.set(node.name, shaped);
    knowledge.add(shaped);
  }
  const program = { ...source, graph };
  return { program, inference: knowledge.of(program), regions };
}

interface CompiledNode<C> {
  readonly regions: readonly C[];
  readonly outputs: readonly ValueInfo[];
}

function* compileBranch<C extends CompiledRegion>(
  node: GraphNode,
  inputs: readonly ValueInfo[],
  compileRegion: (region: Region) => Pieces<C>,
): Pieces<CompiledNode<C>> {
  const regions: C[] = [];
  for (const region of node.regions!) regions.push(yield* compileRegion(withArgs(region, inputs.slice(1))));
  const dtypes = node.attrs.dtypes("dtypes");
  const outputs = dtypes.map((stated, i): ValueInfo => {
    const infos = regions.map((region) => outputInfo(region, i));
    const shapes = infos.map((info) => info?.shape);
    return { dtype: infos[0]?.dtype ?? stated, shape: shapes.reduce((a, b) => widened(a, b)) };
  });
  return { regions, outputs };
}

function* compileLoop<C extends CompiledRegion>(
  node: GraphNode,
  inputs: readonly ValueInfo[],
  compileRegion: (region: Region) => Pieces<C>,
): Pieces<CompiledNode<C>> {
  const carried = node.attrs.int("carried");
  const [condition, body] = node.regions as [Region, Region];
  let variables = inputs.slice(0, carried);
  for (let tries = 0; ; tries++) {
    const args = [...variables, ...inputs.slice(carried)];
    const compiled = yield* compileRegion(withArgs(body, args));
    const next = variables.map(({ dtype, shape }, i): ValueInfo => {
      const info = outputInfo(compiled, i);
      return { dtype: info?.dtype ?? dtype, shape: tries >= TRIES_MAX ? undefined : widened(shape, info?.shape) };
    });
    const isSettled = next.every(({ dtype, shape }, i) => {
      const before = variables[i]!;
      return dtype === before.dtype && sameShape(shape, before.shape);
    });
    if (isSettled || tries > TRIES_MAX) {
      const stacked = node.attrs
        .dtypes("dtypes")
        .slice(carried)
        .map((dtype, i): ValueInfo => stackInfo(outputInfo(compiled, carried + i), dtype));
      const regions = [yield* compileRegion(withArgs(condition, args)), compiled];
      return { regions, outputs: [...variables, ...stacked] };
    }
    variables = next;
  }
}

/** One value a turn, stacked. */
function stackInfo(turn: ValueInfo | undefined, dtype: DType): ValueInfo {
  return { dtype: turn?.dtype ?? dtype, shape: turn?.shape && [-1, ...turn.shape] };
}

function outputInfo(region: CompiledRegion, i: number): ValueInfo | undefined {
  return region.inference.info(region.program.outputs[i]!);
}

function withArgs(region: Region, infos: readonly ValueInfo[]): Region {
  const graph = new Map(region.graph);
  for (const [i, { dtype, shape }] of infos.entries()) {
    const node = graph.get(region.args[i]!);
    if (node) graph.set(node.name, { ...node, attrs: node.attrs.with({ dtype, shape: shape ?? null }) });
  }
  return { ...region, graph };
}

/** What is true of both shapes. */
function widened(a: Shape, b: Shape): Shape {
  if (!a || a.length !== b?.length) return undefined;
  return a.map((dim, i) => (dim === b[i] ? dim : -1));
}
