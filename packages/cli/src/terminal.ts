import type { Progress, ProgressTask } from "@shardserve/core";
import { SingleBar } from "cli-progress";

const LINE_EVERY_MS = 2_000;

/** Progress that ends with the command that shows it. */
export interface EndingProgress extends Progress {
  /** Leaves what is not done as it stands: a bar that goes on being drawn keeps the process alive. */
  end(): void;
}

/**
 * Progress for people: a bar where the stream is a terminal, a line every two seconds elsewhere. Both go to standard
 * error, so that standard output holds results only.
 */
export function progressOn(stream: NodeJS.WriteStream, nowMs: () => number): EndingProgress {
  const bars = new Set<SingleBar>();
  return {
    task: (label, total, unit) =>
      stream.isTTY ? bar(stream, bars, label, total, unit) : lines(stream, nowMs, label, total, unit),
    end: () => {
      for (const view of bars) view.stop();
      bars.clear();
    },
  };
}

function bar(
  stream: NodeJS.WriteStream,
  bars: Set<SingleBar>,
  label: string,
  total: number,
  unit: string,
): ProgressTask {
  const view = new SingleBar({
    stream,
    linewrap: true, // a second Ctrl-C ends the process at once, and the terminal must be as it was
    clearOnComplete: false,
    fps: 8,
    format: (options, params) => {
      const filled = Math.round(params.progress * 28);
      const eta = params.value > 0 && params.value < params.total ? `, ${String(params.eta)} s left` : "";
      return `${label.padEnd(22)} [${"=".repeat(filled)}${" ".repeat(28 - filled)}] ${amount(params.value, unit)} of ${amount(params.total, unit)}${eta}`;
    },
  });
  view.start(total, 0);
  bars.add(view);
  const done = () => {
    if (bars.delete(view)) view.stop();
  };
  return { advance: (by) => view.increment(by), done };
}

function lines(
  stream: NodeJS.WriteStream,
  nowMs: () => number,
  label: string,
  total: number,
  unit: string,
): ProgressTask {
  const startMs = nowMs();
  let done = 0;
  let printedMs = startMs;
  return {
    advance(by) {
      done += by;
      if (nowMs() - printedMs < LINE_EVERY_MS) return;
      printedMs = nowMs();
      stream.write(
        `${label}: ${amount(done, unit)} of ${amount(total, unit)} (${Math.floor((100 * done) / Math.max(total, 1))} %)\n`,
      );
    },
    done: once(() =>
      stream.write(`${label}: done, ${amount(done, unit)} in ${((nowMs() - startMs) / 1000).toFixed(1)} s\n`),
    ),
  };
}

function once(action: () => void): () => void {
  let called = false;
  return () => {
    if (called) return;
    called = true;
    action();
  };
}

/** 1536 bytes -> "1.5 KiB"; other units as a plain count. */
export function amount(value: number, unit: string): string {
  if (unit !== "bytes") return `${value.toLocaleString("en-US")} ${unit}`;
  const power = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(value, 1)) / 10)));
  return `${power === 0 ? value : (value / 2 ** (10 * power)).toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][power]}`;
}

/** Columns padded to their widest cell; numbers to the right. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, String(cell).length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) =>
          typeof cell === "number" ? String(cell).padStart(widths[i]!) : String(cell).padEnd(widths[i]!),
        )
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
