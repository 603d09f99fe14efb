import { create, onnx } from "@shardserve/api";
import { ServingError } from "@shardserve/core";
import { innerGraphs, intAttribute, isOp, nodeName, type Scope } from "./model-graph.js";

/** Operators of any number of inputs, of which none can be left out. */
const VARIADIC = ["Max", "Mean", "Min", "Sum"];
/** Operators that do not take an empty name for a last input that is left out. */
const SHORT = ["DFT", "LayerNormalization"];
const NORMAL = ["RandomNormal", "RandomNormalLike"];
const UNIFORM = ["RandomUniform", "RandomUniformLike"];
const AXIS_MAX = 2 ** 31;

/** All operators that {@link soundNodes} looks at. */
export const SOUND_OPS: readonly string[] = [...VARIADIC, ...SHORT, ...NORMAL, ...UNIFORM, "Split", "TopK"];

/**
 * Keeps from ONNX Runtime what no exporter should write and what ends the process there, when a model is loaded or run: it checks
 * neither names nor attributes of some operators before it uses them. What has a meaning is written in another form.
 *
 * @returns whether something was written in another form
 * @throws ServingError GRAPH_INVALID
 */
export function soundNodes({ graph, functions }: onnx.ModelProto & { graph: onnx.GraphProto }): boolean {
  let isChanged = false;
  const scopes: Scope[] = [graph, ...functions];
  for (let scope = scopes.pop(); scope; scope = scopes.pop()) {
    for (const node of scope.node) {
      scopes.push(...innerGraphs(node));
      if (!SOUND_OPS.some((name) => isOp(node, name))) continue;
      checkNode(node);
      if (dropLastInputs(node)) isChanged = true;
      if (drawMean(node)) isChanged = true;
    }
  }
  return isChanged;
}

function checkNode(node: onnx.NodeProto): void {
  const { opType, input, output } = node;
  if (VARIADIC.includes(opType) && input.includes("")) throw invalid(node, "an input has no name");
  if (Math.abs(intAttribute(node, "axis", 0)) >= AXIS_MAX) throw invalid(node, "there is no such axis");
  const parts = opType === "Split" ? intAttribute(node, "num_outputs", output.length) : output.length;
  if (output.length > parts) throw invalid(node, `it has ${output.length} outputs, num_outputs says ${parts}`);
  if (NORMAL.includes(opType) && !(floatAttribute(node, "scale", 1) >= 0))
    throw invalid(node, "scale, the standard deviation, is no number from 0 on");
  if (UNIFORM.includes(opType) && !(floatAttribute(node, "low", 0) <= floatAttribute(node, "high", 1)))
    throw invalid(node, "low is above high, or one is no number");
}

function dropLastInputs(node: onnx.NodeProto): boolean {
  const count = SHORT.includes(node.opType) ? node.input.findLastIndex((name) => name !== "") + 1 : node.input.length;
  if (count === node.input.length) return false;
  node.input = node.input.slice(0, count);
  return true;
}

/** A normal distribution without deviation, which ONNX Runtime does not take, is a uniform one between the mean and itself. */
function drawMean(node: onnx.NodeProto): boolean {
  if (!NORMAL.includes(node.opType) || floatAttribute(node, "scale", 1) !== 0) return false;
  const f = floatAttribute(node, "mean", 0);
  const type = onnx.AttributeProto_AttributeType.FLOAT;
  node.opType = node.opType.replace("Normal", "Uniform");
  node.attribute = [
    ...node.attribute.filter(({ name }) => name !== "mean" && name !== "scale"),
    ...["low", "high"].map((name) => create(onnx.AttributeProtoSchema, { name, type, f })),
  ];
  return true;
}

function floatAttribute(node: onnx.NodeProto, name: string, otherwise: number): number {
  return node.attribute.find((candidate) => candidate.name === name)?.f ?? otherwise;
}

function invalid(node: onnx.NodeProto, why: string): ServingError {
  return new ServingError("GRAPH_INVALID", `${node.opType} "${nodeName(node)}" of the ONNX model: ${why}`);
}
