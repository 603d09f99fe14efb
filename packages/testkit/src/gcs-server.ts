import { existsSync } from "node:fs";
import { join } from "node:path";
import { launch, type LaunchedProcess } from "./child-process.js";
import { freePort } from "./ports.js";
import { CACHE_DIR } from "./repository.js";

/** Where `pip install --target .cache/gcs gcp-storage-emulator` puts it. */
const EMULATOR_DIR = join(CACHE_DIR, "gcs");

/** An emulator of Google Cloud Storage on a free port, with one bucket, `models`. */
export class GcsServer implements AsyncDisposable {
  readonly port: number;
  readonly #process: LaunchedProcess;

  /** @returns undefined where the emulator is not installed; says so */
  static async start(): Promise<GcsServer | undefined> {
    if (!existsSync(join(EMULATOR_DIR, "gcp_storage_emulator"))) {
      console.log("skipped: no emulator; pip install --target .cache/gcs gcp-storage-emulator");
      return undefined;
    }
    const port = await freePort();
    const args = ["start", "--host=127.0.0.1", `--port=${port}`, "--in-memory", "--default-bucket=models"];
    const emulator = launch("python3", {
      args: ["-c", "from gcp_storage_emulator.__main__ import main; import sys; sys.exit(main())", ...args],
      env: { PYTHONPATH: EMULATOR_DIR },
    });
    await emulator.waitUntil(async () => (await fetch(`http://127.0.0.1:${port}/storage/v1/b`)).ok);
    return new GcsServer(port, emulator);
  }

  private constructor(port: number, emulator: LaunchedProcess) {
    this.port = port;
    this.#process = emulator;
  }

  /** What tells Google's client of this server. */
  get environment() {
    return { STORAGE_EMULATOR_HOST: `http://127.0.0.1:${this.port}` } as const;
  }

  /** Keys that begin so, in order; at most a thousand. */
  async keys(prefix: string): Promise<string[]> {
    const place = `http://127.0.0.1:${this.port}/storage/v1/b/models/o?prefix=${encodeURIComponent(prefix)}`;
    const { items = [] } = (await (await fetch(place)).json()) as { readonly items?: readonly { name: string }[] };
    return items.map(({ name }) => name).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop("SIGKILL");
  }
}
