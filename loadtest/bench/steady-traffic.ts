import { seededRandom } from "@shardserve/core";
import { openLoop } from "../load/drivers.js";
import { PredictClient } from "../load/predict-client.js";
import { encodeRequest, halfInputs } from "../models/requests.js";

/**
 * Requests of half_plus_two at a steady rate, from a process that does nothing else: file work, polls and garbage of whoever steers a
 * benchmark would show in the tail of its requests.
 *
 *     node --max-semi-space-size=1 steady-traffic.js ADDRESS REQUESTS_PER_S   prints "ready"; when its standard input closes, a line
 *
 * The line is a JSON list of [start, end], one a request, in milliseconds of the machine's monotonic clock. The flag keeps its own
 * collections short: what Node's HTTP/2 leaves survives them, and with the default room each stops the process for 8 ms.
 */
const [address, ratePerS] = process.argv.slice(2);
const client = new PredictClient(address!);
const request = encodeRequest(halfInputs(1));
for (let i = 0; i < 2000; i++) await client.predict(request);

let isOver = false;
process.stdin.on("close", () => void (isOver = true)).resume();
console.log("ready");
const spans: [number, number][] = [];
const send = async (): Promise<void> => {
  const startMs = machineMs();
  await client.predict(request);
  spans.push([startMs, machineMs()]);
};
const random = seededRandom(1);
while (!isOver) {
  const run = await openLoop({ ratePerS: Number(ratePerS), durationMs: 500, random, send });
  for (const [text, count] of run.failures) throw new Error(`${count} requests failed: ${text}`);
}
client.close();
console.log(JSON.stringify(spans));

function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
