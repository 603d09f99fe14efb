/**
 * Steps of optimizers, which signatures that train a served model on (personalisation) carry: one step of every element of a variable and
 * of its slots. Formulas are those of TensorFlow's training_ops; sparse ones step the rows that `indices` name, one after the other.
 */
import { opDef } from "@shardserve/graph";
import { elementCount, type Tensor } from "@shardserve/tensor";
import { check, printShape } from "../call/errors.js";
import { type NumberArray, numberArray, numbersOf, numbersTensor } from "../call/numeric.js";
import type { Kernel, OpCall } from "../call/op-call.js";
import { integersOf, sameShape } from "../call/shapes.js";
import { each, inRanges, inTurns, type Pieces } from "../call/turns.js";

/** Scalars of a step by their names in the op, and its attributes. */
interface Settings {
  readonly of: (name: string) => number;
  readonly is: (attribute: string) => boolean;
}

/** Steps element i of the variable and its slots by gradient g; made once for a call. */
type Step = (slots: readonly NumberArray[], i: number, g: number) => void;
type Rule = (settings: Settings) => Step;

const { abs, sign, sqrt } = Math;

/** What was, unless what comes is larger: a gradient that is NaN leaves it. */
function larger(was: number, comes: number): number {
  return was < comes ? comes : was;
}

const gradientDescent: Rule = ({ of }) => {
  const rate = of("alpha");
  return ([value], i, g) => (value![i]! -= g * rate);
};

const momentum: Rule = ({ of, is }) => {
  const [rate, kept, isNesterov] = [of("lr"), of("momentum"), is("use_nesterov")];
  return ([value, speed], i, g) => {
    speed![i] = speed![i]! * kept + g;
    value![i]! -= isNesterov ? g * rate + speed![i]! * kept * rate : speed![i]! * rate;
  };
};

const kerasMomentum: Rule = ({ of, is }) => {
  const [rate, kept, isNesterov] = [of("lr"), of("momentum"), is("use_nesterov")];
  return ([value, speed], i, g) => {
    speed![i] = speed![i]! * kept - g * rate;
    value![i]! += isNesterov ? speed![i]! * kept - g * rate : speed![i]!;
  };
};

function adam(hasHighest: boolean): Rule {
  return ({ of, is }) => {
    const [beta1, beta2, epsilon] = [of("beta1"), of("beta2"), of("epsilon")];
    const rate = (of("lr") * sqrt(1 - of("beta2_power"))) / (1 - of("beta1_power"));
    const isNesterov = !hasHighest && is("use_nesterov");
    return ([value, mean, square, highest], i, g) => {
      mean![i]! += (g - mean![i]!) * (1 - beta1);
      square![i]! += (g * g - square![i]!) * (1 - beta2);
      if (hasHighest) highest![i] = larger(highest![i]!, square![i]!);
      const by = isNesterov ? g * (1 - beta1) + beta1 * mean![i]! : mean![i]!;
      value![i]! -= (by * rate) / (sqrt((hasHighest ? highest : square)![i]!) + epsilon);
    };
  };
}

const adaMax: Rule = ({ of }) => {
  const [beta1, beta2, epsilon] = [of("beta1"), of("beta2"), of("epsilon")];
  const rate = of("lr") / (1 - of("beta1_power"));
  return ([value, mean, norm], i, g) => {
    mean![i]! += (g - mean![i]!) * (1 - beta1);
    norm![i] = larger(beta2 * norm![i]!, abs(g));
    value![i]! -= rate * (mean![i]! / (norm![i]! + epsilon));
  };
};

function adagrad(epsilonOf: (settings: Settings) => number): Rule {
  return (settings) => {
    const [rate, epsilon, updates] = [settings.of("lr"), epsilonOf(settings), settings.is("update_slots")];
    return ([value, squares], i, g) => {
      if (updates) squares![i]! += g * g;
      value![i]! -= (g * rate) / (sqrt(squares![i]!) + epsilon);
    };
  };
}

