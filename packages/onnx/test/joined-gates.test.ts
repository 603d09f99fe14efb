import assert from "node:assert/strict";
import { Attrs, type GraphNode, type Region, refKey, type TensorRef, type ValueInfo } from "@shardserve/graph";
import { tensor } from "@shardserve/tensor";
import { joinedGates, type JoinedGates } from "../src/lower/loops/joined-gates.js";
import { RegionReader } from "../src/lower/loops/region-reader.js";

const UNITS = 3;

interface Slice {
  readonly begin: readonly number[];
  /** A row "rows" is the loop's input of that name. */
  readonly end: readonly [number | "rows", number];
  readonly steps?: readonly number[];
  readonly of?: string;
  readonly masks?: Readonly<Record<string, number>>;
}

/** What is found of four gates that are sums of slices of "h" and "x", each [-1, 4 units]. */
function found(gates: readonly (readonly [Slice, Slice])[]): JoinedGates | undefined {
  const graph = new Map<string, GraphNode>();
  const infos = new Map<string, ValueInfo>();
  const add = (name: string, op: string, inputs: readonly string[], attrs = {}, info?: ValueInfo): string => {
    const refs = inputs.map((node) => ({ node, index: 0 }));
    graph.set(name, { name, op, inputs: refs, controls: [], attrs: new Attrs(op, attrs) });
    if (info) infos.set(refKey({ node: name, index: 0 }), info);
    return name;
  };
  const numbers = (name: string, values: readonly number[], shape = [values.length]): string =>
    add(name, "Const", [], { value: tensor("int32", shape, Int32Array.from(values)) });
  for (const name of ["state", "rows"]) add(name, "Placeholder", [], {}, { dtype: "int32", shape: [] });
  for (const name of ["h", "x"]) add(name, "Identity", ["state"], {}, { dtype: "float32", shape: [-1, 4 * UNITS] });
  const reshaped = numbers("one", [1]);
  add("count", "Reshape", ["rows", reshaped], {}, { dtype: "int32", shape: [1] });
  const vector = (name: string, [row, column]: readonly [number | "rows", number]): string =>
    row === "rows"
      ? add(name, "ConcatV2", ["count", numbers(`${name}/to`, [column]), numbers(`${name}/axis`, [0], [])])
      : numbers(name, [row, column]);
  const slice = (name: string, of: string, { begin, end, steps = [1, 1], masks = {}, ...rest }: Slice): string => {
    const inputs = [numbers(`${name}/begin`, begin), vector(`${name}/end`, end), numbers(`${name}/steps`, steps)];
    const none = { begin_mask: 0, end_mask: 0, ellipsis_mask: 0, new_axis_mask: 0, shrink_axis_mask: 0 };
    return add(name, "StridedSlice", [rest.of ?? of, ...inputs], { ...none, ...masks });
  };
  const refs: TensorRef[] = gates.map(([left, right], i) => {
    const terms = [slice(`${i}/left`, "h", left), slice(`${i}/right`, "x", right)];
    return { node: add(`${i}`, "AddV2", terms), index: 0 };
  });
  const region: Region = { graph, infos, args: ["state", "rows"], outputs: refs, targets: [] };
  return joinedGates(new RegionReader(region, 1), refs);
}

function quarter(at: number, change: Partial<Slice> = {}): Slice {
  return { begin: [0, at * UNITS], end: ["rows", (at + 1) * UNITS], ...change };
}

function gatesOf(order: readonly number[], first: Partial<Slice> = {}): (readonly [Slice, Slice])[] {
  return order.map((at, i) => [quarter(at, i === 0 ? first : {}), quarter(at)]);
}

describe("gates of joined products", () => {
  it("are slices of the same sums, in any order, of as many rows as the loop says", () => {
    for (const order of [
      [0, 1, 2, 3],
      [2, 0, 3, 1],
    ]) {
      const gates = found(gatesOf(order));
      assert.deepEqual(gates?.quarters, order);
      assert.deepEqual(
        gates.sums.map(({ node }) => node),
        ["h", "x"],
      );
      assert.deepEqual(gates.rowCounts, [{ node: "rows", index: 0 }]);
    }
  });

  it("are nothing else", () => {
    const others: Partial<Slice>[] = [
      { begin: [1, 0] },
      { begin: [0, 1] },
      { end: ["rows", UNITS - 1] },
      { end: ["rows", 2 * UNITS] },
      { end: [2, UNITS] },
      { steps: [1, 2] },
      { steps: [2, 1] },
      { of: "x" },
      { masks: { shrink_axis_mask: 1 } },
      { masks: { end_mask: 2 } },
      quarter(1),
    ];
    for (const other of others) {
      // Rows that are counted by a constant are all rows only where there are no more of them.
      assert.equal(found(gatesOf([0, 1, 2, 3], other)), undefined, JSON.stringify(other));
    }
    assert.equal(found(gatesOf([0, 1, 2, 2])), undefined);
  });
});
