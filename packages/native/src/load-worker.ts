import { invariant } from "@shardserve/core";
import { parentPort, workerData } from "node:worker_threads";
import { lowerThreadPriority } from "./libc.js";
import type { LoadAnswer, LoadRequest, LoadThreadOptions } from "./load-thread.js";
import { openOrtLibrary } from "./ort-library.js";

/**
 * Tenth of the weight of an ordinary thread: whoever serves goes first, and a load still ends on a machine that is never idle.
 */
const NICE = 10;

invariant(parentPort, "this module is the body of a LoadThread");
const port = parentPort;
lowerThreadPriority(NICE);
const { functions } = openOrtLibrary((workerData as LoadThreadOptions).libraryPath);
const out = new BigUint64Array(1);

port.on("message", ({ environment, model, modelBytes, settings }: LoadRequest) => {
  out[0] = 0n;
  const status = functions.CreateSessionFromArray(environment, model, modelBytes, settings, out) as bigint | null;
  port.postMessage({ status, session: out[0] } satisfies LoadAnswer);
});
