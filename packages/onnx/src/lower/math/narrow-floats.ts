import type { GraphNode, NodeContext, ValueInfo } from "@shardserve/graph";
import { bfloatToNumber, type DType, halfToNumber, type Tensor, tensor } from "@shardserve/tensor";
import type { OnnxBuilder } from "../../proto/builder.js";
import type { Value } from "../../proto/value.js";
import { cast } from "../../proto/emit.js";
import { narrowSteps } from "./narrow-steps.js";
import { type Lower, NodeLowering } from "../node-lowering.js";
import { Unsupported } from "../../proto/unsupported.js";

/** The 16-bit floats, as DataType numbers and names stand in attributes. */
const NARROW: ReadonlySet<unknown> = new Set(["float16", "bfloat16", 19, 14]);

/** Ops that answer with the largest or least number of their dtype, which float32's is not. */
const ITS_OWN_LARGEST = new Set(["UnsortedSegmentMax", "UnsortedSegmentMin", "SegmentMax", "SegmentMin"]);

/**
 * Lowers a node. What the engine cannot do with 16-bit floats is done in float32 and rounded once, which is what most of
 * TensorFlow's own CPU kernels for them do; on the CPU the engine can do no more than move them. These casts are part of the
 * model, so ONNX Runtime keeps them where two nodes meet.
 *
 * @throws Unsupported
 */
export function lowerNode(
  lower: Lower,
  node: GraphNode,
  context: NodeContext,
  builder: OnnxBuilder,
  inputs: readonly Value[],
  isSoleUse: (input: number) => boolean,
): readonly Value[] {
  const asItIs = (): readonly Value[] => listOf(lower(new NodeLowering(node, context, builder, inputs, isSoleUse)));
  const isNarrow = [...context.inputs, ...context.outputs].some(({ dtype }) => NARROW.has(dtype));
  if (!isNarrow || node.regions) return asItIs();
  const mark = builder.mark();
  try {
    return asItIs();
  } catch (error) {
    if (!(error instanceof Unsupported) || ITS_OWN_LARGEST.has(node.op)) throw error;
    builder.forget(mark);
  }
  const wide = new NodeLowering(
    widenedNode(node),
    widenedContext(context),
    builder,
    inputs.map((value) => widened(builder, value)),
    () => false,
  );
  const dtype = context.outputs[0]?.dtype;
  const steps = narrowSteps.get(node.op);
  const round = (value: Value): Value => cast(builder, cast(builder, value, dtype!), "float32");
  return listOf(steps ? steps(wide, round) : lower(wide)).map((value, i) =>
    cast(builder, value, context.outputs[i]?.dtype ?? value.dtype),
  );
}

function listOf(outputs: Value | readonly Value[]): readonly Value[] {
  return "name" in outputs ? [outputs] : outputs;
}

function wider(dtype: DType): DType {
  return NARROW.has(dtype) ? "float32" : dtype;
}

function widenedNode(node: GraphNode): GraphNode {
  const changed = [...node.attrs.entries()].filter(([, value]) => NARROW.has(value));
  if (changed.length === 0) return node;
  return { ...node, attrs: node.attrs.with(Object.fromEntries(changed.map(([name]) => [name, "float32"]))) };
}

function widenedContext(context: NodeContext): NodeContext {
  const info = (value: ValueInfo): ValueInfo => ({ ...value, dtype: wider(value.dtype) });
  return {
    inputs: context.inputs.map(info),
    outputs: context.outputs.map(info),
    constant: (index) => {
      const value = context.constant(index);
      return value && widenedTensor(value);
    },
  };
}

function widened(builder: OnnxBuilder, value: Value): Value {
  if (!NARROW.has(value.dtype)) return value;
  return value.tensor ? builder.constant(widenedTensor(value.tensor)) : cast(builder, value, "float32");
}

function widenedTensor(value: Tensor): Tensor {
  if (!NARROW.has(value.dtype)) return value;
  const toNumber = value.dtype === "float16" ? halfToNumber : bfloatToNumber;
  return tensor("float32", value.shape, Float32Array.from(value.data as Uint16Array, toNumber));
}
