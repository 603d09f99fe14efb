import { type Random, seededRandom, ServingError, systemClock } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { openSourceTensors, type SourceTensors } from "@shardserve/exporter";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { isUri } from "@shardserve/object-store";
import { newestEpoch, PartitionRows, readDeltaChain, readManifest, type TableInfo } from "@shardserve/rowstore";
import type { Model, SignatureInfo } from "@shardserve/servable";
import { RepositoryFiles } from "@shardserve/shard";
import {
  bytesOf,
  elementCount,
  isNumeric,
  newData,
  type NumericData,
  StringColumn,
  strings,
  type Tensor,
  tensor,
} from "@shardserve/tensor";
import { parseAddress } from "@shardserve/transport";
import { PredictionClient } from "../clients.js";
import { defineCommand, type Terminal } from "../command.js";
import { flag, type FlagValues } from "../flags.js";
import { openEpoch, refsOf } from "../roles/versions/epoch-chain.js";
import { withVersionCopy } from "../roles/versions/staged-delta.js";
import { STAGING_FLAGS } from "../roles/versions/staged-export.js";

/** Reduced rows may be off by this fraction of the largest magnitude in the sample: the bound of the export's parity check. */
const REDUCED_ERROR_MAX = 0.01;
/** Rows of the made-up prediction. */
const BATCH = 3;

interface RowsReport {
  readonly table: string;
  readonly rowsCompared: number;
  readonly maxAbsError: number;
}

interface PredictionReport {
  readonly signature: string;
  /** "files" or the server's address. */
  readonly answeredBy: string;
  readonly isEqual: boolean;
  readonly outputs: readonly string[];
}

const FLAGS = {
  epoch: flag.int(
    "delta of the version that the model is compared with; -1 = the newest",
    -1,
    Number.MAX_SAFE_INTEGER,
    -1,
  ),
  rows: flag.int("rows compared per table", 1, 10_000_000, 10_000),
  seed: flag.int("chooses the rows and the inputs", 0, 2 ** 31, 1),
  address: flag.text("a server of the exported version, which is then asked as well", "HOST:PORT", ""),
  model: flag.text("name of the model there", "NAME", "default"),
  savedModelTags: flag.list("tags of the meta graph", "TAGS", ["serve"]),
  json: flag.bool("print the report as JSON"),
  ...STAGING_FLAGS,
};

export const verify = defineCommand({
  name: "verify",
  summary:
    "Compares an exported version with its SavedModel or ONNX model: checksums, a sample of rows, and a prediction per signature",
  usage: "MODEL_DIR VERSION_DIR [--address=HOST:PORT --model=NAME]",
  examples: [
    "shardserve verify models/dlrm/1 repository/dlrm/1",
    "shardserve verify models/dlrm/1 s3://bucket/repository/dlrm/1 --staging-dir=/mnt/disk",
    "shardserve verify models/dlrm/1 repository/dlrm/1 --rows=100000 --address=localhost:8500 --model=dlrm",
  ],
  flags: FLAGS,
  async run([source, version, ...rest], flags, terminal) {
    if (source === undefined || version === undefined || rest.length > 0) {
      throw new ServingError(
        "CONFIG_INVALID",
        "verify: give a SavedModel or an ONNX model and the version directory exported from it; see --help",
      );
    }
    if (!isUri(version)) return verifyVersion(source, version, flags, terminal);
    await withVersionCopy(version, flags.stagingDir, terminal, (dir) => verifyVersion(source, dir, flags, terminal));
  },
});

