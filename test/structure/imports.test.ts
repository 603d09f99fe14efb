import assert from "node:assert/strict";
import { FLOORS, filesUnder, packageSources, REPO } from "./sources.js";
import { readFileSync } from "node:fs";
import { join } from "node:path";

describe("imports between packages", () => {
  const floorOf = new Map(FLOORS.flatMap((names, floor) => names.map((name) => [name, floor] as const)));

  it("every package stands on a floor", () => {
    for (const { pkg } of packageSources())
      assert.ok(pkg === "testkit" || floorOf.has(pkg), `packages/${pkg} is on no floor`);
  });

  it("go down only, by package name, and only where package.json and tsconfig.json declare them", () => {
    const wrong: string[] = [];
    for (const { pkg, path, text } of packageSources()) {
      const dependencies = dependenciesOf(pkg);
      for (const target of importsOf(text)) {
        if (target.startsWith(".")) {
          if (join(path, "..", target).startsWith(join("packages", pkg, "src"))) continue;
          wrong.push(`${path} reaches out of its package: ${target}`);
        } else if (target.startsWith("@shardserve/")) {
          const sibling = target.slice("@shardserve/".length);
          if (!dependencies[target]) wrong.push(`${path}: ${target} is not declared`);
          if ((floorOf.get(sibling) ?? Infinity) >= floorOf.get(pkg)!)
            wrong.push(`${path} imports up or sideways: ${target}`);
        } else if (!target.startsWith("node:")) {
          const name = target
            .split("/")
            .slice(0, target.startsWith("@") ? 2 : 1)
            .join("/");
          if (!dependencies[name]) wrong.push(`${path}: ${name} is not declared`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });

  it("are of all that package.json declares", () => {
    const unused: string[] = [];
    for (const pkg of new Set(packageSources().map((source) => source.pkg))) {
      const texts = filesUnder(join(REPO, "packages", pkg, "src")).map((file) => readFileSync(file, "utf8"));
      for (const name of Object.keys(dependenciesOf(pkg)))
        if (!texts.some((text) => text.includes(`"${name}`))) unused.push(`packages/${pkg}: ${name}`);
    }
    assert.deepEqual(unused, []);
  });
});

function dependenciesOf(pkg: string): Readonly<Record<string, string>> {
  const manifest = JSON.parse(readFileSync(join(REPO, "packages", pkg, "package.json"), "utf8")) as {
    readonly dependencies?: Readonly<Record<string, string>>;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  };
  return { ...manifest.dependencies, ...manifest.optionalDependencies };
}

function importsOf(text: string): string[] {
  return [
    ...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gms),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!);
}
