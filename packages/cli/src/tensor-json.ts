import { ServingError } from "@shardserve/core";
import {
  type DType,
  elementCount,
  isNumeric,
  newData,
  strings,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";

/**
 * Nested JSON lists to a tensor: TensorFlow Serving's columnar form. int64 values beyond 2^53 are given as texts; strings
 * that are no UTF-8 as {"b64": "..."}.
 *
 * @param where  names the input in errors
 * @throws ServingError INVALID_ARGUMENT saying where the value does not fit
 */
export function tensorFromJson(value: unknown, dtype: DType, where: string): Tensor {
  const shape = shapeOf(value);
  const leaves: unknown[] = [];
  flatten(value, shape, 0, leaves, where);
  if (dtype === "string")
    return strings(
      shape,
      leaves.map((leaf) => textOf(leaf, where)),
    );
  if (!isNumeric(dtype) || dtype.startsWith("complex"))
    throw new ServingError("UNIMPLEMENTED", `${where}: ${dtype} cannot be given as JSON`);
  const data = newData(dtype, elementCount(shape));
  leaves.forEach((leaf, i) => {
    data[i] = numberOf(leaf, dtype, where);
  });
  return tensor(dtype, shape, data);
}

/** A tensor as nested lists; int64 as texts where a number would lose digits. */
export function tensorToJson(value: Tensor): unknown {
  const { data } = value;
  const leaf = (i: number): unknown => {
    if (data instanceof StringColumn) return data.textAt(i);
    const element = data[i] as number | bigint;
    if (typeof element === "bigint") return Number.isSafeInteger(Number(element)) ? Number(element) : String(element);
    return value.dtype === "bool" ? element !== 0 : Number.isFinite(element) ? element : String(element);
  };
  const nest = (dim: number, start: number): unknown => {
    if (dim === value.shape.length) return leaf(start);
    const stride = elementCount(value.shape.slice(dim + 1));
    return Array.from({ length: value.shape[dim]! }, (_, i) => nest(dim + 1, start + i * stride));
  };
  return nest(0, 0);
}

function shapeOf(value: unknown): number[] {
  const shape: number[] = [];
  for (let level = value; Array.isArray(level); level = level[0]) shape.push(level.length);
  return shape;
}

function flatten(value: unknown, shape: readonly number[], dim: number, leaves: unknown[], where: string): void {
  if (dim === shape.length) {
    if (Array.isArray(value)) throw new ServingError("INVALID_ARGUMENT", `${where}: lists are not equally deep`);
    leaves.push(value);
    return;
  }
  if (!Array.isArray(value) || value.length !== shape[dim])
    throw new ServingError("INVALID_ARGUMENT", `${where}: lists at depth ${dim} differ in length`);
  for (const item of value) flatten(item, shape, dim + 1, leaves, where);
}

function textOf(leaf: unknown, where: string): string | Uint8Array {
  if (typeof leaf === "string") return leaf;
  if (typeof leaf === "object" && leaf !== null && "b64" in leaf && typeof leaf.b64 === "string")
    return Buffer.from(leaf.b64, "base64");
  throw new ServingError("INVALID_ARGUMENT", `${where}: ${JSON.stringify(leaf)} is no text`);
}

function numberOf(leaf: unknown, dtype: DType, where: string): number | bigint {
  const refuse = () => new ServingError("INVALID_ARGUMENT", `${where}: ${JSON.stringify(leaf)} is no ${dtype}`);
  if (dtype === "int64" || dtype === "uint64") {
    if (typeof leaf === "string" ? /^-?\d+$/.test(leaf) : Number.isSafeInteger(leaf))
      return BigInt(leaf as string | number);
    throw refuse();
  }
  if (dtype === "bool" && typeof leaf === "boolean") return leaf ? 1 : 0;
  const value = leaf === "NaN" || leaf === "Infinity" || leaf === "-Infinity" ? Number(leaf) : leaf;
  if (typeof value !== "number") throw refuse();
  return value;
}
