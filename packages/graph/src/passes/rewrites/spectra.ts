import { elementCount, type Tensor, tensor, toNumbers } from "@shardserve/tensor";
import type { Inference } from "../../infer/inference.js";
import { constantOf, type GraphNode, type TensorRef } from "../../ir/ir.js";
import { nodeOf, type Program, prune, reachable, rewrite } from "../../ir/program.js";
import { NewNodes } from "../new-nodes.js";

/** Up to this length a product with the matrix of the transform takes less time than to leave the device and come back. */
const LENGTH_MAX = 1024;

/** A spectrum that is a matrix times a real line: RFFT, some of its bins, and factors for them. */
interface Spectrum {
  readonly transform: GraphNode;
  /** [..., rows], float32. */
  readonly line: TensorRef;
  readonly rows: number;
  readonly length: number;
  readonly bins: readonly number[];
  /** Of every bin, real and imaginary part. */
  readonly factors: readonly (readonly [number, number])[];
}

/**
 * Short Fourier transforms of real lines as products of matrices, where only parts or magnitudes of their spectra are read.
 * Spectrograms and cosine transforms are like that: for the host, complex numbers would split the device's work in two, and
 * the frames and the spectra of a request, many times its own size, would be JavaScript's.
 *
 * In float32, as TensorFlow's own transform: the sums differ in the last bits.
 */
export function multiplySpectra(program: Program, inference: Inference): Program {
  const readers = new Map<GraphNode, Spectrum>();
  for (const node of program.graph.values()) {
    if (!/^(ComplexAbs|Real|Imag)$/.test(node.op) || node.controls.length > 0) continue;
    const spectrum = spectrumOf(program, inference, node.inputs[0]!);
    if (spectrum) readers.set(node, spectrum);
  }
  if (readers.size === 0) return program;
  const all = multiplied(program, readers);
  // A transform that others read too is the host's in any case.
  const live = reachable(all);
  const left = new Map([...readers].filter(([, { transform }]) => !live.has(transform.name)));
  return left.size === readers.size ? all : left.size === 0 ? program : multiplied(program, left);
}

function multiplied(program: Program, readers: ReadonlyMap<GraphNode, Spectrum>): Program {
  const nodes = new NewNodes(program.graph);
  const T = "float32";
  for (const [{ name, op }, spectrum] of readers) {
    const factors = (part: 0 | 1): TensorRef[] => [
      spectrum.line,
      nodes.constant(`${name}/matrix`, matrixOf(spectrum, part)),
    ];
    if (op !== "ComplexAbs") {
      nodes.replaceByOp(name, "BatchMatMulV2", factors(op === "Real" ? 0 : 1), { T });
      continue;
    }
    const squares = ([0, 1] as const).map((part) => {
      const own = nodes.op(`${name}/part`, "BatchMatMulV2", factors(part), { T });
      return nodes.op(`${name}/square`, "Square", [own], { T });
    });
    const power = nodes.op(`${name}/power`, "AddV2", squares, { T });
    nodes.replaceByOp(name, "Sqrt", [power], { T });
  }
  return prune(rewrite(program, new Map(), nodes.nodes));
}

function spectrumOf(program: Program, inference: Inference, ref: TensorRef): Spectrum | undefined {
  const node = nodeOf(program.graph, ref.node);
  if (node.controls.length > 0) return undefined;
  if (node.op === "RFFT") return transformOf(program, inference, node);
  if (node.op === "StridedSlice") {
    const spectrum = spectrumOf(program, inference, node.inputs[0]!);
    const range = spectrum && binsOf(program, node, spectrum.bins.length);
    return range && { ...spectrum, bins: spectrum.bins.slice(...range), factors: spectrum.factors.slice(...range) };
  }
  if (node.op !== "Mul") return undefined;
  const [left, right] = node.inputs as [TensorRef, TensorRef];
  return weighted(program, inference, left, right) ?? weighted(program, inference, right, left);
}

