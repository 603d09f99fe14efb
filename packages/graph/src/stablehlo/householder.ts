import { attr } from "@shardserve/savedmodel";
import type { DType } from "@shardserve/tensor";
import type { Ref } from "./function-builder.js";
import { OpTranslation } from "./translation.js";

/**
 * QR factors as LAPACK keeps them: reflections below the diagonal, each by its vector v (of which the first element is 1) and its
 * factor tau. TensorFlow's Qr gives the product alone, and its signs are not LAPACK's. Loops over columns, whole batches at once.
 */

/** Matrices [batch..., rows, columns]. */
export interface Tall {
  readonly value: Ref;
  readonly batch: readonly Ref[];
  readonly rows: number;
  readonly columns: number;
}

type Turn = (inner: OpTranslation, step: Ref, values: readonly Ref[]) => Ref[];

/** Runs `turn` for 0, 1, ... below `count`; what it returns is carried, and what it gets behind that stays. */
function counted(t: OpTranslation, count: number, carried: readonly Ref[], fixed: readonly Ref[], turn: Turn): Ref[] {
  const values = [t.b.scalar("int32", 0), ...carried, ...fixed];
  const dtypes = values.map(({ dtype }) => dtype);
  const cond = t.around.writtenFunction(dtypes, [], (around, [step]) => [
    around.b.emit("Less", [step!, around.b.scalar("int32", count)]),
  ]);
  const body = t.around.writtenFunction(dtypes, [], (around, [step, ...rest]) => {
    const inner = new OpTranslation(t.op, around);
    const next = inner.emit("AddV2", [step!, inner.b.scalar("int32", 1)]);
    return [next, ...turn(inner, step!, rest), ...rest.slice(carried.length)];
  });
  const done = t.b.emitAll("StatelessWhile", values, { cond: attr.func(cond), body: attr.func(body) });
  return done.slice(1, 1 + carried.length);
}

/** 0, 1, ... as a column or a row. */
function places(t: OpTranslation, size: number, shape: readonly number[]): Ref {
  return t.reshape(t.emit("Range", [t.b.scalar("int32", 0), t.b.scalar("int32", size), t.b.scalar("int32", 1)]), shape);
}

function flat(t: OpTranslation, value: Ref, shape: readonly number[]): Ref {
  return t.reshape(value, [-1, ...shape]);
}

function shapedBack(t: OpTranslation, value: Ref, batch: readonly Ref[], shape: readonly number[]): Ref {
  return t.emit("Reshape", [value, t.stack([...batch, ...shape.map((size) => t.b.scalar("int32", size))])]);
}

/** The column with this number: [batch, rows, 1]. */
function columnAt(t: OpTranslation, value: Ref, step: Ref): Ref {
  return t.emit("GatherV2", [value, t.stack([step]), t.b.scalar("int32", 2)]);
}

/** value - tau v (v' value). */
function reflected(t: OpTranslation, value: Ref, v: Ref, tau: Ref): Ref {
  const along = t.emit("BatchMatMulV2", [v, value], { adj_x: attr.bool(true) });
  return t.emit("Sub", [value, t.emit("Mul", [tau, t.emit("Mul", [v, along])])]);
}