const rmsProp: Rule = ({ of }) => {
  const [rate, rho, kept, epsilon] = [of("lr"), of("rho"), of("momentum"), of("epsilon")];
  return ([value, square, speed], i, g) => {
    square![i]! += (g * g - square![i]!) * (1 - rho);
    speed![i] = speed![i]! * kept + (g * rate) / sqrt(square![i]! + epsilon);
    value![i]! -= speed![i]!;
  };
};

const centeredRmsProp: Rule = ({ of }) => {
  const [rate, rho, kept, epsilon] = [of("lr"), of("rho"), of("momentum"), of("epsilon")];
  return ([value, mean, square, speed], i, g) => {
    square![i]! += (g * g - square![i]!) * (1 - rho);
    mean![i]! += (g - mean![i]!) * (1 - rho);
    speed![i] = speed![i]! * kept + (g * rate) / sqrt(square![i]! - mean![i]! ** 2 + epsilon);
    value![i]! -= speed![i]!;
  };
};

const adadelta: Rule = ({ of }) => {
  const [rate, rho, epsilon] = [of("lr"), of("rho"), of("epsilon")];
  return ([value, square, updates], i, g) => {
    square![i] = square![i]! * rho + g * g * (1 - rho);
    const update = (sqrt(updates![i]! + epsilon) / sqrt(square![i]! + epsilon)) * g;
    value![i]! -= update * rate;
    updates![i] = updates![i]! * rho + update * update * (1 - rho);
  };
};

function ftrl(shrinkageOf: (settings: Settings) => number): Rule {
  return (settings) => {
    const { of, is } = settings;
    const [rate, l1, l2, power, shrinkage] = [of("lr"), of("l1"), of("l2"), -of("lr_power"), shrinkageOf(settings)];
    const raised = (x: number): number => (power === 0.5 ? sqrt(x) : x ** power);
    // `linear` is kept times the rate, or what is added to it is divided by it.
    const [factor, divisor] = is("multiply_linear_by_lr") ? [rate, 1] : [1, rate];
    const linearMin = l1 * factor;
    return ([value, squares, linear], i, g) => {
      const next = squares![i]! + g * g;
      const grown = (raised(next) - raised(squares![i]!)) / divisor;
      linear![i]! += (g + 2 * shrinkage * value![i]!) * factor - grown * value![i]!;
      const scale = raised(next) / divisor + 2 * l2 * factor;
      value![i] = abs(linear![i]!) > linearMin ? (linearMin * sign(linear![i]!) - linear![i]!) / scale : 0;
      squares![i] = next;
    };
  };
}

/** The inputs of an op by their names; those in front of the first that is no variable are the variable and its slots. */
function inputsOf(op: OpCall): { at: (name: string) => Tensor; slotCount: number } {
  const names = opDef(op.node.op)!.inputs.map(({ name }) => name);
  const at = (name: string): Tensor => op.tensor(names.indexOf(name));
  return { at, slotCount: names.findIndex((_, i) => !("key" in op.value(i))) };
}

function settingsOf(op: OpCall, at: (name: string) => Tensor): Settings {
  return {
    of: (name) => {
      const value = at(name);
      check(value.shape.length === 0, () => `${name} is not a scalar: ${printShape(value.shape)}`);
      return numbersOf(value)[0]!;
    },
    is: (attribute) => op.attrs.has(attribute) && op.attrs.bool(attribute),
  };
}

/** What a step of one element takes, in multiplications. */
const STEP_WORK = 8;

/** Steps every element, or those of the rows of `indices`. */
function walk(
  step: Step,
  slots: readonly NumberArray[],
  by: NumberArray,
  rows: ArrayLike<number> | undefined,
  size: number,
): Pieces<void> {
  if (!rows) {
    return inRanges(by.length, STEP_WORK, (from, end) => {
      for (let i = from; i < end; i++) step(slots, i, by[i]!);
    });
  }
  return inRanges(rows.length, STEP_WORK * size, (from, end) => {
    for (let row = from; row < end; row++) {
      for (let k = 0; k < size; k++) step(slots, rows[row]! * size + k, by[row * size + k]!);
    }
  });
}

