/** Variables that a serving signature writes: they live in the servable's state. Frozen ones never reach these kernels. */
import { type ResourceHandle, resourceKey } from "@shardserve/graph";
import { type Tensor, tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { indexData, sameShape } from "../call/shapes.js";
import { applyBinary } from "../math/binary-op.js";
import { BINARY_OPS } from "../math/binary-ops.js";

function handle(op: OpCall): ResourceHandle[] {
  return [{ kind: "variable", key: resourceKey(op.node) }];
}

function assign(op: OpCall): Tensor {
  const value = op.tensor(1);
  op.state.variables.set(op.handle(0).key, value);
  return value;
}

/** variable = variable (+ or -) input 1; the new value. */
function update(op: OpCall, kind: "Add" | "Sub"): Tensor {
  const target = op.handle(0);
  const old = op.variable(target);
  const by = op.tensor(1);
  check(
    sameShape(old.shape, by.shape),
    () =>
      `Cannot update variable with shape ${printShape(old.shape)} using a Tensor with shape ${printShape(by.shape)}, shapes must be equal.`,
  );
  const value = applyBinary(op.node.op, BINARY_OPS[kind]!, old, by);
  op.state.variables.set(target.key, value);
  return value;
}

function isInitialized(op: OpCall): Tensor[] {
  return [tensor("bool", [], Uint8Array.of(op.state.variables.has(op.handle(0).key) ? 1 : 0))];
}

export const VARIABLE_KERNELS: Readonly<Record<string, Kernel>> = {
  VarHandleOp: handle,
  // Not "Variable": the graph package uses that name for frozen variables.
  VariableV2: handle,
  ReadVariableOp: (op) => [op.variable(op.handle(0))],
  // With reference types the result is the value right after the write, not the variable.
  Assign: (op) => [assign(op)],
  AssignAdd: (op) => [update(op, "Add")],
  AssignSub: (op) => [update(op, "Sub")],
  AssignVariableOp: (op) => {
    assign(op);
    return [];
  },
  AssignAddVariableOp: (op) => {
    update(op, "Add");
    return [];
  },
  AssignSubVariableOp: (op) => {
    update(op, "Sub");
    return [];
  },
  VarIsInitializedOp: isInitialized,
  IsVariableInitialized: isInitialized,
  VariableShape: (op) => {
    const { shape } = op.variable(op.handle(0));
    const dtype = op.attrs.dtype("out_type");
    return [tensor(dtype, [shape.length], indexData(dtype, shape) as never)];
  },
};
