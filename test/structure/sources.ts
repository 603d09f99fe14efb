import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root, from test/dist/structure. */
export const REPO = fileURLToPath(new URL("../../..", import.meta.url));

/** Packages by floor; a package imports only from floors below its own (docs/architecture.md). */
export const FLOORS: readonly (readonly string[])[] = [
  ["core"],
  ["tensor", "api"],
  ["native", "savedmodel", "placement", "transport", "object-store"],
  ["graph", "rowstore", "registry", "servable"],
  ["onnx", "host-ops"],
  ["engine", "lookup", "exporter"],
  ["shard", "model-server", "controller"],
  ["cli", "simulator"],
];

export interface Source {
  readonly pkg: string;
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

/** Hand-written sources of all packages; generated code and tests left out. */
export function packageSources(): Source[] {
  return readdirSync(join(REPO, "packages")).flatMap((pkg) =>
    filesUnder(join(REPO, "packages", pkg, "src"))
      .filter((file) => file.endsWith(".ts") && !file.includes("/gen/"))
      .map((file) => ({ pkg, path: relative(REPO, file), text: readFileSync(file, "utf8") })),
  );
}

export function filesUnder(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesUnder(path) : [path];
  });
}
