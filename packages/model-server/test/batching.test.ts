import assert from "node:assert/strict";
import { type CancelSignal, ManualClock, ServingError, silentLogger } from "@shardserve/core";
import { Manager, type ServableHandle } from "@shardserve/servable";
import { type StringColumn, strings, type Tensor, tensor } from "@shardserve/tensor";
import fc from "fast-check";
import { joinRows, sliceRows } from "../src/batching/batch-plan.js";
import { Batcher, type RunRecord } from "../src/batching/batcher.js";
import type { BatchRequest } from "../src/batching/member.js";
import { type BatchingOptions, DEFAULT_BATCHING } from "../src/batching/options.js";
import { startManager } from "./harness.js";
import { FunctionModel, type Run } from "./models.js";

const floats = (...values: number[]) => tensor("float32", [values.length], Float32Array.from(values));
const row = { dtype: "float32", shape: [-1] } as const;

/** A model whose runs end when the test says so. */
class GatedModel extends FunctionModel {
  readonly gates: (() => void)[] = [];
  isOpen = false;
  readonly seen: number[][] = [];

  constructor(run: Run, shape: readonly number[] | null = [-1]) {
    super({
      s: {
        inputs: { x: { dtype: "float32", ...(shape ? { shape } : {}) } },
        outputs: { y: row },
        run: async (inputs, options) => {
          this.seen.push(Array.from(inputs.get("x")!.data as Float32Array));
          if (!this.isOpen) await new Promise<void>((resolve) => this.gates.push(resolve));
          return run(inputs, options);
        },
      },
    });
  }

  /** Lets all runs through, now and later. */
  open(): void {
    this.isOpen = true;
    for (const resolve of this.gates.splice(0)) resolve();
  }
}

const double: Run = (inputs) => {
  const x = inputs.get("x")!;
  return {
    y: tensor(
      "float32",
      x.shape,
      Float32Array.from(x.data as Float32Array, (value) => value * 2),
    ),
  };
};

async function settle(): Promise<void> {
  for (let i = 0; i < 50; i++) await Promise.resolve();
}

class Bench {
  readonly model: FunctionModel;
  readonly manager: Manager;
  readonly handle: ServableHandle;
  readonly clock = new ManualClock();
  readonly batcher: Batcher;
  readonly records: RunRecord[] = [];
  readonly warnings: string[] = [];

  private constructor(
    model: FunctionModel,
    manager: Manager,
    options: Partial<BatchingOptions>,
    whenArrived?: (start: () => void) => void,
  ) {
    this.model = model;
    this.manager = manager;
    this.handle = manager.handle({ name: "m" });
    this.batcher = new Batcher({
      batching: { ...DEFAULT_BATCHING, runsMax: 1, ...options },
      clock: this.clock,
      logger: { ...silentLogger, warn: (_fields, message) => this.warnings.push(message) },
      onRun: (record) => this.records.push(record),
      ...(whenArrived && { whenArrived }),
    });
  }

  static async of(
    model: FunctionModel,
    options: Partial<BatchingOptions> = {},
    whenArrived?: (start: () => void) => void,
  ): Promise<Bench> {
    return new Bench(model, await startManager({ m: { 1: model } }), options, whenArrived);
  }

  run(x: Tensor, more: Partial<BatchRequest> = {}): Promise<number[]> {
    const request: BatchRequest = {
      handle: this.handle,
      signature: this.model.signatures.get("s")!,
      inputs: new Map([["x", x]]),
      outputs: undefined,
      signal: new AbortController().signal,
      deadlineMs: undefined,
      ...more,
    };
    return this.batcher.run(request).then(({ outputs }) => Array.from(outputs.get("y")!.data as Float32Array));
  }

  /** Runs that prove that rows are independent, so that later requests are joined without comparing. */
  async prove(model: GatedModel): Promise<void> {
    for (let i = 0; i < 3; i++) {
      model.isOpen = false;
      const runs = [this.run(floats(1)), this.run(floats(2)), this.run(floats(3))];
      await settle();
      model.open();
      await Promise.all(runs);
    }
    await settle(); // the last run gives its place back
    model.isOpen = false;
    model.seen.length = 0;
    this.records.length = 0;
  }
}

