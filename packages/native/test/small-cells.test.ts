import assert from "node:assert/strict";
import { IDLE_BYTES_MAX, type SmallCell, SmallCells } from "../src/ort/small-cells.js";

const cellOf = (key: number): SmallCell => ({ key, handle: BigInt(key), data: new Float32Array(16) });

describe("small cells", () => {
  it("make room for the shapes of now, within a bound", () => {
    const kept = new Set<number>();
    const cells = new SmallCells(({ key }) => assert.ok(kept.delete(key)));
    const give = (key: number): void => {
      kept.add(key);
      cells.give(cellOf(key));
    };
    const many = IDLE_BYTES_MAX / 64;
    for (let key = 0; key < many; key++) {
      give(key);
      assert.ok(kept.size * 64 <= IDLE_BYTES_MAX);
    }
    assert.ok(kept.size < many / 4, "what a cell takes beside its data counts");
    assert.ok(kept.has(many - 1));
    give(many);
    assert.equal(cells.take(many)?.key, many, "a new shape is kept");
    assert.equal(cells.take(0), undefined, "an old one is not");
  });

  it("are released once, and not while they are in use", () => {
    const released: number[] = [];
    const cells = new SmallCells(({ key }) => released.push(key));
    cells.give(cellOf(0));
    cells.give(cellOf(1));
    const used = cells.take(0)!;
    for (let key = 2; released.length === 0; key++) cells.give(cellOf(key));
    assert.deepEqual(released, [1]);
    cells.give(used);
    assert.equal(cells.take(0), used);
  });
});
