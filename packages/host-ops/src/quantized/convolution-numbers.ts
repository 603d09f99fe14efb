/** Parameters of a convolution in any number of dimensions: which dimension is which, strides, dilations, padding, groups. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { check, printShape } from "../call/errors.js";
import type { OpCall } from "../call/op-call.js";
import { readFields } from "../call/proto-message.js";

/** Dimensions of the input, the kernel and the output, in the order batch or output feature, feature, spatial ones. */
export interface DimensionNumbers {
  readonly lhs: readonly number[];
  readonly rhs: readonly number[];
  readonly out: readonly number[];
}

export interface ConvolutionNumbers extends DimensionNumbers {
  readonly strides: readonly number[];
  readonly lhsDilation: readonly number[];
  readonly rhsDilation: readonly number[];
  /** Before and after, for each spatial dimension. */
  readonly padding: readonly (readonly [number, number])[];
  readonly featureGroups: number;
  readonly batchGroups: number;
}

/** A dimension of `length` elements with dilation - 1 others between neighbours. */
export function dilated(length: number, dilation: number): number {
  return length === 0 ? 0 : (length - 1) * dilation + 1;
}

/**
 * The numbers of one convolution of shapes.
 *
 * @throws ServingError INVALID_ARGUMENT where shapes and attributes do not fit each other
 */
export function convolutionNumbers(op: OpCall, lhs: readonly number[], rhs: readonly number[]): ConvolutionNumbers {
  const { attrs } = op;
  check(
    lhs.length === rhs.length,
    () => `lhs and rhs must have same dims. Given lhs and rhs of shapes: ${printShape(lhs)}${printShape(rhs)}`,
  );
  check(lhs.length > 2, () => `lhs and rhs shape dims must be at least 3. Given: ${lhs.length}`);
  const spatial = lhs.length - 2;
  const listOf = (name: string): readonly number[] => {
    const given = attrs.ints(name);
    if (given.length === 0) return Array.from({ length: spatial }, () => 1);
    check(given.length === spatial, () => `Size of ${name} Attr must be dims - 2.`);
    check(
      given.every((item) => item >= 1),
      () => `All elements of ${name} must be >= 1. Given ${given.join(", ")}`,
    );
    return given;
  };
  const [strides, lhsDilation, rhsDilation] = [
    listOf("window_strides"),
    listOf("lhs_dilation"),
    listOf("rhs_dilation"),
  ];
  const dimensions = dimensionNumbers(attrs.bytes("dimension_numbers"), lhs.length);
  const [featureGroups, batchGroups] = [attrs.int("feature_group_count"), attrs.int("batch_group_count")];
  const [batch, features] = [lhs[dimensions.lhs[0]!]!, lhs[dimensions.lhs[1]!]!];
  const [outFeatures, inFeatures] = [rhs[dimensions.rhs[0]!]!, rhs[dimensions.rhs[1]!]!];
  check(
    featureGroups > 0 && inFeatures * featureGroups === features && outFeatures % featureGroups === 0,
    () => `feature_group_count ${featureGroups} does not fit ${features} features and kernels of ${printShape(rhs)}`,
  );
  check(
    batchGroups > 0 && batch % batchGroups === 0 && outFeatures % batchGroups === 0,
    () => `batch_group_count ${batchGroups} does not fit a batch of ${batch} and kernels of ${printShape(rhs)}`,
  );
  const lengths = strides.map((stride, i) => ({
    stride,
    input: dilated(lhs[dimensions.lhs[i + 2]!]!, lhsDilation[i]!),
    window: dilated(rhs[dimensions.rhs[i + 2]!]!, rhsDilation[i]!),
  }));
  const padding = paddingOf(op, lengths);
  return { ...dimensions, strides, lhsDilation, rhsDilation, padding, featureGroups, batchGroups };
}

function paddingOf(
  { attrs }: OpCall,
  lengths: readonly { readonly stride: number; readonly input: number; readonly window: number }[],
): (readonly [number, number])[] {
  const kind = attrs.text("padding");
  const explicit = attrs.ints("explicit_padding");
  if (kind === "EXPLICIT") {
    check(explicit.length === 2 * lengths.length, () => "Size of explicit_padding Attr must be 2 * (rank - 2).");
    check(
      explicit.every((count) => count >= 0),
      () => `All explicit_padding elems must be >= 0, Given ${explicit.join(", ")}`,
    );
    return lengths.map((_, i) => [explicit[2 * i]!, explicit[2 * i + 1]!]);
  }
  check(
    kind === "SAME" || kind === "VALID",
    () => `padding Attr must be one of [EXPLICIT | SAME | VALID], but given: ${kind}`,
  );
  return lengths.map(({ stride, input, window }) => {
    if (kind === "VALID") return [0, 0];
    const total = Math.max((Math.ceil(input / stride) - 1) * stride + window - input, 0);
    return [Math.floor(total / 2), total - Math.floor(total / 2)];
  });
}

/** A serialised UniformQuantizedConvolutionDimensionNumbersAttr; channels come second where there is none. */
function dimensionNumbers(bytes: Uint8Array, rank: number): DimensionNumbers {
  const plain = Array.from({ length: rank }, (_, i) => i);
  const fields: number[][] = Array.from({ length: 10 }, () => []);
  const reader = new BinaryReader(bytes);
  try {
    readFields(reader, bytes.length, (field, type) => {
      const into = fields[field];
      if (!into) return false;
      const end = type === WireType.LengthDelimited ? reader.uint32() + reader.pos : undefined;
      do into.push(Number(reader.int64()));
      while (end !== undefined && reader.pos < end);
      return true;
    });
  } catch {
    check(false, () => "Error parsing convolution dimension numbers.");
  }
  if (fields[3]!.length === 0) return { lhs: plain, rhs: plain, out: plain };
  const order = (first: number, second: number, others: number): number[] => {
    const all = [fields[first]![0] ?? 0, fields[second]![0] ?? 0, ...fields[others]!];
    check(
      all.length === rank && all.every((axis) => axis >= 0 && axis < rank),
      () => `Each dimension number must be in region [0, rank). Given rank ${rank} and ${all.join(", ")}`,
    );
    return all;
  };
  return { lhs: order(1, 2, 3), rhs: order(5, 4, 6), out: order(7, 8, 9) };
}
