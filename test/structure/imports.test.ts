import assert from "node:assert/strict";
import { FLOORS, packageSources, REPO } from "./sources.js";
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
      const manifest = JSON.parse(readFileSync(join(REPO, "packages", pkg, "package.json"), "utf8")) as {
        dependencies?: Record<string, string>;
      };
      for (const target of importsOf(text)) {
        if (target.startsWith(".")) {
          if (join(path, "..", target).startsWith(join("packages", pkg, "src"))) continue;
          wrong.push(`${path} reaches out of its package: ${target}`);
        } else if (target.startsWith("@shardserve/")) {
          const sibling = target.slice("@shardserve/".length);
          if (!manifest.dependencies?.[target]) wrong.push(`${path}: ${target} is not declared`);
          if ((floorOf.get(sibling) ?? Infinity) >= floorOf.get(pkg)!)
            wrong.push(`${path} imports up or sideways: ${target}`);
        } else if (!target.startsWith("node:")) {
          const name = target
            .split("/")
            .slice(0, target.startsWith("@") ? 2 : 1)
            .join("/");
          if (!manifest.dependencies?.[name]) wrong.push(`${path}: ${name} is not declared`);
        }
      }
    }
    assert.deepEqual(wrong, []);
  });
});

function importsOf(text: string): string[] {
  return [
    ...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gms),
  ].map((match) => (match[1] ?? match[2] ?? match[3])!);
}