/** The new value of the variable, which is written with its slots. */
function* applied(op: OpCall, rule: Rule, isSparse: boolean): Pieces<Tensor> {
  const { at, slotCount } = inputsOf(op);
  const handles = Array.from({ length: slotCount }, (_, i) => op.handle(i));
  const old = handles.map((handle) => op.variable(handle));
  const { dtype, shape } = old[0]!;
  for (const slot of old) {
    check(
      sameShape(slot.shape, shape),
      () => `var and its slots do not have the same shape${printShape(shape)} ${printShape(slot.shape)}`,
    );
  }
  const gradient = at(op.node.op.endsWith("GradientDescent") ? "delta" : "grad");
  check(!isSparse || shape.length > 0, () => "var must be at least 1 dimensional");
  const rows = isSparse ? integersOf(at("indices")) : undefined;
  const wanted = rows ? [rows.length, ...shape.slice(1)] : shape;
  check(
    sameShape(gradient.shape, wanted),
    () => `var and grad do not have the same shape${printShape(shape)} ${printShape(gradient.shape)}`,
  );
  for (const row of rows ?? []) {
    check(row >= 0 && row < shape[0]!, () => `Index ${row} is out of range in indices: must be in [0, ${shape[0]})`);
  }
  const slots = yield* each(old.length, function* (i) {
    const copy = numberArray(dtype, elementCount(shape));
    copy.set(numbersOf(old[i]!) as never);
    yield copy.length;
    return copy;
  });
  yield* walk(rule(settingsOf(op, at)), slots, numbersOf(gradient), rows, elementCount(shape.slice(1)));
  // Another step of the same variable went in between: this one follows it.
  if (handles.some((handle, i) => op.variable(handle) !== old[i])) return yield* applied(op, rule, isSparse);
  const values = slots.map((slot) => numbersTensor(dtype, shape, slot));
  for (const [i, value] of values.entries()) op.state.variables.set(handles[i]!.key, value);
  return values[0]!;
}

const NO_EPSILON = (): number => 0;

const DENSE: Readonly<Record<string, Rule>> = {
  ApplyGradientDescent: gradientDescent,
  ApplyMomentum: momentum,
  ApplyKerasMomentum: kerasMomentum,
  ApplyAdam: adam(false),
  ApplyAdamWithAmsgrad: adam(true),
  ApplyAdaMax: adaMax,
  ApplyAdagrad: adagrad(NO_EPSILON),
  ApplyAdagradV2: adagrad(({ of }) => of("epsilon")),
  ApplyRMSProp: rmsProp,
  ApplyCenteredRMSProp: centeredRmsProp,
  ApplyAdadelta: adadelta,
  ApplyFtrl: ftrl(() => 0),
  ApplyFtrlV2: ftrl(({ of }) => of("l2_shrinkage")),
};

const SPARSE = "Momentum KerasMomentum Adagrad AdagradV2 RMSProp CenteredRMSProp Adadelta Ftrl FtrlV2".split(" ");

function kernelsOf(name: string, rule: Rule, isSparse: boolean): [string, Kernel][] {
  const kernels: [string, Kernel][] = [
    // Of a TF1 reference: the value right after the step stands for the variable.
    [
      name,
      inTurns(function* (op) {
        return [yield* applied(op, rule, isSparse)];
      }),
    ],
    [
      `Resource${name}`,
      inTurns(function* (op) {
        yield* applied(op, rule, isSparse);
        return [];
      }),
    ],
  ];
  return kernels.filter(([op]) => opDef(op));
}

export const OPTIMIZER_KERNELS: Readonly<Record<string, Kernel>> = Object.fromEntries([
  ...Object.entries(DENSE).flatMap(([name, rule]) => kernelsOf(name, rule, false)),
  ...SPARSE.flatMap((name) => kernelsOf(`Sparse${`Apply${name}`}`, DENSE[`Apply${name}`]!, true)),
]);
