import assert from "node:assert/strict";
import { tablesText } from "../src/commands/tables-text.js";

describe("the tables that inspect shows", () => {
  const one = { dtype: "float32", rows: 3, rowShape: [2], bytes: 24, lookups: [{}], shardable: true } as const;

  it("have their checkpoint keys beside them where these are other than the names", () => {
    const [head, user] = tablesText([{ ...one, name: "user", checkpointKey: "tables/0" }]).split("\n");
    assert.match(head!, / key$/);
    assert.match(user!, /^ {2}user .* 1 lookups +tables\/0$/);
    assert.doesNotMatch(tablesText([{ ...one, name: "user", checkpointKey: "user" }]), /key/);
  });
});
