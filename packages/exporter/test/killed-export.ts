/** A process that exports and dies by SIGKILL once so many bytes are done: `node killed-export.js SOURCE OUT BYTES`. */
import { runExport } from "../src/index.js";
import { plan } from "./models.js";

const [source, out, bytes] = process.argv.slice(2) as [string, string, string];
let done = 0;
await runExport(await plan(source), out, {
  writer: "test",
  chunkBytes: 256 * 1024,
  journalEveryBytes: 1024 * 1024,
  progress: {
    task: () => ({
      advance(by) {
        done += by;
        if (done >= Number(bytes)) process.kill(process.pid, "SIGKILL");
      },
      done() {},
    }),
  },
});
