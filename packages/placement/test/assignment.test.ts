import assert from "node:assert/strict";
import { Assignment } from "../src/assignment.js";

describe("an assignment whose next replica has no room", () => {
  it("moves another partition to any shard of the domain that is free for it", () => {
    const bound = Int32Array.of(1, 1, 1);
    const assignment = new Assignment(2, bound);
    assignment.setDomains(Int32Array.of(0, 0, 1));
    assignment.add(0, 0);
    assignment.add(1, 2);
    assert.equal(assignment.augment(0, false), true, "0 goes to shard 2, 1 makes room there");
    assert.deepEqual([...assignment.shardsOf(0).slice().sort()], [0, 2]);
    assert.deepEqual([...assignment.shardsOf(1)], [1]);
    assert.equal(assignment.augment(1, true), false, "every shard is full");
  });

  it("moves what is kept only where it may", () => {
    const assignment = new Assignment(2, Int32Array.of(1, 1, 1));
    assignment.setDomains(Int32Array.of(0, 0, 1));
    assignment.add(0, 0);
    assignment.add(1, 2, true);
    assert.equal(assignment.augment(0, false), false);
    assert.deepEqual([...assignment.shardsOf(1)], [2]);
    assert.equal(assignment.augment(0, true), true);
  });
});