async function verifyVersion(
  source: string,
  version: string,
  flags: Readonly<FlagValues<typeof FLAGS>>,
  terminal: Terminal,
): Promise<void> {
  const stored = await readManifest(version);
  if (!stored)
    throw new ServingError("MANIFEST_INVALID", `${version} has no shardserve.manifest; write one with shard-export`);
  const { signal, logger } = terminal;
  const random = seededRandom(flags.seed);
  const chain = await readDeltaChain(version, stored, flags.epoch < 0 ? await newestEpoch(version) : flags.epoch);
  const { denseDir, epoch } = await openEpoch(new RepositoryFiles(version), stored, refsOf(chain), signal);
  const rowSource = await PartitionRows.open(version, stored.manifest, { signal, chain }); // verifies every block
  const compared = epoch === 0 ? version : `${version}, epoch ${epoch}`; // the newest, where nobody asked for another
  const rows = await compareRows(source, rowSource, { compared, count: flags.rows, random });
  const common = { ort: loadOrt(), tags: flags.savedModelTags, kernels: hostKernels, logger, signal };
  const original = await loadModel({ ...common, dir: source });
  const exported = await loadModel({ ...common, dir: denseDir, rowSource });
  const tolerance = stored.manifest.tables.every(({ rowDtype }) => rowDtype === "same") ? 0 : REDUCED_ERROR_MAX;
  const predictions = await comparePredictions(original, exported, flags, random, tolerance);
  await original.close();
  await exported.close();
  const deltas = chain.map(({ manifest }) => manifest.epoch);
  printReport(
    { partitionFiles: stored.manifest.partitionCount, epoch, deltas, rows, predictions },
    flags.json,
    terminal,
  );
  if (predictions.some(({ isEqual }) => !isEqual))
    throw new ServingError("DIGEST_MISMATCH", `${compared} answers otherwise than ${source}`);
}

/**
 * @param compared  version and epoch that the rows are of, for the error
 * @throws ServingError DIGEST_MISMATCH naming those, table and row at the first row that differs
 */
async function compareRows(
  source: string,
  exported: PartitionRows,
  { compared, count, random }: { readonly compared: string; readonly count: number; readonly random: Random },
): Promise<RowsReport[]> {
  await using tensors = await openSourceTensors(source);
  const reports: RowsReport[] = [];
  for (const [table, info] of exported.tables.entries()) {
    const ids = BigInt64Array.from({ length: Math.min(count, info.rows) }, (_, i) =>
      BigInt(info.rows <= count ? i : Math.floor(random.next() * info.rows)),
    );
    const lease = await exported.lookup([{ table, ids }]);
    const actual = lease.batches[0]!.rows.toTensor().data as NumericData;
    lease.release();
    reports.push({
      table: info.name,
      rowsCompared: ids.length,
      maxAbsError: await compareTable(tensors, { info, compared }, ids, actual),
    });
  }
  return reports;
}

async function compareTable(
  tensors: SourceTensors,
  { info, compared }: { readonly info: TableInfo; readonly compared: string },
  ids: BigInt64Array,
  actual: NumericData,
): Promise<number> {
  const differs = (id: bigint, why: string): ServingError =>
    new ServingError("DIGEST_MISMATCH", `row ${id} of ${info.name} in ${compared}: ${why}`, {
      details: { table: info.checkpointKey, id: String(id) },
    });
  const rowBytes = bytesOf(actual).length / Math.max(1, ids.length);
  let maxAbsError = 0;
  for (let i = 0; i < ids.length; i++) {
    const expected = await tensors.readRange(info.checkpointKey, Number(ids[i]!) * rowBytes, rowBytes);
    const row = bytesOf(actual).subarray(i * rowBytes, (i + 1) * rowBytes);
    if (info.rowDtype === "same") {
      if (!Buffer.from(expected).equals(row)) throw differs(ids[i]!, "its bytes differ");
      continue;
    }
    const floats = new Float32Array(expected.slice().buffer);
    const magnitude = floats.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    for (let j = 0; j < floats.length; j++) {
      const error = Math.abs(floats[j]! - Number(actual[i * info.dim + j]!));
      if (!(error <= REDUCED_ERROR_MAX * magnitude)) throw differs(ids[i]!, `element ${j} is off by ${error}`);
      maxAbsError = Math.max(maxAbsError, error);
    }
  }
  return maxAbsError;
}

async function comparePredictions(
  original: Model,
  exported: Model,
  flags: { readonly address: string; readonly model: string },
  random: Random,
  tolerance: number,
): Promise<PredictionReport[]> {
  const reports: PredictionReport[] = [];
  using client =
    flags.address === ""
      ? undefined
      : new PredictionClient(parseAddress(flags.address), 60_000, () => systemClock.wallMs());
  for (const [name, signature] of original.signatures) {
    const inputs = madeUpInputs(signature, random);
    const expected = await answer(() => original.run(name, inputs, {}).then(({ outputs }) => outputs));
    const compare = async (answeredBy: string, run: () => Promise<ReadonlyMap<string, Tensor>>) => {
      const actual = await answer(run);
      reports.push({
        signature: name,
        answeredBy,
        isEqual: isSameAnswer(expected, actual, tolerance),
        outputs: describeAnswer(actual),
      });
    };
    await compare("files", () => exported.run(name, inputs, {}).then(({ outputs }) => outputs));
    if (client)
      await compare(flags.address, () => client.predict(flags.model, name, inputs).then(({ outputs }) => outputs));
  }
  return reports;
}

