import {
  type GraphNode,
  outputKey,
  refKey,
  type Region,
  type Shape,
  type TensorRef,
  topologicalOrder,
  type ValueInfo,
} from "@shardserve/graph";
import { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { beside, channelsFirst, channelsLast } from "../convolution/channels.js";
import { asScalar, boundedLength, cast, shapeOf, transpose, zeroOrFail } from "../../proto/emit.js";
import { lowerGru } from "./gru.js";
import { gruLoopOf } from "./gru-pattern.js";
import { lowerLstm } from "./lstm.js";
import { lstmLoopOf } from "./lstm-pattern.js";
import type { Lower, NodeLowering } from "../node-lowering.js";

type LowerNodes = typeof import("../lower-nodes.js").lowerNodes;

/** `Loop` to ONNX's LSTM or GRU where it is one, else to ONNX Loop. */
export function loopLowering(lowerNodes: LowerNodes): Lower {
  const lowerLoop = onnxLoop(lowerNodes);
  return (n) => {
    const loop = (): Value[] => lowerLoop(n);
    const [lstm, gru] = [lstmLoopOf(n), gruLoopOf(n)];
    if (!lstm && !gru) return loop();
    const [condition, body] = n.node.regions!.map((region) => new LoweredRegion(n, region, lowerNodes));
    const limits = (n.attrs.has("limits") ? n.attrs.ints("limits") : []).map((input) => n.x(input));
    const outside = (ref: TensorRef): Value => body!.fixed(ref);
    if (lstm) {
      const values = {
        turns: condition!.fixed(lstm.turns),
        kernel: outside(lstm.kernel),
        recurrent: outside(lstm.recurrent),
        biases: lstm.biases.map(outside),
        rowCounts: lstm.rowCounts.map(outside),
        limits,
      };
      return lowerLstm(n, lstm, values, loop);
    }
    const { gates } = gru!;
    const values = {
      turns: condition!.fixed(gru!.turns),
      kernels: gates.map(({ kernel }) => outside(kernel)),
      recurrents: gates.map(({ recurrent }) => outside(recurrent)),
      biases: gates.map(({ bias, recurrentBias }) => [bias, recurrentBias].map((one) => one && outside(one))),
      limits,
    };
    return lowerGru(n, gru!, values, loop);
  };
}

/** The condition is computed once before and at the end of every turn. Stacked outputs are ONNX's scan outputs. */
function onnxLoop(lowerNodes: LowerNodes): (n: NodeLowering) => Value[] {
  return (n) => {
    const { b } = n;
    const [condition, body] = n.node.regions!.map((region) => new LoweredRegion(n, region, lowerNodes));
    const carried = n.attrs.int("carried");
    const constants = n.inputs.slice(carried);
    const holds = (variables: readonly Value[]): Value => asScalar(b, condition!.run([...variables, ...constants])[0]!);
    const images = imagesOf(n, body!, carried);
    const moved = (i: number, value: Value): Value => {
      const rank = images[i];
      return rank === undefined ? value : channelsFirst(b, value, rank);
    };
    const shapeAt = (i: number, shape: Shape): Shape => (images[i] === undefined || !shape ? shape : movedShape(shape));
    const limit = limitOf(n);
    const loop = b.loop(
      limit,
      holds(n.inputs.slice(0, carried)),
      n.inputs.slice(0, carried).map((value, i) => ({ value: moved(i, value), shape: shapeAt(i, n.outShape(i)) })),
      (variables) => {
        const own = variables.map((value, i) => (images[i] === undefined ? value : channelsLast(b, value, images[i])));
        const next = body!.run([...own, ...constants]);
        return [holds(next.slice(0, carried)), ...next.map((value, i) => moved(i, value))];
      },
      body!.outputs.slice(carried).map(({ dtype, shape }, i) => ({ dtype, shape: shapeAt(carried + i, shape) })),
    );
    const results = loop.map((value, i) => {
      const rank = images[i];
      if (rank === undefined) return value;
      return i < carried ? channelsLast(b, value, rank) : stackLast(b, value, rank);
    });
    if (!limit) return results;
    // A loop that would go on has more turns than a list has elements.
    const isTooLong = holds(results.slice(0, carried));
    return results.map((value, i) => {
      if (i < carried) return value;
      const shape = b.op("Add", [shapeOf(b, value), zeroOrFail(b, isTooLong)]);
      return b.op("Reshape", [value, shape], { allowzero: 1 });
    });
  };
}

/**
 * Rank of each value of a turn that the body's convolutions make with channels second, where the variable that it becomes may have them
 * there too: such states go from turn to turn as they are, and stacks of such values are turned once. Found by trial, because only
 * the body's own lowerings know.
 */
function imagesOf(n: NodeLowering, body: LoweredRegion, carried: number): (number | undefined)[] {
  let ranks = body.outputs.map(({ dtype, shape }) => {
    const isImage = dtype === "float32" && shape !== undefined && shape.length >= 3 && shape.length <= 5;
    return isImage && body.hasConvolution ? shape.length : undefined;
  });
  for (let isSettled = ranks.every((rank) => rank === undefined); !isSettled; ) {
    const trial = new OnnxBuilder();
    const inputs = n.inputs.map((value, i) => {
      const input = trial.input(value.dtype, undefined);
      if (i >= carried) return value.weight || value.tensor ? value : input;
      return ranks[i] === undefined ? input : beside(input, trial.input(value.dtype, undefined), ranks[i]);
    });
    const results = body.run(inputs, trial);
    const kept = ranks.map((rank, i) => (results[i]!.channelsFirst?.rank === rank ? rank : undefined));
    isSettled = kept.every((rank, i) => rank === ranks[i]);
    ranks = kept;
  }
  return ranks;
}

/** [n, c, spatial...] of [n, spatial..., c]. */
function movedShape(shape: readonly number[]): number[] {
  return [shape[0]!, shape.at(-1)!, ...shape.slice(1, -1)];
}

/** [turns, n, spatial..., c] from [turns, n, c, spatial...], each turn's value of `rank` dimensions. */
function stackLast(b: OnnxBuilder, stack: Value, rank: number): Value {
  return transpose(b, stack, [0, 1, ...Array.from({ length: rank - 2 }, (_, i) => i + 3), 2]);
}

/** The least length of the lists that the loop fills. */
function limitOf(n: NodeLowering): Value | undefined {
  const limits = n.attrs.has("limits") ? n.attrs.ints("limits") : [];
  if (limits.length === 0) return undefined;
  const lengths = limits.map((input) => asScalar(n.b, cast(n.b, n.x(input), "int64")));
  return boundedLength(n.b, lengths.length === 1 ? lengths[0]! : n.b.op("Min", lengths));
}

/** A condition or body, ready to be written where it is needed. */
class LoweredRegion {
  readonly #n: NodeLowering;
  readonly #region: Region;
  readonly #lowerNodes: LowerNodes;
  readonly #infos: ReadonlyMap<string, ValueInfo>;
  readonly #nodes: ReturnType<typeof topologicalOrder>;
  readonly outputs: readonly ValueInfo[];

  constructor(n: NodeLowering, region: Region, lowerNodes: LowerNodes) {
    this.#n = n;
    this.#region = region;
    this.#lowerNodes = lowerNodes;
    this.#infos = region.infos ?? n.fail("its regions are not compiled");
    if (region.targets.length > 0) n.fail("it has effects");
    const args = new Set(region.args);
    this.#nodes = topologicalOrder(region).filter((node) => !args.has(node.name));
    this.outputs = region.outputs.map(
      (ref) => this.#infos.get(refKey(ref)) ?? n.fail(`the dtype of ${refKey(ref)} is unknown`),
    );
  }

  /** What is the same in every turn ({@link RegionReader.isFixed}), outside of the loop. */
  fixed(ref: TensorRef): Value {
    const input = this.#region.args.indexOf(ref.node);
    if (input >= 0) return this.#n.x(input);
    const node = this.#region.graph.get(ref.node)!;
    const values = new Map<string, Value>();
    const nodes = new Set<GraphNode>();
    for (const part of node.inputs) {
      const at = this.#region.args.indexOf(part.node);
      if (at >= 0) values.set(refKey(part), this.#n.x(at));
      else nodes.add(this.#region.graph.get(part.node)!);
    }
    this.#lowerNodes(this.#n.b, { nodes: [...nodes, node], outputs: [ref] }, values, this.#infos);
    return values.get(refKey(ref))!;
  }

  /** Whether something here has its channels second by itself. */
  get hasConvolution(): boolean {
    return this.#nodes.some(({ op }) => /^(Depthwise)?Conv/.test(op));
  }

  /** @param b  what the nodes are added to: the loop's builder, or one for trial */
  run(args: readonly Value[], b = this.#n.b): Value[] {
    const values = new Map<string, Value>();
    for (const [i, value] of args.entries()) values.set(outputKey(this.#region.args[i]!), value);
    const { scope } = b;
    const { outputs } = this.#region;
    this.#lowerNodes(b, { nodes: this.#nodes, outputs }, values, this.#infos);
    b.scope = scope;
    return outputs.map((ref) => values.get(refKey(ref))!);
  }
}
