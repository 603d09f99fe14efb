import { invariant } from "@shardserve/core";
import { type DType, dtypeFromTf, elementCount, isNumeric, type NumericDType, StringColumn, type Tensor, tensor } from "@shardserve/tensor";
import type { AttrValue } from "./contract.js";
import { check, invalid } from "./errors.js";
import { allocate, checkOutput } from "./limits.js";
import type { HostState, HostValue, KernelCall, ResourceHandle } from "./contract.js";

const decoder = new TextDecoder();

/** What a kernel returns: all outputs of its node in flat order. */
export type Kernel = (op: OpCall) => readonly HostValue[] | Promise<readonly HostValue[]>;

/** One run of one node, as kernels read it: inputs by position, attributes by name with their types. */
export class OpCall {
  readonly #call: KernelCall;

  constructor(call: KernelCall) {
    this.#call = call;
  }

  get nodeName(): string {
    return this.#call.node.name;
  }

  get state(): HostState {
    return this.#call.state;
  }

  get signal(): AbortSignal | undefined {
    return this.#call.signal;
  }

  get inputCount(): number {
    return this.#call.inputs.length;
  }

  /** Name of the tensor that feeds input i, as error texts show it. */
  inputName(i: number): string {
    const ref = this.#call.node.inputs[i];
    return ref ? `${ref.node}:${ref.index}` : "";
  }

  value(i: number): HostValue {
    const value = this.#call.inputs[i];
    invariant(value, `${this.#call.node.op} ${this.nodeName} has no input ${i}`);
    return value;
  }

  /** Input i as a tensor. */
  tensor(i: number): Tensor {
    const value = this.value(i);
    invariant("dtype" in value, `input ${i} of ${this.#call.node.op} ${this.nodeName} is no tensor`);
    return value;
  }

  /** Inputs [start, end) as tensors. */
  tensors(start = 0, end = this.inputCount): Tensor[] {
    const out: Tensor[] = [];
    for (let i = start; i < end; i++) out.push(this.tensor(i));
    return out;
  }

  /** Input i as a handle of a table or a variable. */
  handle(i: number): ResourceHandle {
    const value = this.value(i);
    invariant("key" in value, `input ${i} of ${this.#call.node.op} ${this.nodeName} is no resource`);
    return value;
  }

  /** Input i, which must be a string tensor. */
  strings(i: number): StringColumn {
    const { data } = this.tensor(i);
    if (!(data instanceof StringColumn)) throw invalid(`input ${i} of ${this.#call.node.op} must be a string tensor`);
    return data;
  }

  #attr<C extends Exclude<AttrValue["value"]["case"], undefined>>(name: string, kind: C) {
    const value = this.#call.node.attr(name)?.value;
    invariant(value?.case === kind, `${this.#call.node.op} ${this.nodeName}: attribute ${name} is no ${kind}`);
    return value.value as Extract<AttrValue["value"], { case: C }>["value"];
  }

  hasAttr(name: string): boolean {
    return this.#call.node.attr(name)?.value.case !== undefined;
  }

  /** An int attribute; those beyond 2^53 read as the nearest number, see {@link bigint}. */
  int(name: string): number {
    return Number(this.#attr(name, "i"));
  }

  bigint(name: string): bigint {
    return this.#attr(name, "i");
  }

  float(name: string): number {
    return this.#attr(name, "f");
  }

  bool(name: string): boolean {
    return this.#attr(name, "b");
  }

  bytes(name: string): Uint8Array {
    return this.#attr(name, "s");
  }

  text(name: string): string {
    return decoder.decode(this.#attr(name, "s"));
  }

  type(name: string): DType {
    return dtypeFromTf(this.#attr(name, "type"));
  }

  /** A shape attribute: -1 for an unknown dim, undefined for an unknown rank. */
  shape(name: string): number[] | undefined {
    return dimsOf(this.#attr(name, "shape"));
  }

  ints(name: string): number[] {
    return this.#list(name)?.i.map(Number) ?? [];
  }

  bigints(name: string): readonly bigint[] {
    return this.#list(name)?.i ?? [];
  }

  floats(name: string): readonly number[] {
    return this.#list(name)?.f ?? [];
  }

  texts(name: string): string[] {
    return this.#list(name)?.s.map((value) => decoder.decode(value)) ?? [];
  }

  bytesList(name: string): readonly Uint8Array[] {
    return this.#list(name)?.s ?? [];
  }

  types(name: string): DType[] {
    return this.#list(name)?.type.map(dtypeFromTf) ?? [];
  }

  shapes(name: string): (number[] | undefined)[] {
    return this.#list(name)?.shape.map(dimsOf) ?? [];
  }

  #list(name: string) {
    const value = this.#call.node.attr(name)?.value;
    return value?.case === "list" ? value.value : undefined;
  }
}

function dimsOf(shape: { unknownRank: boolean; dim: readonly { size: bigint }[] }): number[] | undefined {
  return shape.unknownRank ? undefined : shape.dim.map((dim) => Number(dim.size));
}

/**
 * A tensor of zeros, or of empty strings.
 *
 * @throws ServingError INVALID_ARGUMENT for a negative dim, RESOURCE_EXHAUSTED for more than an output may hold
 */
export function zeroTensor(dtype: DType, shape: readonly number[]): Tensor {
  for (const dim of shape) check(dim >= 0, () => `Dimension ${dim} must be >= 0`);
  const count = elementCount(shape);
  if (dtype === "string") {
    checkOutput(dtype, count);
    return tensor("string", shape, new StringColumn(new Uint8Array(0), new Uint32Array(count + 1)));
  }
  if (!isNumeric(dtype)) throw invalid(`a tensor of ${dtype} cannot be made here`);
  return tensor(dtype, shape, allocate(dtype as NumericDType, count) as never);
}
