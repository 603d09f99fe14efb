import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filesUnder, packageSources, REPO } from "./sources.js";

/** Where something exported may be used: sources, tests and benchmarks of packages, and what stands beside them. */
const FOLDERS = ["packages", "test", "loadtest", "scripts"];

describe("exports", () => {
  it("every exported constant, function and class is named in another file, be it a test", () => {
    const users = usersOfNames();
    const unused = packageSources().flatMap(({ path, text }) =>
      [...text.matchAll(/^export (?:async )?(?:const|function\*?|abstract class|class) (\w+)/gm)]
        .map((match) => match[1]!)
        .filter((name) => ![...(users.get(name) ?? [])].some((user) => user !== join(REPO, path)))
        .map((name) => `${path}: ${name}`),
    );
    assert.deepEqual(unused, [], "export what others use; what nobody uses is no part of a package");
  });
});

/** Files by the words in them, up to the second: to pass on (`export ... from`) is no use. */
function usersOfNames(): Map<string, Set<string>> {
  const users = new Map<string, Set<string>>();
  for (const file of FOLDERS.flatMap((folder) => filesUnder(join(REPO, folder)))) {
    if (!/\.(ts|mjs)$/.test(file) || /\/(dist|node_modules|gen)\//.test(file)) continue;
    const text = readFileSync(file, "utf8").replace(/^export (?:type )?(?:\{[^}]*\}|\*) from "[^"]+";/gm, "");
    for (const [word] of text.matchAll(/\w+/g)) {
      const files = users.get(word) ?? new Set();
      if (files.size < 2) users.set(word, files.add(file));
    }
  }
  return users;
}
