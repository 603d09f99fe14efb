import assert from "node:assert/strict";
import { CancelSource, systemClock } from "@shardserve/core";
import { PendingRequests, type RequestOptions } from "../src/client/pending-requests.js";

const nothing = () => undefined;

describe("PendingRequests", () => {
  const setUp = () => {
    const givenUp: [number, string][] = [];
    const requests: PendingRequests = new PendingRequests({
      name: "s1",
      clock: systemClock,
      onGiveUp: (pending, reason) => {
        givenUp.push([pending.requestId, (reason as Error).message]);
        requests.take(pending);
      },
    });
    const add = (options: RequestOptions = {}, timeoutMs = Number.POSITIVE_INFINITY) =>
      requests.add(1, nothing, nothing, undefined, options, timeoutMs);
    return { requests, givenUp, add };
  };

  it("takes a request out once, and hears its signal no more", () => {
    const { requests, givenUp, add } = setUp();
    const source = new CancelSource();
    const [first, second] = [add({ signal: source }), add()];
    assert.notEqual(first.requestId, second.requestId);
    assert.equal(requests.get(first.requestId), first);
    assert.deepEqual([requests.take(first), requests.take(first)], [true, false]);
    source.abort(new Error("gone"));
    assert.deepEqual(givenUp, []);
    assert.deepEqual(requests.all(), [second]);
  });

  it("gives up a request whose signal aborts, and those whose deadlines pass, whichever was added first", async () => {
    const { requests, givenUp, add } = setUp();
    const source = new CancelSource();
    const due = (timeoutMs: number) => add({ deadlineMs: systemClock.nowMs() + timeoutMs }, timeoutMs).requestId;
    const ids = [due(40), due(10), add({ signal: source }).requestId];
    const kept = add();
    source.abort(new Error("gone"));
    while (givenUp.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    const late = (ms: number) => `s1 did not answer in ${ms} ms`;
    assert.deepEqual(givenUp, [
      [ids[2], "gone"],
      [ids[1], late(10)],
      [ids[0], late(40)],
    ]);
    assert.deepEqual(requests.all(), [kept]);
    requests.close();
  });
});
