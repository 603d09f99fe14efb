import assert from "node:assert/strict";
import { ServingError } from "@shardserve/core";
import { deviceError } from "../src/device/device-error.js";

const failed = (message: string, ortCode = "FAIL") =>
  new ServingError("ENGINE_FAILED", message, { details: { ortCode } });

describe("deviceError", () => {
  it("blames the request for what a kernel refuses, and names the node", () => {
    const error = deviceError(
      failed(
        "ONNX Runtime could not run the model: Non-zero status code returned while running Gather node. " +
          "Name:'scope/lookup/Gather_3' Status Message: indices element out of data bounds, idx=9 must be within the inclusive range [-4,3]",
      ),
    ) as ServingError;
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.match(error.message, /^indices element out of data bounds, idx=9 .*\[\[\{\{node scope\/lookup\}\}\]\]$/s);
  });

  it("leaves out where in its source ONNX Runtime enforced what", () => {
    const error = deviceError(
      failed(
        "Non-zero status code returned while running Reshape node. Name:'fused' Status Message: " +
          "/src/core/reshape_helper.h:91 onnxruntime::ReshapeHelper::ReshapeHelper(bool) a == b was false. It cannot be reshaped.",
      ),
    ) as ServingError;
    assert.equal(error.message, "It cannot be reshaped.\n\t [[{{node fused}}]]");
  });

  it("keeps memory and engine failures apart from bad requests", () => {
    const memory = deviceError(failed("Failed to allocate memory for requested buffer of size 99")) as ServingError;
    assert.equal(memory.code, "RESOURCE_EXHAUSTED");
    const broken = failed("ONNX Runtime could not run the model: the provider died");
    assert.equal(deviceError(broken), broken);
    const other = new Error("no engine at all");
    assert.equal(deviceError(other), other);
  });

  it("takes feeds that do not fit as a bad request", () => {
    const error = deviceError(failed("Invalid rank for input: in0", "INVALID_ARGUMENT")) as ServingError;
    assert.equal(error.code, "INVALID_ARGUMENT");
  });
});
