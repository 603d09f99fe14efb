/**
 * What many models of one directory were planned to take, and what they took: a program, so that nothing else comes and goes in its memory.
 * Prints [planned, measured] bytes. Usage: node --expose-gc memory-of-models.js DIR
 */
import { loadModel } from "@shardserve/engine";
import { loadOrt, returnFreedMemory } from "@shardserve/native";
import { planMemory, totalBytes } from "@shardserve/servable";

/** Models that make a process take what it takes once. */
const FIRST_MODELS = 50;
const MODELS = 150;

/** Resident bytes that are in use. */
async function usedBytes(): Promise<number> {
  // What finalizers let go of is garbage in the next round.
  for (let round = 0; round < 3; round++) {
    globalThis.gc!();
    await new Promise(setImmediate);
  }
  await returnFreedMemory();
  return process.memoryUsage.rss();
}

const dir = process.argv[2]!;
const models = [];
for (let i = 0; i < FIRST_MODELS; i++) models.push(await loadModel({ dir, ort: loadOrt() }));
const before = await usedBytes();
let plannedBytes = 0;
const onPlanned = (bytes: number) => void (plannedBytes += bytes);
for (let i = 0; i < MODELS; i++) {
  models.push(await loadModel({ dir, ort: loadOrt(), onPlanned }));
  plannedBytes += totalBytes(await planMemory(dir));
}
console.log(JSON.stringify([plannedBytes, (await usedBytes()) - before]));
await Promise.all(models.map((each) => each.close()));
