import { ServingError } from "@shardserve/core";
import { type RunResult, totalReport } from "@shardserve/servable";
import type { Tensor } from "@shardserve/tensor";
import { joinRows, sliceRows } from "./batch-plan.js";
import type { BatchRequest, BatchResult } from "./member.js";
import { fillRows } from "./pad-rows.js";

/** Requests and results cut by rows, filled up with rows, and put together again. Pure functions. */

/** The smallest allowed number of rows that holds `rows`; `rows` where every number is, or none is large enough. */
export function allowedSize(allowed: readonly number[], rows: number): number {
  return allowed.find((size) => size >= rows) ?? rows;
}

/** Inputs with copies of row `row` up to `size` rows. */
export function filled(inputs: ReadonlyMap<string, Tensor>, row: number, size: number): Map<string, Tensor> {
  return new Map([...inputs].map(([alias, value]) => [alias, fillRows(value, row, size)]));
}

/** Drops the rows that were only fill; an output of another length stays as it is. */
export function withoutFill(result: RunResult, size: number, rows: number): RunResult {
  const outputs = new Map<string, Tensor>();
  for (const [alias, value] of result.outputs) {
    outputs.set(alias, value.shape[0] === size ? sliceRows(value, 0, rows) : value);
  }
  return { ...result, outputs };
}

/** A request in pieces of at most `rowsMax` rows. */
export function splitRequest(request: BatchRequest, rows: number, rowsMax: number): BatchRequest[] {
  return Array.from({ length: Math.ceil(rows / rowsMax) }, (_, i) => {
    const [start, end] = [i * rowsMax, Math.min((i + 1) * rowsMax, rows)];
    const inputs = new Map([...request.inputs].map(([alias, value]) => [alias, sliceRows(value, start, end)]));
    return { ...request, inputs };
  });
}

/** The answer to a request that ran in pieces. */
export function joinResults(parts: readonly BatchResult[], rows: number): BatchResult {
  const outputs = new Map<string, Tensor>();
  for (const alias of parts[0]!.outputs.keys()) {
    const pieces = parts.map((part) => part.outputs.get(alias)!);
    const [inner] = pieces.map(innerShape);
    if (pieces.some((piece) => piece.shape.length === 0 || innerShape(piece) !== inner)) throw wrongOutputRows();
    const joined = joinRows(pieces);
    if (joined.shape[0] !== rows) throw wrongOutputRows();
    outputs.set(alias, joined);
  }
  const sum = (of: (part: BatchResult) => number) => parts.reduce((total, part) => total + of(part), 0);
  const report = totalReport(parts.map((part) => part.report));
  return {
    outputs,
    ...(report && { report }),
    timings: {
      hostMs: sum((part) => part.timings.hostMs),
      lookupMs: sum((part) => part.timings.lookupMs),
      deviceMs: sum((part) => part.timings.deviceMs),
    },
    queueMs: Math.max(...parts.map((part) => part.queueMs)),
  };
}

/** The outputs of a joined run, cut to each member's rows. */
export function splitResult(
  joined: RunResult,
  members: readonly { readonly rows: number }[],
): ReadonlyMap<string, Tensor>[] {
  let start = 0;
  return members.map((member) => {
    const end = start + member.rows;
    const outputs = new Map<string, Tensor>();
    for (const [alias, value] of joined.outputs) outputs.set(alias, sliceRows(value, start, end));
    start = end;
    return outputs;
  });
}

export function wrongOutputRows(): ServingError {
  return new ServingError(
    "FAILED_PRECONDITION",
    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors",
  );
}

function innerShape({ shape }: Tensor): string {
  return shape.slice(1).join(",");
}