/** @returns R with the vectors below its diagonal, and tau */
export function factored(t: OpTranslation, { value, batch, rows, columns }: Tall): Ref[] {
  const count = Math.min(rows, columns);
  const { dtype } = value;
  const matrix = flat(t, value, [rows, columns]);
  const zeros = t.emit("ZerosLike", [t.emit("Slice", [matrix, t.b.ints([0, 0, 0]), t.b.ints([-1, 1, count])])]);
  const made = counted(t, count, [matrix, zeros], [], (inner, step, [a, taus]) => {
    const row = places(inner, rows, [1, -1, 1]);
    const column = places(inner, columns, [1, 1, -1]);
    const zero = inner.b.scalar(dtype, 0);
    const isBelow = inner.emit("Greater", [row, step]);
    const isHere = inner.emit("Equal", [row, step]);
    const x = columnAt(inner, a!, step);
    const first = summed(inner, inner.select(isHere, x, zero));
    const below = inner.select(isBelow, x, zero);
    const tail = summed(inner, inner.emit("Square", [below]));
    const length = inner.emit("Sqrt", [inner.emit("AddV2", [inner.emit("Square", [first]), tail])]);
    const isDone = inner.emit("Equal", [tail, zero]);
    const turned = inner.select(inner.emit("Less", [first, zero]), length, inner.emit("Neg", [length]));
    const beta = inner.select(isDone, first, turned);
    const difference = inner.emit("Sub", [beta, first]);
    const tau = inner.emit("DivNoNan", [difference, beta]);
    const v = inner.emit("AddV2", [
      inner.emit("Neg", [inner.emit("DivNoNan", [below, difference])]),
      inner.b.cast(isHere, dtype),
    ]);
    const rest = reflected(inner, a!, v, tau);
    const written = inner.select(isHere, beta, inner.select(isBelow, v, x));
    const isLater = inner.emit("Greater", [column, step]);
    const isNow = inner.emit("Equal", [column, step]);
    const next = inner.select(isLater, rest, inner.select(isNow, written, a!));
    const isOwn = inner.emit("Equal", [places(inner, count, [1, 1, -1]), step]);
    return [next, inner.select(isOwn, tau, taus!)];
  });
  return [shapedBack(t, made[0]!, batch, [rows, columns]), shapedBack(t, made[1]!, batch, [count])];
}

function summed(t: OpTranslation, column: Ref): Ref {
  return t.emit("Sum", [column, t.b.ints([1])], { keep_dims: attr.bool(true) });
}

/** The first columns of the product of all reflections, as many as there are columns. */
export function product(t: OpTranslation, { value, batch, rows, columns }: Tall, taus: Ref): Ref {
  const { dtype } = value;
  const count = t.type(1).shape.at(-1)!;
  const matrix = flat(t, value, [rows, columns]);
  const eye = t.b.cast(t.emit("Equal", [places(t, rows, [1, -1, 1]), places(t, columns, [1, 1, -1])]), dtype);
  const start = t.emit("AddV2", [t.emit("ZerosLike", [matrix]), eye]);
  const [made] = counted(t, count, [start], [matrix, flat(t, taus, [1, count])], (inner, step, [q, a, factors]) => {
    const last = inner.emit("Sub", [inner.b.scalar("int32", count - 1), step]);
    const row = places(inner, rows, [1, -1, 1]);
    const isBelow = inner.emit("Greater", [row, last]);
    const below = inner.select(isBelow, columnAt(inner, a!, last), inner.b.scalar(dtype, 0));
    const v = inner.emit("AddV2", [below, inner.b.cast(inner.emit("Equal", [row, last]), dtype)]);
    return [reflected(inner, q!, v, columnAt(inner, factors!, last))];
  });
  return shapedBack(t, made!, batch, [rows, columns]);
}

/** The swaps, counted from 1, that one after another make a permutation [batch..., n]. */
export function pivotsOf(t: OpTranslation, permutation: Ref): Ref {
  const shape = t.resultType(1).shape;
  const size = shape.at(-1)!;
  const goal = t.reshape(t.b.cast(permutation, "int32"), [-1, size]);
  const order = t.emit("AddV2", [t.emit("ZerosLike", [goal]), places(t, size, [1, -1])]);
  const made = counted(t, size, [order, order], [goal], (inner, step, [rows, pivots, wanted]) => {
    const place = places(inner, size, [1, -1]);
    const at = (value: Ref): Ref => inner.emit("GatherV2", [value, inner.stack([step]), inner.b.scalar("int32", 1)]);
    const isFound = inner.emit("Equal", [rows!, at(wanted!)]);
    const found = inner.emit("ArgMax", [inner.b.cast(isFound, "int32"), inner.b.scalar("int32", 1)], INT32);
    const other = inner.expand(found, 1);
    const isHere = inner.emit("Equal", [place, step]);
    const swapped = inner.select(isHere, at(wanted!), inner.select(isFound, at(rows!), rows!));
    const counted1 = inner.emit("AddV2", [other, inner.b.scalar("int32", 1)]);
    return [swapped, inner.select(isHere, counted1, pivots!)];
  });
  const batch = shape.slice(0, -1).map((_, axis) => t.dim(0, axis));
  return shapedBack(t, made[1]!, batch, [size]);
}

const INT32 = { output_type: attr.type("int32" satisfies DType) };
