// Removes every build output, so that a build cannot lean on what an older one left behind.
import { readdirSync, rmSync } from "node:fs";

const roots = ["loadtest", "test", ...readdirSync("packages").map((name) => `packages/${name}`)];
for (const root of roots) rmSync(`${root}/dist`, { recursive: true, force: true });
