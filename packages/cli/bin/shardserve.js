#!/usr/bin/env -S node --max-semi-space-size=32
// Requests leave short-lived arrays: with twice the room of Node's default they are collected for a fraction of the CPU time.
// The libuv pool runs the engine's calls; its size is read at the first use of the pool, so it is set before any import.
import { availableParallelism } from "node:os";

process.env.UV_THREADPOOL_SIZE ??= String(4 + availableParallelism());
const { run } = await import("../dist/src/index.js");
process.exitCode = await run(process.argv.slice(2));
