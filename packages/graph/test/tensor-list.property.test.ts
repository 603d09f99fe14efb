import assert from "node:assert/strict";
import { scalar, type Tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { TensorList } from "../src/ir/tensor-list.js";

describe("TensorList", () => {
  it("keeps every version as it was, in whatever order versions are made and read", () => {
    const edit = fc.record({ version: fc.nat(20), index: fc.nat(3), value: fc.nat(100) });
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 20 }), (edits) => {
        const lists = [new TensorList("int32", [], [undefined, undefined, undefined, undefined])];
        const twins: (Tensor | undefined)[][] = [[undefined, undefined, undefined, undefined]];
        for (const { version, index, value } of edits) {
          const from = version % lists.length;
          const item = scalar("int32", value);
          lists.push(lists[from]!.with(index, item));
          twins.push(twins[from]!.with(index, item));
          assert.deepEqual(lists[from]!.items.slice(), twins[from]);
        }
        for (const [i, twin] of twins.entries()) assert.deepEqual(lists[i]!.items.slice(), twin);
      }),
    );
  });
});
