import { type CancelSignal, invariant, InvariantError, ServingError } from "@shardserve/core";
import {
  type DType,
  elementCount,
  isNumeric,
  type NumericDType,
  StringColumn,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import {
  type Attrs,
  type GraphNode,
  type HostState,
  type HostValue,
  type KernelCall,
  type ResourceHandle,
  tensorName,
} from "@shardserve/graph";
import { check, invalid } from "./errors.js";
import { allocate, checkOutput } from "./limits.js";

/** What a kernel returns: all outputs of its node in flat order. */
export type Kernel = (op: OpCall) => readonly HostValue[] | Promise<readonly HostValue[]>;

/** One run of one node, as kernels read it: inputs by position, attributes by name with their types. */
export class OpCall {
  readonly #call: KernelCall;

  constructor(call: KernelCall) {
    this.#call = call;
  }

  get node(): GraphNode {
    return this.#call.node;
  }

  get attrs(): Attrs {
    return this.#call.node.attrs;
  }

  get state(): HostState {
    return this.#call.state;
  }

  get signal(): CancelSignal | undefined {
    return this.#call.signal;
  }

  /** The same run with other inputs: what one kernel does by means of another. */
  withInputs(inputs: readonly HostValue[]): OpCall {
    return new OpCall({ ...this.#call, inputs });
  }

  get inputCount(): number {
    return this.#call.inputs.length;
  }

  /** Name of the tensor that feeds input i, as error texts show it. */
  inputName(i: number): string {
    const ref = this.#call.node.inputs[i];
    return ref ? tensorName(ref) : "";
  }

  value(i: number): HostValue {
    const value = this.#call.inputs[i];
    if (!value) throw new InvariantError(`${this.node.op} ${this.node.name} has no input ${i}`);
    return value;
  }

  /**
   * Input i as a tensor; a variable (an input of a reference type) is read, a list is a scalar variant.
   *
   * @throws ServingError FAILED_PRECONDITION for a variable without a value
   */
  tensor(i: number): Tensor {
    const value = this.value(i);
    return "dtype" in value ? value : this.#read(value, i);
  }

  #read(value: Exclude<HostValue, Tensor>, i: number): Tensor {
    if (value.kind === "list") return tensor("variant", [], [value]);
    invariant(
      value.kind === "variable",
      () => `input ${i} of ${this.node.op} ${this.node.name} is a ${value.kind}, no tensor`,
    );
    return this.variable(value);
  }

  /** @throws ServingError FAILED_PRECONDITION for a variable without a value */
  variable(handle: ResourceHandle): Tensor {
    const value = this.state.variables.get(handle.key);
    if (value) return value;
    throw new ServingError(
      "FAILED_PRECONDITION",
      `Error while reading resource variable ${handle.key} from Container: localhost. This could mean that the variable was uninitialized.`,
    );
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
    invariant("key" in value, () => `input ${i} of ${this.node.op} ${this.node.name} is no resource`);
    return value;
  }

  /** Input i, which must be a string tensor. */
  strings(i: number): StringColumn {
    const { data } = this.tensor(i);
    if (!(data instanceof StringColumn)) throw invalid(`input ${i} of ${this.node.op} must be a string tensor`);
    return data;
  }
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
  if (dtype === "variant" && count === 0) return tensor("variant", shape, []);
  if (!isNumeric(dtype)) throw invalid(`a tensor of ${dtype} cannot be made here`);
  return tensor(dtype, shape, allocate(dtype as NumericDType, count) as never);
}
