import assert from "node:assert/strict";
import { type Logger, ServingError, silentLogger } from "@shardserve/core";
import { FilePoll } from "../src/file-poll.js";

/** Looks that go as they are listed; then nothing changes. */
class ListedLooks extends FilePoll {
  readonly #looks: (string | undefined | ServingError)[];
  whenDone: () => void = () => undefined;

  constructor(logger: Logger, looks: readonly (string | undefined | ServingError)[]) {
    super({ path: "file", intervalMs: 1, logger });
    this.#looks = [...looks];
  }

  protected override async look(): Promise<string | undefined> {
    const next = this.#looks.shift();
    if (this.#looks.length === 0) this.whenDone();
    if (next instanceof ServingError) throw next;
    return next;
  }

  protected override complaintOf(error: ServingError): string {
    return `refused: ${error.message}`;
  }
}

async function linesOf(...looks: (string | undefined | ServingError)[]): Promise<string[]> {
  const lines: string[] = [];
  const note = (_fields: object, text: string) => void lines.push(text);
  const poll = new ListedLooks({ ...silentLogger, info: note, error: note } as Logger, [...looks, undefined]);
  const done = new Promise<void>((resolve) => (poll.whenDone = resolve));
  await poll.start();
  await done;
  await poll.close();
  return lines;
}

describe("FilePoll", () => {
  const bad = new ServingError("CONFIG_INVALID", "bad");

  it("says what is wrong once, and again after it was mended", async () => {
    assert.deepEqual(await linesOf(bad, bad, "changed", bad), ["refused: bad", "changed", "refused: bad"]);
  });

  it("says it again, too, after the file said what is in force", async () => {
    assert.deepEqual(await linesOf(bad, undefined, bad), ["refused: bad", "refused: bad"]);
  });
});