describe("batching", () => {
  it("runs at once when idle, and joins what queues while a run is under way", async () => {
    const model = new GatedModel(double);
    const bench = await Bench.of(model);
    await bench.prove(model);
    const first = bench.run(floats(1));
    const rest = [bench.run(floats(2, 3)), bench.run(floats(4)), bench.run(floats(5, 6))];
    await settle();
    assert.deepEqual(model.seen, [[1]]);
    model.open();
    assert.deepEqual(await first, [2]);
    assert.deepEqual(await Promise.all(rest), [[4, 6], [8], [10, 12]]);
    assert.deepEqual(model.seen, [[1], [2, 3, 4, 5, 6]]);
    assert.deepEqual(
      bench.records.map(({ rows, requests }) => [rows, requests]),
      [
        [1, 1],
        [5, 3],
      ],
    );
  });

  it("joins what arrives in one turn of the event loop, though a run is free", async () => {
    const model = new GatedModel(double);
    const ends: (() => void)[] = [];
    let isTurnOver = true;
    const bench = await Bench.of(model, {}, (start) => (isTurnOver ? start() : ends.push(start)));
    await bench.prove(model);
    model.isOpen = true;
    isTurnOver = false;
    const runs = [bench.run(floats(1)), bench.run(floats(2, 3)), bench.run(floats(4))];
    await settle();
    assert.deepEqual(model.seen, []);
    assert.equal(ends.length, 1, "one start for all of a turn");
    ends.pop()!();
    assert.deepEqual(await Promise.all(runs), [[2], [4, 6], [8]]);
    assert.deepEqual(model.seen, [[1, 2, 3, 4]]);
    const gaveUp = new AbortController();
    const alone = bench.run(floats(5), { signal: gaveUp.signal });
    gaveUp.abort(new ServingError("CANCELLED", "enough"));
    await assert.rejects(alone, /enough/);
    ends.pop()!();
    await settle();
    assert.equal(model.seen.length, 1, "nothing is left to run");
    const next = bench.run(floats(6));
    await settle();
    ends.pop()!();
    assert.deepEqual(await next, [12]);
  });

  it("tells a run whether it is alone: none beside it, and nobody waits", async () => {
    for (const [runsMax, expected] of [
      [1, [false, false, true]], // the others wait
      [2, [false, false, true]], // another one runs
    ] as const) {
      const alone: boolean[] = [];
      const model = new GatedModel((inputs, options) => {
        alone.push(options.isAlone!());
        return double(inputs, options);
      });
      const bench = await Bench.of(model, { runsMax, maxBatchRows: 1 }, (start) => start());
      const runs = [bench.run(floats(1)), bench.run(floats(2)), bench.run(floats(3))];
      for (let i = 0; i < runs.length; i++) {
        await settle();
        model.gates.shift()!();
      }
      assert.deepEqual(await Promise.all(runs), [[2], [4], [6]]);
      assert.deepEqual(alone, expected);
    }
  });

  it("bounds the rows of a run and starts several runs at once", async () => {
    const model = new GatedModel(double);
    const bench = await Bench.of(model, { maxBatchRows: 3, runsMax: 2 });
    await bench.prove(model);
    const runs = [1, 2, 3, 4, 5, 6, 7].map((value) => bench.run(floats(value)));
    await settle();
    assert.deepEqual(model.seen, [[1], [2]]);
    model.open();
    assert.deepEqual(await Promise.all(runs), [[2], [4], [6], [8], [10], [12], [14]]);
    assert.ok(model.seen.every((values) => values.length <= 3));
    const large = bench.run(floats(1, 2, 3, 4));
    assert.deepEqual(await large, [2, 4, 6, 8], "a request larger than a batch runs alone");
  });

  it("refuses at once when the queue is full", async () => {
    const model = new GatedModel(double);
    const bench = await Bench.of(model, { queueRowsMax: 4, maxBatchRows: 2 });
    const runs = [bench.run(floats(0)), bench.run(floats(1, 2)), bench.run(floats(3, 4))];
    await settle();
    await assert.rejects(bench.run(floats(5)), (error: ServingError) => {
      assert.equal(error.status, "UNAVAILABLE");
      assert.equal(
        error.message,
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and " +
          "max_enqueued_batches is 2",
      );
      return true;
    });
    model.open();
    await Promise.all(runs);
  });

  it("never mixes shapes, signatures without a batch dimension, or outputs", async () => {
    const model = new GatedModel(double, [-1, -1]);
    const bench = await Bench.of(model);
    await bench.prove(model);
    const wide = (...values: number[]) => tensor("float32", [1, values.length], Float32Array.from(values));
    const runs = [bench.run(wide(9)), bench.run(wide(1, 2)), bench.run(wide(3, 4)), bench.run(wide(5))];
    await settle();
    model.open();
    await Promise.all(runs);
    assert.deepEqual(model.seen.slice(1), [[1, 2, 3, 4], [5]]);

    const scalar = new GatedModel(double, null);
    const other = await Bench.of(scalar);
    const alone = [other.run(floats(1)), other.run(floats(2)), other.run(floats(3))];
    await settle();
    scalar.open();
    await Promise.all(alone);
    assert.deepEqual(scalar.seen, [[1], [2], [3]]);
  });

  it("drops members that gave up or are past their deadline; the others run", async () => {
    const model = new GatedModel(double);
    const bench = await Bench.of(model);
    await bench.prove(model);
    const first = bench.run(floats(1));
    const gaveUp = new AbortController();
    const cancelled = bench.run(floats(2), { signal: gaveUp.signal });
    const late = bench.run(floats(3), { deadlineMs: bench.clock.nowMs() + 10 });
    const fine = bench.run(floats(4), { deadlineMs: bench.clock.nowMs() + 1000 });
    await settle();
    gaveUp.abort(new ServingError("CANCELLED", "enough"));
    await assert.rejects(cancelled, /enough/);
    bench.clock.advance(20);
    model.open();
    await first;
    await assert.rejects(late, (error: ServingError) => error.code === "DEADLINE_EXCEEDED");
    assert.deepEqual(await fine, [8]);
    assert.deepEqual(model.seen, [[1], [4]]);
  });

  it("stops a joined run only when all its members gave up, and pins the version until it ended", async () => {
    const signals: CancelSignal[] = [];
    const model = new GatedModel((inputs, options) => {
      signals.push(options.signal!);
      return double(inputs, options);
    });
    const bench = await Bench.of(model);
    await bench.prove(model);
    const first = bench.run(floats(0));
    const aborts = [new AbortController(), new AbortController()];
    const runs = aborts.map((abort, i) => bench.run(floats(i), { signal: abort.signal }));
    const ends = Promise.allSettled(runs);
    await settle();
    const [gate] = model.gates.splice(0);
    gate!();
    await first;
    await settle();
    assert.deepEqual(model.seen, [[0], [0, 1]]);
    aborts[0]!.abort(new ServingError("CANCELLED", "a"));
    await assert.rejects(runs[0]!, /a/);
    aborts[1]!.abort(new ServingError("CANCELLED", "b"));
    await ends;
    bench.handle.release();
    bench.manager.setAspired("m", []);
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(model.isClosed, false, "the run is still under way");
    model.open();
    await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(signals.at(-1)!.aborted);
    assert.equal(model.isClosed, true);
  });

  it("one bad request fails alone", async () => {
    const model = new GatedModel((inputs, options) => {
      const bad = Array.from(inputs.get("x")!.data as Float32Array).findIndex((value) => value < 0);
      if (bad >= 0) throw new ServingError("ROW_OUT_OF_RANGE", `indices[${bad}] = -1 is not in [0, 5)`);
      return double(inputs, options);
    });
    const bench = await Bench.of(model);
    await bench.prove(model);
    const runs = [bench.run(floats(0)), bench.run(floats(1, 2)), bench.run(floats(3, -1)), bench.run(floats(4))];
    const ends = Promise.allSettled(runs);
    await settle();
    model.open();
    assert.deepEqual(
      (await ends).map((end) => (end.status === "fulfilled" ? end.value : (end.reason as Error).message)),
      [[0], [2, 4], "indices[1] = -1 is not in [0, 5)", [8]],
    );
  });

  it("does not repeat a run that failed for want of a peer", async () => {
    const model = new GatedModel(() => {
      throw new ServingError("UNAVAILABLE", "no shard");
    });
    const bench = await Bench.of(model);
    const ends = Promise.allSettled([bench.run(floats(0)), bench.run(floats(1)), bench.run(floats(2))]);
    await settle();
    model.open();
    await ends;
    assert.deepEqual(model.seen, [[0], [1, 2]]);
  });

  it("stops joining a signature whose output has other rows", async () => {
    const model = new GatedModel((inputs) => ({ y: floats((inputs.get("x")!.data as Float32Array).length) }));
    const bench = await Bench.of(model);
    const runs = [bench.run(floats(0)), bench.run(floats(1)), bench.run(floats(2)), bench.run(floats(3))];
    await settle();
    model.open();
    assert.deepEqual(await Promise.all(runs), [[1], [1], [1], [1]]);
    assert.equal(bench.warnings.length, 1);
    model.seen.length = 0;
    await Promise.all([bench.run(floats(1)), bench.run(floats(2)), bench.run(floats(3))]);
    assert.ok(model.seen.every((values) => values.length === 1));
  });

  it("stops joining a signature whose rows depend on each other, and never gives a wrong answer", async () => {
    const model = new GatedModel((inputs) => {
      const x = inputs.get("x")!.data as Float32Array;
      const sum = x.reduce((a, b) => a + b, 0);
      return { y: floats(...Array.from(x, (value) => value / sum)) };
    });
    const bench = await Bench.of(model);
    const runs = [bench.run(floats(5)), bench.run(floats(1, 1)), bench.run(floats(2)), bench.run(floats(3, 1))];
    await settle();
    model.open();
    assert.deepEqual(await Promise.all(runs), [[1], [0.5, 0.5], [1], [0.75, 0.25]]);
    assert.match(bench.warnings.join(), /output y of joined rows differs/);
  });

  it("equal requests prove nothing of different ones", async () => {
    const model = new GatedModel((inputs) => {
      const x = inputs.get("x")!.data as Float32Array;
      return { y: floats(...Array.from(x, (value) => value - x[0]!)) };
    });
    const bench = await Bench.of(model);
    for (let round = 0; round < 5; round++) {
      model.isOpen = false;
      const equal = [bench.run(floats(7)), bench.run(floats(7)), bench.run(floats(7))];
      await settle();
      model.open();
      assert.deepEqual(await Promise.all(equal), [[0], [0], [0]]);
      await settle();
    }
    assert.deepEqual(model.seen.at(-1), [7, 7], "equal ones are joined");
    model.isOpen = false;
    const different = [bench.run(floats(1)), bench.run(floats(7)), bench.run(floats(8, 9)), bench.run(floats(7))];
    await settle();
    model.open();
    assert.deepEqual(await Promise.all(different), [[0], [0], [0, 1], [0]]);
    assert.match(bench.warnings.join(), /output y of joined rows differs/);
  });

  it("an input that has always been the same is proven anew when it differs", async () => {
    const scaled: Run = (inputs) => {
      const [x, by] = ["x", "by"].map((name) => inputs.get(name)!.data as Float32Array);
      return { y: floats(...Array.from(x!, (value) => value * by![0]!)) };
    };
    const model = new FunctionModel({ s: { inputs: { x: row, by: row }, outputs: { y: row }, run: scaled } });
    const bench = await Bench.of(model, {}, (start) => void Promise.resolve().then(start));
    const ask = (x: number, by: number) =>
      bench.run(floats(x), {
        inputs: new Map([
          ["x", floats(x)],
          ["by", floats(by)],
        ]),
      });
    const joined = () => bench.records.filter(({ requests }) => requests > 1).length;
    for (let round = 0; round < 5; round++)
      assert.deepEqual(await Promise.all([ask(1, 2), ask(2, 2), ask(3, 2)]), [[2], [4], [6]]);
    assert.ok(joined() >= 4, "joined while `by` is one number");
    assert.deepEqual(await Promise.all([ask(1, 2), ask(2, 3), ask(3, 4)]), [[2], [6], [12]]);
    assert.match(bench.warnings.join(), /output y of joined rows differs/);
  });

  it("waits for company when told to", async () => {
    const model = new GatedModel(double);
    model.open();
    const bench = await Bench.of(model, { timeoutMs: 10, maxBatchRows: 4 });
    const runs = [bench.run(floats(1)), bench.run(floats(2))];
    await settle();
    assert.deepEqual(model.seen, []);
    bench.clock.advance(10);
    assert.deepEqual(await Promise.all(runs), [[2], [4]]);
    assert.deepEqual(model.seen[0], [1, 2]);
    const full = [bench.run(floats(1, 2)), bench.run(floats(3, 4))];
    assert.deepEqual(
      await Promise.all(full),
      [
        [2, 4],
        [6, 8],
      ],
      "a full batch does not wait",
    );
  });

  it("joining and slicing give back every tensor", () => {
    const shape = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 2 });
    fc.assert(
      fc.property(shape, fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 5 }), (inner, rows) => {
        const size = inner.reduce((a, b) => a * b, 1);
        let next = 0;
        const numbers = rows.map((count) =>
          tensor(
            "int32",
            [count, ...inner],
            Int32Array.from({ length: count * size }, () => next++),
          ),
        );
        const texts = rows.map((count) =>
          strings(
            [count, ...inner],
            Array.from({ length: count * size }, () => "x".repeat(next++ % 5) + next),
          ),
        );
        for (const parts of [numbers, texts] as Tensor[][]) {
          const joined = joinRows(parts);
          let start = 0;
          for (const part of parts) {
            const slice = sliceRows(joined, start, (start += part.shape[0]!));
            assert.deepEqual(slice.shape, part.shape);
            assert.deepEqual(contents(slice), contents(part));
          }
        }
      }),
    );
  });

  it("answers any mix of requests as running them one by one does", async function () {
    this.timeout(60_000);
    const request = fc.record({
      x: fc.array(fc.integer({ min: -1, max: 20 }), { minLength: 1, maxLength: 5 }),
      pauseTurns: fc.integer({ min: 0, max: 2 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 8 }),
        async (requests, runsMax, maxBatchRows) => {
          const answer: Run = async (inputs, options) => {
            await new Promise((resolve) => setImmediate(resolve));
            if (Array.from(inputs.get("x")!.data as Float32Array).includes(-1)) {
              throw new ServingError("INVALID_ARGUMENT", "bad");
            }
            return double(inputs, options);
          };
          const model = new GatedModel(answer);
          model.open();
          const bench = await Bench.of(model, { runsMax, maxBatchRows });
          const ends: Promise<PromiseSettledResult<number[]>[]>[] = [];
          for (const { x, pauseTurns } of requests) {
            ends.push(Promise.allSettled([bench.run(floats(...x))]));
            for (let i = 0; i < pauseTurns; i++) await new Promise((resolve) => setImmediate(resolve));
          }
          const results = (await Promise.all(ends)).flat();
          results.forEach((result, i) => {
            const { x } = requests[i]!;
            if (x.includes(-1)) assert.equal(result.status, "rejected");
            else assert.deepEqual(result, { status: "fulfilled", value: x.map((value) => value * 2) });
          });
          bench.handle.release();
          await bench.manager.close();
          assert.equal(model.isClosed, true);
        },
      ),
      { numRuns: 40 },
    );
  });
});

function contents(value: Tensor): unknown {
  return value.dtype === "string" ? (value.data as StringColumn).toTexts() : Array.from(value.data as Int32Array);
}