function transformOf(program: Program, inference: Inference, node: GraphNode): Spectrum | undefined {
  const [line, lengths] = node.inputs as [TensorRef, TensorRef];
  const info = inference.info(line);
  const value = constantOf(program.graph.get(lengths.node));
  const length = value && value.data.length === 1 ? toNumbers(value)[0]! : 0;
  const rank = info?.shape?.length ?? 0;
  if (info?.dtype !== "float32" || rank < 2 || length < 1 || length > LENGTH_MAX) return undefined;
  if (info.shape!.at(-1) !== length) return undefined;
  const bins = Array.from({ length: Math.floor(length / 2) + 1 }, (_, bin) => bin);
  const filled = unpadded(program, inference, line, length);
  return { transform: node, ...filled, length, bins, factors: bins.map(() => [1, 0]) };
}

/** Zeros behind a line add nothing: the line without them. */
function unpadded(
  program: Program,
  inference: Inference,
  line: TensorRef,
  length: number,
): { readonly line: TensorRef; readonly rows: number } {
  const whole = { line, rows: length };
  const node = nodeOf(program.graph, line.node);
  if (node.op !== "Pad" || node.controls.length > 0) return whole;
  const value = constantOf(program.graph.get(node.inputs[1]!.node));
  const paddings = value && toNumbers(value);
  const rows = inference.info(node.inputs[0]!)?.shape?.at(-1) ?? -1;
  const isBehind = paddings?.every((count, i) => count === (i === paddings.length - 1 ? length - rows : 0));
  return isBehind && rows > 0 ? { line: node.inputs[0]!, rows } : whole;
}

/** The range of the last dimension that `[..., begin:end]` takes. */
function binsOf(program: Program, node: GraphNode, count: number): [number, number] | undefined {
  const mask = (name: string): number => node.attrs.int(name);
  const [begin, end, steps] = [1, 2, 3].map((input) => {
    const value = constantOf(program.graph.get(node.inputs[input]!.node));
    return value && toNumbers(value);
  });
  if (mask("ellipsis_mask") !== 1 || mask("new_axis_mask") !== 0 || mask("shrink_axis_mask") !== 0) return undefined;
  if (begin?.length !== 2 || end?.length !== 2 || steps?.[1] !== 1) return undefined;
  const from = (mask("begin_mask") & 2) !== 0 ? 0 : begin[1]!;
  const to = (mask("end_mask") & 2) !== 0 ? count : end[1]!;
  return from >= 0 && from < to && to <= count ? [from, to] : undefined;
}

/** A spectrum times a constant, one number for all bins or one for each. */
function weighted(program: Program, inference: Inference, ref: TensorRef, by: TensorRef): Spectrum | undefined {
  const value = constantOf(program.graph.get(by.node));
  if (value?.dtype !== "complex64") return undefined;
  const spectrum = spectrumOf(program, inference, ref);
  if (!spectrum || value.shape.length > 2) return undefined;
  const [count, width] = [elementCount(value.shape), value.shape.at(-1) ?? 1];
  if (count !== width || (count !== 1 && count !== spectrum.bins.length)) return undefined;
  const data = value.data as Float32Array;
  const factors = spectrum.factors.map(([a, b], i): [number, number] => {
    const [c, d] = [data[count === 1 ? 0 : 2 * i]!, data[count === 1 ? 1 : 2 * i + 1]!];
    return [a * c - b * d, a * d + b * c];
  });
  return { ...spectrum, factors };
}

/** [rows, bins]: what the real (0) or imaginary (1) part of each bin takes of each element. */
function matrixOf({ rows, length, bins, factors }: Spectrum, part: 0 | 1): Tensor {
  const angle = (2 * Math.PI) / length;
  const cos = Float64Array.from({ length }, (_, i) => Math.cos(angle * i));
  // Exactly 0 half a turn on, so that the bins that are real are so.
  const sin = Float64Array.from({ length }, (_, i) => (2 * i === length ? 0 : Math.sin(angle * i)));
  const data = new Float32Array(rows * bins.length);
  let at = 0;
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < bins.length; i++) {
      const turn = (row * bins[i]!) % length;
      const [c, d] = factors[i]!;
      data[at++] = part === 0 ? cos[turn]! * c + sin[turn]! * d : cos[turn]! * d - sin[turn]! * c;
    }
  }
  return tensor("float32", [rows, bins.length], data);
}
