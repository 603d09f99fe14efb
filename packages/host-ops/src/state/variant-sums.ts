/**
 * Zeros like variants and sums of them, which gradients of loops and branches take of lists of tensors, of values that may be absent and of
 * ragged tensors. Texts are those of TensorFlow's list_kernels, optional_ops and ragged_tensor_variant.
 */
import { type HostValue, isTensor, TensorList } from "@shardserve/graph";
import { isNumeric, type Tensor, tensor, tfDTypeName, tfDTypeString } from "@shardserve/tensor";
import { check, invalid, printShape } from "../call/errors.js";
import { type Kernel, zeroTensor } from "../call/op-call.js";
import { sameShape } from "../call/shapes.js";
import { applyBinary } from "../math/binary-op.js";
import { BINARY_OPS } from "../math/binary-ops.js";
import { RaggedValue } from "../ragged/ragged-variant.js";
import { asVariant } from "./list-values.js";
import { OptionalValue } from "./optional.js";
import { mergedShape, printPartial } from "./partial-shape.js";

function elementsOf({ data }: Tensor): readonly object[] {
  return data as readonly object[];
}

function zerosLike(value: Tensor): Tensor {
  if (value.dtype !== "variant") {
    check(value.dtype !== "string", () => "Trying to compute zeros_like for unsupported dtype string");
    return zeroTensor(value.dtype, value.shape);
  }
  return tensor("variant", value.shape, elementsOf(value).map(zerosLikeElement));
}

function zerosLikeElement(element: object): object {
  if (element instanceof TensorList) {
    const items = element.items.map((item) => item && zerosLike(item));
    return new TensorList(element.elementDType, element.elementShape, items);
  }
  if (element instanceof OptionalValue) {
    return new OptionalValue(element.components?.map((value) => plain(zerosLike(tensorOf(value)))));
  }
  if (element instanceof RaggedValue) return new RaggedValue(element.splits, zerosLike(element.values));
  throw invalid("No unary variant unary_op function found for op ZEROS_LIKE");
}

function sum(a: Tensor, b: Tensor): Tensor {
  if (a.dtype !== "variant" || b.dtype !== "variant") return applyBinary("AddN", BINARY_OPS.AddV2!, a, b);
  check(
    a.shape.length === 0 && b.shape.length === 0,
    () => "AddN of non-scalar Tensor with dtype=DT_VARIANT is not supported",
  );
  return tensor("variant", [], [sumOfElements(elementsOf(a)[0]!, elementsOf(b)[0]!)]);
}

function sumOfElements(a: object, b: object): object {
  if (a instanceof TensorList && b instanceof TensorList) return sumOfLists(a, b);
  if (a instanceof OptionalValue && b instanceof OptionalValue) return sumOfOptionals(a, b);
  if (a instanceof RaggedValue && b instanceof RaggedValue) return sumOfRagged(a, b);
  throw invalid("No unary variant binary_op function found for op ADD");
}

/** Of an element of a list, or a component of what may be absent: these neither broadcast nor join texts. */
function sumOfParts(a: Tensor, b: Tensor): Tensor {
  check(
    sameShape(a.shape, b.shape),
    () =>
      `Trying to add two tensors with incompatible element shapes. One is ${printShape(a.shape)} and the other is ${printShape(b.shape)}`,
  );
  check(
    a.dtype === "variant" || (isNumeric(a.dtype) && a.dtype !== "bool"),
    () => `Trying to add unsupported dtype ${tfDTypeName(a.dtype)}`,
  );
  return sum(a, b);
}

/** An element that is set in one list alone is that of the sum. */
function sumOfLists(a: TensorList, b: TensorList): TensorList {
  check(
    a.elementDType === b.elementDType,
    () =>
      `Trying to add two lists of tensors of different dtypes. One is ${tfDTypeString(a.elementDType)} and the other is ${tfDTypeString(b.elementDType)}`,
  );
  const shape = mergedShape(a.elementShape, b.elementShape);
  if (!shape) {
    throw invalid(
      `Trying to add two lists of tensors with incompatible element shapes. One is ${printPartial(a.elementShape)} and the other is ${printPartial(b.elementShape)}`,
    );
  }
  check(
    a.length === b.length,
    () => `Trying to add two lists of tensors with different lengths. One is ${a.length} and the other is ${b.length}`,
  );
  // A copy: both may be versions of one list, which lend their elements to each other.
  const left = a.items.slice();
  const items = b.items.map((item, i) => (left[i] && item ? sumOfParts(left[i], item) : (left[i] ?? item)));
  return new TensorList(a.elementDType, shape.shape, items);
}

function sumOfOptionals(a: OptionalValue, b: OptionalValue): OptionalValue {
  const [left, right] = [a.components, b.components];
  if (!left || !right) {
    check(left === right, () => "Cannot add optionals because one has a value and the other doesn't.");
    return a;
  }
  check(
    left.length === right.length,
    () =>
      `Cannot add optionals because they have different numbers of components (${left.length} vs. ${right.length}).`,
  );
  return new OptionalValue(left.map((value, i) => plain(sumOfParts(tensorOf(value), tensorOf(right[i]!)))));
}

function sumOfRagged(a: RaggedValue, b: RaggedValue): RaggedValue {
  check(a.values.dtype === b.values.dtype, () => "Can't add RaggedTensorVariants of different dtypes. ");
  check(a.splits.length === b.splits.length, () => "Can't add RaggedTensorVariants of different ragged rank. ");
  check(sameShape(a.values.shape, b.values.shape), () => "Can't add RaggedTensorVariants with different flat_values.");
  return new RaggedValue(a.splits, sum(a.values, b.values));
}

function tensorOf(value: HostValue): Tensor {
  if (isTensor(value)) return value;
  if (value instanceof TensorList) return asVariant(value);
  throw invalid("a resource has no zeros and no sums");
}

/** A list on its own, as ops on lists give it, where a scalar variant holds one. */
function plain(value: Tensor): HostValue {
  const element = value.dtype === "variant" && value.shape.length === 0 ? elementsOf(value)[0] : undefined;
  return element instanceof TensorList ? element : value;
}

/** What the kernels of these names do where the dtype is variant. */
export const VARIANT_SUMS: Readonly<Record<string, Kernel>> = {
  ZerosLike: (op) => [plain(zerosLike(op.tensor(0)))],
  AddN: (op) => [plain(op.tensors().reduce(sum))],
};
