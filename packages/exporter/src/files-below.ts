import { readdir, stat } from "node:fs/promises";
import { join, relative, sep } from "node:path";

/** A file below a directory. */
export interface LocalFile {
  /** Relative to the directory, with "/" between folders. */
  readonly path: string;
  readonly bytes: number;
}

/** Regular files below a directory, by path. */
export async function filesBelow(dir: string): Promise<LocalFile[]> {
  const files: LocalFile[] = [];
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.push({ path: relative(dir, path).split(sep).join("/"), bytes: (await stat(path)).size });
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
