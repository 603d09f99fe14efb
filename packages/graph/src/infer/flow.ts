import type { Shape } from "../ir/attrs.js";
import { each, same, type ShapeFunction, UNKNOWN } from "./shapes.js";

/** Shapes of ops that hand values on: constants, variables, lookups, control flow. */
export const FLOW_SHAPES: Readonly<Record<string, ShapeFunction>> = {
  ...each(
    `Identity StopGradient PreventGradient GuaranteeConst Snapshot CheckNumerics CheckNumericsV2 PlaceholderWithDefault Print
     DebugIdentity DebugIdentityV2 DebugIdentityV3 Enter RefEnter Exit NextIteration RefIdentity LoopCond Copy CopyHost DeepCopy`,
    same(),
  ),
  IdentityN: (call) => call.inputs.map((info) => info.shape),
  Const: (call) => [call.attrs.tensor("value").shape],
  // On reads of host-state variables the compiler sets the shape that their handle states.
  ...each("Placeholder ReadVariableOp", (call) => [call.attrs.has("shape") ? call.attrs.shape("shape") : undefined]),
  ...each("Assign AssignAdd AssignSub", same(1)),
  ...each("ToBool DeviceIndex OptionalHasValue", () => [[]]),
  OptionalGetValue: (call) => call.attrs.shapes("output_shapes"),
  ...each(
    `ScatterUpdate ScatterAdd ScatterSub ScatterMul ScatterDiv ScatterMax ScatterMin
     ScatterNdUpdate ScatterNdAdd ScatterNdSub ScatterNdMax ScatterNdMin StridedSliceAssign`,
    same(),
  ),
  Variable: (call) => [call.attrs.shape("shape")],
  GatherRows: (call) => {
    const [rows, slots] = [call.shape(0), call.shape(1)];
    return [rows && slots ? [...slots, ...rows.slice(1)] : undefined];
  },
  Lookup: (call) => [[UNKNOWN, ...call.attrs.shape("rowShape")!], call.shape(0)],
  ...each("Loop Branch", (call) => call.attrs.shapes("shapes")),
  // A loop whose regions are not formed yet, as TensorFlow states it.
  ...each("While StatelessWhile If StatelessIf Case StatelessCase", (call) => {
    const stated = call.attrs.has("output_shapes") ? call.attrs.shapes("output_shapes") : [];
    return stated.length === call.dtypes.length ? stated : [];
  }),
  Switch: (call) => [call.shape(0), call.shape(0)],
  RefSwitch: (call) => [call.shape(0), call.shape(0)],
  Merge: (call) => [agree(call.inputs.map((info) => info.shape)), []],
};

/** The shape that all agree on: unknown where they differ. */
function agree(shapes: readonly Shape[]): Shape {
  const [first, ...rest] = shapes;
  if (!first || rest.some((shape) => shape?.length !== first.length)) return undefined;
  return first.map((dim, i) => (rest.every((shape) => shape![i] === dim) ? dim : UNKNOWN));
}
