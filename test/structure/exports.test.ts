import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { FLOORS, filesUnder, packageSources, REPO } from "./sources.js";

/** Where something exported may be used: sources, tests and benchmarks of packages, and what stands beside them. */
const FOLDERS = ["packages", "test", "loadtest", "scripts"];

/** The declaration of something exported that is there when the program runs. */
const VALUE = /^export (?:async )?(?:const|function\*?|abstract class|class) (\w+)/gm;

describe("exports", () => {
  it("every exported constant, function and class is named in another file, be it a test", () => {
    const users = usersOfNames();
    const unused = packageSources().flatMap(({ path, text }) =>
      [...text.matchAll(VALUE)]
        .map((match) => match[1]!)
        .filter((name) => ![...(users.get(name) ?? [])].some((user) => user !== path))
        .map((name) => `${path}: ${name}`),
    );
    assert.deepEqual(unused, [], "export what others use; what nobody uses is no part of a package");
  });

  it("every constant, function and class that an index.ts passes on is imported through it, be it by a test", () => {
    const imported = importsThroughIndexes();
    const packages = FLOORS.flat().filter((pkg) => pkg !== "api" && pkg !== "simulator"); // generated; a program
    const unused = packages.flatMap((pkg) =>
      valuesOfIndex(pkg)
        .filter((name) => !imported.has(`${pkg} ${name}`))
        .map((name) => `packages/${pkg}/src/index.ts: ${name}`),
    );
    assert.deepEqual(unused, [], "a package promises what its index.ts names; the rest is free to change");
  });
});

/** Names of the values, types left out, that a package's index.ts passes on. */
function valuesOfIndex(pkg: string): string[] {
  const folder = join(REPO, "packages", pkg, "src");
  const index = readFileSync(join(folder, "index.ts"), "utf8");
  const listed = [...index.matchAll(/^export \{([^}]*)\} from/gm)].flatMap((match) => namesIn(match[1]!));
  const starred = [...index.matchAll(/^export \* from "\.\/(.*)\.js"/gm)].flatMap((match) =>
    [...readFileSync(join(folder, `${match[1]}.ts`), "utf8").matchAll(VALUE)].map((found) => found[1]!),
  );
  return [...listed, ...starred];
}

/** "package name" of what is imported, be it a class for its type, by a package's name, or by its own tests and benchmarks from its index.ts. */
function importsThroughIndexes(): Set<string> {
  const imported = new Set<string>();
  for (const { path, text } of sourcesOfUsers()) {
    const own = /^packages\/([\w-]+)\/(?!src\/)/.exec(path)?.[1];
    for (const [, names, target] of text.matchAll(/^(?:import|export) (?:type )?\{([^}]*)\} from "([^"]+)"/gm)) {
      const pkg = target!.startsWith("@shardserve/") ? target!.slice("@shardserve/".length) : undefined;
      const from = pkg ?? (target!.endsWith("/src/index.js") ? own : undefined);
      if (from !== undefined)
        for (const name of namesIn(names!.replaceAll("type ", ""))) imported.add(`${from} ${name}`);
    }
  }
  return imported;
}

/** Of `a, type B, c as d`: a and c. */
function namesIn(list: string): string[] {
  const items = list.split(",").map((item) => item.trim());
  return items.filter((item) => item !== "" && !item.startsWith("type ")).map((item) => item.split(" as ")[0]!);
}

/** Files by the words in them, up to the second: to pass on (`export ... from`) is no use. */
function usersOfNames(): Map<string, Set<string>> {
  const users = new Map<string, Set<string>>();
  for (const { path, text } of sourcesOfUsers()) {
    const used = text.replace(/^export (?:type )?(?:\{[^}]*\}|\*) from "[^"]+";/gm, "");
    for (const [word] of used.matchAll(/\w+/g)) {
      const files = users.get(word) ?? new Set();
      if (files.size < 2) users.set(word, files.add(path));
    }
  }
  return users;
}

function sourcesOfUsers(): { readonly path: string; readonly text: string }[] {
  return FOLDERS.flatMap((folder) => filesUnder(join(REPO, folder)))
    .filter((file) => /\.(ts|mjs)$/.test(file) && !/\/(dist|node_modules|gen)\//.test(file))
    .map((file) => ({ path: relative(REPO, file), text: readFileSync(file, "utf8") }));
}
