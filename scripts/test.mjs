// Runs the suites one after another: `npm test`, or `npm run test:only -- cluster` for those whose name contains a word.
// Makes sure first that the real etcd and Redis that the tests start are there.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { ensureServices } from "../packages/testkit/dist/src/index.js";

const filter = process.argv[2] ?? "";
const suites = [
  ...readdirSync("packages").map((name) => [`packages/${name}`, `packages/${name}/dist/test`]),
  ...["structure", "conformance", "cluster", "chaos", "readme"].map((name) => [`test/${name}`, `test/dist/${name}`]),
].filter(([name, folder]) => name.includes(filter) && existsSync(folder));

if (suites.length === 0) {
  console.error(`no suite's name contains "${filter}"; is the project built?`);
  process.exit(2);
}
ensureServices();

const failed = [];
for (const [name, folder] of suites) {
  console.log(`\n== ${name}`);
  const { status, signal } = spawnSync(
    process.execPath,
    ["--enable-source-maps", "node_modules/mocha/bin/mocha.js", "--recursive", `${folder}/**/*.test.js`],
    { stdio: "inherit", timeout: 20 * 60_000, env: { UV_THREADPOOL_SIZE: "8", ...process.env } },
  );
  if (status !== 0) failed.push(`${name} (${signal ?? `exit ${status}`})`);
}
console.log(failed.length === 0 ? `\n${suites.length} suites passed` : `\nfailed: ${failed.join(", ")}`);
process.exit(failed.length === 0 ? 0 : 1);
