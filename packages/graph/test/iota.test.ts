import assert from "node:assert/strict";
import { infer } from "../src/infer/infer.js";
import { iotaAxis } from "../src/infer/iota.js";
import { programOf } from "./text-graph.js";

/** The axis that the last line's node counts along. */
function axisOf(...lines: string[]): number | undefined {
  const name = lines.at(-1)!.split(" ", 1)[0]!;
  const program = programOf(lines.join("\n"), name);
  return iotaAxis({ node: name, index: 0 }, program, infer(program));
}

const int = (name: string, value: string): string => `${name} = Const() value=int32${value}`;
const spread = (name: string, input: string, shape: string): string =>
  `${name} = BroadcastTo(${input}, ${shape}) T=int32 Tidx=int32`;
const cast = (input: string, from: string, to: string): string => `y = Cast(${input}) SrcT=${from} DstT=${to}`;
/** r counts to n. */
const RANGE = [int("zero", "[]:0"), int("one", "[]:1"), "n = Placeholder() dtype=int32 shape=[]"].concat(
  "r = Range(zero, n, one) Tidx=int32",
);

describe("the axis along which numbers count", () => {
  it("is that of a range, also where dimensions of one were spread", () => {
    assert.equal(axisOf(...RANGE), 0);
    assert.equal(axisOf(...RANGE, int("s", "[3]:1,-1,1"), "y = Reshape(r, s) T=int32"), 1);
    assert.equal(axisOf(int("c", "[1,3]:0,1,2"), int("s", "[2]:4,3"), spread("y", "c", "s")), 1);
    assert.equal(axisOf(int("c", "[3,1]:0,1,2"), int("s", "[2]:3,4"), spread("y", "c", "s")), 0);
    assert.equal(axisOf(int("c", "[2,2]:0,1,0,1")), 1);
    assert.equal(axisOf(int("c", "[2,2]:0,1,2,3")), undefined);
    const reshaped = [int("c", "[3]:0,1,2"), int("s", "[2]:1,3"), "m = Reshape(c, s) T=int32"];
    assert.equal(axisOf(...reshaped, int("t", "[2]:4,3"), spread("y", "m", "t")), 1);
  });

  it("is none over which one number was spread", () => {
    const zero = int("c", "[1,1]:0");
    assert.equal(axisOf(zero), 0);
    assert.equal(axisOf(zero, int("s", "[2]:4,3"), spread("y", "c", "s")), undefined);
    assert.equal(axisOf(zero, int("s", "[2]:1,3"), spread("y", "c", "s")), 0);
    assert.equal(axisOf(zero, int("s", "[2]:4,1"), spread("y", "c", "s")), 1);
    const batch = "b = Placeholder() dtype=int32 shape=[]";
    const open = [batch, int("three", "[]:3"), "s = Pack(b, three) N=2 T=int32"];
    assert.equal(axisOf(zero, ...open, spread("y", "c", "s")), undefined);
    const line = [int("c", "[1]:0"), int("s", "[1]:3"), spread("l", "c", "s"), int("t", "[2]:1,3")];
    assert.equal(axisOf(...line, "y = Reshape(l, t) T=int32"), undefined);
  });

  it("is sure, where a length is open, of one that is the range's own only", () => {
    const column = [...RANGE, int("s", "[2]:-1,1"), "m = Reshape(r, s) T=int32"];
    const own = [...column, int("three", "[]:3"), "t = Pack(n, three) N=2 T=int32"];
    assert.equal(axisOf(...own, spread("y", "m", "t")), 0);
    const shape = ["b = Placeholder() dtype=int32 shape=[]", int("three", "[]:3"), "t = Pack(b, three) N=2 T=int32"];
    assert.equal(axisOf(...column, ...shape, spread("y", "m", "t")), undefined);
  });

  it("is kept by casts to what holds all numbers", () => {
    assert.equal(axisOf(...RANGE, cast("r", "int32", "int64")), 0);
    assert.equal(axisOf(...RANGE, cast("r", "int32", "uint32")), 0);
    assert.equal(axisOf(...RANGE, cast("r", "int32", "int8")), undefined);
    assert.equal(axisOf(...RANGE, cast("r", "int32", "float32")), undefined);
  });
});
