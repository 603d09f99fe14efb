/**
 * Values that may be absent, as variants: what a branch hands to its gradient where another branch was taken.
 * Texts are those of TensorFlow's optional_ops.
 */
import { type HostValue, isTensor } from "@shardserve/graph";
import { tensor, tfDTypeString } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { isCompatible, printPartial } from "./partial-shape.js";

/** The element of a scalar variant. */
export class OptionalValue {
  /** undefined = absent. */
  readonly components: readonly HostValue[] | undefined;

  constructor(components: readonly HostValue[] | undefined) {
    this.components = components;
  }
}

function variantOf(components: readonly HostValue[] | undefined): HostValue[] {
  return [tensor("variant", [], [new OptionalValue(components)])];
}

function optionalOf(op: OpCall): OptionalValue {
  const value = op.value(0);
  const element =
    isTensor(value) && value.dtype === "variant" && value.shape.length === 0
      ? (value.data as readonly object[])[0]
      : undefined;
  if (element instanceof OptionalValue) return element;
  throw invalid(`Input to ${op.node.op} must be a scalar variant that holds an optional: ${op.node.name}`);
}

function fromValue(op: OpCall): HostValue[] {
  return variantOf(Array.from({ length: op.inputCount }, (_, i) => op.value(i)));
}

function getValue(op: OpCall): readonly HostValue[] {
  const { components } = optionalOf(op);
  if (!components) throw invalid("The given optional does not have a value.");
  const [dtypes, shapes] = [op.attrs.dtypes("output_types"), op.attrs.shapes("output_shapes")];
  check(components.length === dtypes.length, () => {
    return `Number of components does not match: expected ${dtypes.length} types but got ${components.length}.`;
  });
  for (const [i, value] of components.entries()) {
    if (!isTensor(value)) continue;
    const [dtype, shape] = [dtypes[i]!, shapes[i]];
    check(value.dtype === dtype, () => {
      return `Data type mismatch at component ${i}: expected ${tfDTypeString(dtype)} but got ${tfDTypeString(value.dtype)}.`;
    });
    check(isCompatible(shape, value.shape), () => {
      return `Incompatible shapes at component ${i}: expected ${printPartial(shape)} but got ${printShape(value.shape)}.`;
    });
  }
  return components;
}

export const OPTIONAL_KERNELS: Readonly<Record<string, Kernel>> = {
  OptionalFromValue: fromValue,
  OptionalNone: () => variantOf(undefined),
  OptionalHasValue: (op) => [tensor("bool", [], Uint8Array.of(optionalOf(op).components ? 1 : 0))],
  OptionalGetValue: getValue,
};
