import type { Value } from "../../proto/value.js";
import { less, where } from "../../proto/emit.js";
import { SELU_ALPHA, SELU_SCALE } from "./elementwise.js";
import type { NodeLowering } from "../node-lowering.js";

/** Lowers a node in float32. @param round  to the 16-bit float and back */
type LowerInSteps = (n: NodeLowering, round: (value: Value) => Value) => Value;

const addN: LowerInSteps = (n, round) =>
  n.inputs.slice(1).reduce((sum, value) => round(n.b.op("Add", [sum, value])), n.x(0));

/** `negative` where x < 0, else `other`: NaN is no less than 0. */
function negativeElse(n: NodeLowering, negative: Value, other: Value): Value {
  return where(n.b, less(n.b, n.x(0), n.b.scalar("float32", 0)), negative, other);
}

/** Ops that TensorFlow computes in 16-bit floats on the way, too: its kernels for them round after each of these steps. */
export const narrowSteps: ReadonlyMap<string, LowerInSteps> = new Map(
  Object.entries<LowerInSteps>({
    AddN: addN,
    AccumulateNV2: addN,
    FloorDiv: (n, round) => n.b.op("Floor", [round(n.b.op("Div", [n.x(0), n.x(1)]))]),
    SquaredDifference: (n, round) => {
      const difference = round(n.b.op("Sub", [n.x(0), n.x(1)]));
      return n.b.op("Mul", [difference, difference]);
    },
    Softsign: (n, round) => {
      const size = round(n.b.op("Add", [n.b.op("Abs", [n.x(0)]), n.b.scalar("float32", 1)]));
      return n.b.op("Div", [n.x(0), size]);
    },
    LeakyRelu: (n, round) => {
      const alpha = round(n.b.scalar("float32", n.attrs.float("alpha")));
      return negativeElse(n, n.b.op("Mul", [n.x(0), alpha]), n.x(0));
    },
    Elu: (n, round) => negativeElse(n, expLessOne(n, round), n.x(0)),
    Selu: (n, round) => {
      const scale = round(n.b.scalar("float32", SELU_SCALE));
      const negativeScale = round(n.b.scalar("float32", SELU_SCALE * SELU_ALPHA));
      const negative = n.b.op("Mul", [round(expLessOne(n, round)), negativeScale]);
      return negativeElse(n, negative, n.b.op("Mul", [n.x(0), scale]));
    },
  }),
);

function expLessOne(n: NodeLowering, round: (value: Value) => Value): Value {
  return n.b.op("Sub", [round(n.b.op("Exp", [n.x(0)])), n.b.scalar("float32", 1)]);
}
