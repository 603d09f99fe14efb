import assert from "node:assert/strict";
import fc from "fast-check";
import { Roster } from "../src/index.js";

describe("Roster", () => {
  it("does what a Set does", () => {
    const step = fc.record({ isAdded: fc.boolean(), k: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const members = Array.from({ length: 10 }, () => ({ rosterAt: -1 }));
        const roster = new Roster<{ rosterAt: number }>();
        const twin = new Set<object>();
        for (const { isAdded, k } of steps) {
          const member = members[k]!;
          if (!isAdded) assert.equal(roster.remove(member), twin.delete(member));
          else if (!twin.has(member)) {
            roster.add(member);
            twin.add(member);
          }
          assert.equal(roster.size, twin.size);
        }
        assert.deepEqual(new Set(roster.all()), twin);
      }),
    );
  });

  it("may be emptied while it is walked", () => {
    const roster = new Roster<{ rosterAt: number }>();
    for (let k = 0; k < 5; k++) roster.add({ rosterAt: -1 });
    for (const member of roster.all()) assert.ok(roster.remove(member));
    assert.equal(roster.size, 0);
  });
});
