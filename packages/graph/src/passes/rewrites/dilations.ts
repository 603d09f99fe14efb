import { toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { constantOf, type GraphNode, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, prune, rewrite } from "../../ir/program.js";
import { NewNodes } from "../new-nodes.js";

/**
 * Gives a dilated convolution its dilations back. TensorFlow writes it as SpaceToBatchND, a convolution of what lies d apart,
 * and BatchToSpaceND, which moves all values twice; in one dimension with an axis of length 1 put in and taken out.
 *
 * Only for known lengths: what does not divide by the dilation is an error there, and stays one.
 */
export function dilateConvolutions(program: Program, inference: Inference): Program {
  const nodes = new NewNodes(program.graph);
  for (const node of program.graph.values()) {
    const found = dilated(program, inference, node);
    if (!found) continue;
    const { input, conv, expand, squeeze } = found;
    const { name } = node;
    const source = expand
      ? nodes.add({ ...expand, name: `${name}/expanded`, inputs: [input, expand.inputs[1]!] })
      : input;
    const inputs = [source, conv.inputs[1]!];
    if (!squeeze) nodes.replace({ ...conv, name, inputs });
    else nodes.replace({ ...squeeze, name, inputs: [nodes.add({ ...conv, name: `${name}/dilated`, inputs })] });
  }
  return nodes.isEmpty ? program : prune(rewrite(program, new Map(), nodes.nodes));
}

interface Dilated {
  readonly input: TensorRef;
  /** With its dilations and paddings. */
  readonly conv: GraphNode;
  /** Around a convolution in one dimension. */
  readonly expand: GraphNode | undefined;
  readonly squeeze: GraphNode | undefined;
}

/** The convolution between SpaceToBatchND and the BatchToSpaceND that `node` is. */
function dilated(program: Program, inference: Inference, node: GraphNode): Dilated | undefined {
  if (node.op !== "BatchToSpaceND" || node.controls.length > 0) return undefined;
  const behind = (of: GraphNode, input = 0): GraphNode => nodeOf(program.graph, of.inputs[input]!.node);
  const inner = behind(node);
  const squeeze = inner.op === "Squeeze" ? inner : undefined;
  const conv = squeeze ? behind(squeeze) : inner;
  if (conv.op !== "Conv2D" || !isPlain(conv)) return undefined;
  const expand = squeeze && behind(conv);
  const space = behind(expand ?? conv);
  if (space.op !== "SpaceToBatchND" || [inner, conv, expand, space].some((part) => part && part.controls.length > 0)) {
    return undefined;
  }
  const input = space.inputs[0]!;
  const shapeOf = (ref: TensorRef) => inference.info(ref)?.shape;
  const [shape, kernel] = [shapeOf(input), shapeOf(conv.inputs[1]!)];
  const numbers = (of: GraphNode, at: number) => {
    const value = constantOf(behind(of, at));
    return value && toNumbers(value);
  };
  const [blocks, paddings, crops] = [numbers(space, 1), numbers(space, 2), numbers(node, 2)];
  if (!shape || !kernel || !blocks || !paddings || !crops || numbers(node, 1)?.join() !== blocks.join()) {
    return undefined;
  }
  const axes = expand ? lineAxis(expand, squeeze!, numbers(expand, 1)) : [1, 2];
  if (!axes || blocks.length !== axes.length || shape.length !== axes.length + 2) return undefined;
  const dilations = [1, 1, 1, 1];
  const explicit = [0, 0, 0, 0, 0, 0, 0, 0];
  for (const [i, axis] of axes.entries()) {
    const [length, block, taps] = [shape[i + 1]!, blocks[i]!, kernel[axis - 1]!];
    const [before, after, cropBefore, cropAfter] = [
      paddings[2 * i]!,
      paddings[2 * i + 1]!,
      crops[2 * i]!,
      crops[2 * i + 1]!,
    ];
    // What is cropped must be what the last padding alone made.
    if (length < 1 || taps < 1 || block < 1 || cropBefore !== 0 || cropAfter < 0 || cropAfter > after) return undefined;
    const padded = length + before + after;
    if (before < 0 || padded % block !== 0 || padded - cropAfter - (taps - 1) * block < 1) return undefined;
    dilations[axis] = block;
    explicit[2 * axis] = before;
    explicit[2 * axis + 1] = after - cropAfter;
  }
  const isPadded = explicit.some((count) => count > 0);
  const attrs = conv.attrs.with({
    dilations,
    ...(isPadded && { padding: "EXPLICIT", explicit_paddings: explicit }),
  });
  return { input, conv: { ...conv, attrs }, expand, squeeze };
}

function isPlain({ attrs }: GraphNode): boolean {
  const ones = [...attrs.ints("strides"), ...attrs.ints("dilations")];
  return ones.every((item) => item === 1) && attrs.text("padding") === "VALID" && attrs.text("data_format") === "NHWC";
}

/** The axis that a convolution in one dimension runs along, where ExpandDims and Squeeze make and drop the other. */
function lineAxis(expand: GraphNode, squeeze: GraphNode, at: readonly number[] | undefined): number[] | undefined {
  if (expand.op !== "ExpandDims" || at?.length !== 1) return undefined;
  const [axis, dropped] = [at, squeeze.attrs.ints("squeeze_dims")].map(([first, ...others]) =>
    first === undefined || others.length > 0 ? undefined : first < 0 ? first + 4 : first,
  );
  if (axis !== dropped || (axis !== 1 && axis !== 2)) return undefined;
  return [3 - axis];
}
