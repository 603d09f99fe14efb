import { seededRandom, ServingError } from "@shardserve/core";
import { loadModel } from "@shardserve/engine";
import { hostKernels } from "@shardserve/host-ops";
import { loadOrt } from "@shardserve/native";
import { isUri } from "@shardserve/object-store";
import { newestEpoch, PartitionRows, readDeltaChain, readManifest } from "@shardserve/rowstore";
import { RepositoryFiles } from "@shardserve/shard";
import { defineCommand, type Terminal } from "../command.js";
import { flag, type FlagValues } from "../flags.js";
import { openEpoch, refsOf } from "../roles/versions/epoch-chain.js";
import { withVersionCopy } from "../roles/versions/staged-delta.js";
import { STAGING_FLAGS } from "../roles/versions/staged-export.js";
import { comparePredictions, type PredictionReport } from "./verify-predictions.js";
import { compareRows, REDUCED_ERROR_MAX, type RowsReport } from "./verify-rows.js";

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
