import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { storeError } from "../src/store-error.js";

describe("what a client of an object store threw", () => {
  it("is a code of our own by its status, and names the place and the cause", () => {
    const error = storeError("read s3://a/b", 403, new Error("AccessDenied"), undefined) as ServingError;
    assert.equal(error.code, "PERMISSION_DENIED");
    assert.equal(error.message, "cannot read s3://a/b: Error: AccessDenied (HTTP 403)");
    assert.equal((storeError("read s3://a/b", 503, new Error("slow"), undefined) as ServingError).code, "UNAVAILABLE");
    assert.equal(
      (storeError("read s3://a/b", undefined, new Error("x"), undefined) as ServingError).code,
      "UNAVAILABLE",
    );
  });

  it("is the caller's own reason where the caller gave up", () => {
    const reason = new ServingError("CANCELLED", "the load was given up");
    assert.equal(storeError("read s3://a/b", 503, new Error("aborted"), AbortSignal.abort(reason)), reason);
  });
});