/** An answer, or the error that stands for it: a model may refuse made-up inputs, and then both must. */
type Answer = ReadonlyMap<string, Tensor> | ServingError;

async function answer(run: () => Promise<ReadonlyMap<string, Tensor>>): Promise<Answer> {
  return run().catch((error: unknown) => ServingError.from(error));
}

function isSameAnswer(expected: Answer, actual: Answer, tolerance: number): boolean {
  if (expected instanceof ServingError || actual instanceof ServingError) {
    return expected instanceof ServingError && actual instanceof ServingError && expected.status === actual.status;
  }
  return [...expected].every(([alias, value]) => {
    const other = actual.get(alias);
    if (!other || other.dtype !== value.dtype || other.shape.join() !== value.shape.join()) return false;
    if (value.data instanceof StringColumn) {
      return other.data instanceof StringColumn && value.data.toTexts().join("\0") === other.data.toTexts().join("\0");
    }
    const a = value.data as NumericData;
    const b = other.data as NumericData;
    if (tolerance === 0) return Buffer.from(bytesOf(a)).equals(bytesOf(b));
    const magnitude = Math.max(
      1,
      ...Array.from(a as ArrayLike<number | bigint>, (element) => Math.abs(Number(element))).filter(Number.isFinite),
    );
    return Array.from(a as ArrayLike<number | bigint>, Number).every(
      (element, i) => Object.is(element, Number(b[i])) || Math.abs(element - Number(b[i])) <= tolerance * magnitude,
    );
  });
}

function describeAnswer(found: Answer): string[] {
  if (found instanceof ServingError) return [`${found.code}: ${found.message}`];
  return [...found].map(([alias, { dtype, shape }]) => `${alias}: ${dtype}[${shape.join(",")}]`);
}

/** Small non-negative numbers, which most features and ids take, and short texts; three examples. */
function madeUpInputs(signature: SignatureInfo, random: Random): Map<string, Tensor> {
  return new Map(
    [...signature.inputs].map(([alias, { dtype, shape }]): [string, Tensor] => {
      const filled = (shape ?? [-1]).map((dim) => (dim < 0 ? BATCH : dim));
      const count = elementCount(filled);
      if (!isNumeric(dtype))
        return [
          alias,
          strings(
            filled,
            Array.from({ length: count }, () => String(random.uint32() % 10)),
          ),
        ];
      const data = newData(dtype, count);
      const isFraction = dtype === "float32" || dtype === "float64";
      for (let i = 0; i < count; i++) {
        const value = isFraction ? random.next() : random.uint32() % 2;
        data[i] = typeof data[i] === "bigint" ? BigInt(value) : value;
      }
      return [alias, tensor(dtype, filled, data)];
    }),
  );
}

function printReport(
  report: {
    readonly partitionFiles: number;
    readonly epoch: number;
    /** Epochs whose deltas were verified. */
    readonly deltas: readonly number[];
    readonly rows: readonly RowsReport[];
    readonly predictions: readonly PredictionReport[];
  },
  isJson: boolean,
  terminal: Terminal,
): void {
  if (isJson) return terminal.print(JSON.stringify(report, undefined, 2));
  terminal.print(`${report.partitionFiles} partition files match their checksums and the manifest`);
  if (report.epoch > 0)
    terminal.print(`epoch ${report.epoch}: deltas ${report.deltas.join(", ")} match theirs and follow one another`);
  for (const { table, rowsCompared, maxAbsError } of report.rows) {
    terminal.print(
      `${table}: ${rowsCompared} rows ${maxAbsError === 0 ? "equal the model's" : `differ from the model's by at most ${maxAbsError.toPrecision(3)}`}`,
    );
  }
  for (const { signature, answeredBy, isEqual, outputs } of report.predictions) {
    terminal.print(`${signature} from ${answeredBy}: ${isEqual ? "equal" : "DIFFERENT"} (${outputs.join(", ")})`);
  }
}
