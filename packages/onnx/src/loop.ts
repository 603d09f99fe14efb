import { type Region, refKey, type TensorRef, topologicalOrder, type ValueInfo } from "@shardserve/graph";
import type { Value } from "./builder.js";
import { asScalar, boundedLength, cast, shapeOf, zeroOrFail } from "./emit.js";
import { lowerLstm } from "./lstm.js";
import { lstmLoopOf } from "./lstm-pattern.js";
import type { Lower, NodeLowering } from "./node-lowering.js";

type LowerNodes = typeof import("./lower-nodes.js").lowerNodes;

/** `Loop` to ONNX's LSTM where it is one, else to ONNX Loop. */
export function loopLowering(lowerNodes: LowerNodes): Lower {
  const lowerLoop = onnxLoop(lowerNodes);
  return (n) => {
    const loop = (): Value[] => lowerLoop(n);
    const lstm = lstmLoopOf(n);
    if (!lstm) return loop();
    const [condition, body] = n.node.regions!.map((region) => new LoweredRegion(n, region, lowerNodes));
    const limits = n.attrs.has("limits") ? n.attrs.ints("limits") : [];
    const values = {
      turns: condition!.fixed(lstm.turns),
      kernel: body!.fixed(lstm.kernel),
      recurrent: body!.fixed(lstm.recurrent),
      bias: lstm.bias && body!.fixed(lstm.bias),
      limits: limits.map((input) => n.x(input)),
    };
    return lowerLstm(n, lstm, values, loop);
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
    const first = n.inputs.slice(0, carried).map((value, i) => ({ value, shape: n.outShape(i) }));
    const stacked = body!.outputs.slice(carried);
    const limit = limitOf(n);
    const results = b.loop(
      limit,
      holds(n.inputs.slice(0, carried)),
      first,
      (variables) => {
        const next = body!.run([...variables, ...constants]);
        return [holds(next.slice(0, carried)), ...next];
      },
      stacked,
    );
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

  /** A constant, a variable of the model or an input of the loop, outside of it. */
  fixed(ref: TensorRef): Value {
    const input = this.#region.args.indexOf(ref.node);
    if (input >= 0) return this.#n.x(input);
    const values = new Map<string, Value>();
    const list = { nodes: [this.#region.graph.get(ref.node)!], outputs: [ref] };
    this.#lowerNodes(this.#n.b, list, values, this.#infos);
    return values.get(refKey(ref))!;
  }

  run(args: readonly Value[]): Value[] {
    const values = new Map<string, Value>();
    for (const [i, value] of args.entries()) values.set(`${this.#region.args[i]}:0`, value);
    const { b } = this.#n;
    const { scope } = b;
    const { outputs } = this.#region;
    this.#lowerNodes(b, { nodes: this.#nodes, outputs }, values, this.#infos);
    b.scope = scope;
    return outputs.map((ref) => values.get(refKey(ref))!);
  }
}
