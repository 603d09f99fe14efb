import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** Where the files of a SavedModel or an exported version lie, below the version directory. */
const FOLDERS = ["", "variables", "assets", "partitions"];
/** Files looked at per folder: a version may have thousands of partitions, and is looked at every second. */
const FILES_MAX = 64;

/**
 * Text that changes when the files of a version directory are replaced, added to or grow: names, sizes and times.
 *
 * @throws what the file system throws when the directory cannot be read
 */
export async function fileFingerprint(dir: string): Promise<string> {
  const parts: string[] = [];
  for (const folder of FOLDERS) {
    const entries = await readdir(join(dir, folder), { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
      if (folder !== "" && error.code === "ENOENT") return [] as Dirent[]; // not every version has every folder
      throw error;
    });
    const files = entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
    parts.push(`${folder}/${files.length}`);
    for (const name of files.sort().slice(0, FILES_MAX)) {
      const { size, mtimeMs, ino } = await stat(join(dir, folder, name));
      parts.push(`${name}:${size}:${mtimeMs}:${ino}`);
    }
  }
  return parts.join("\n");
}
