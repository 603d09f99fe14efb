import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { filesUnder, REPO } from "./sources.js";

const DECISIONS = join(REPO, "docs", "decisions");
const FOLDERS = ["packages", "test", "loadtest", "scripts", "docs", "deploy", "protos"];
const IS_READ = /\.(ts|mjs|py|md|proto|ya?ml)$/;
const IS_LEFT_OUT = /\/(dist|node_modules|gen|results)\//;

describe("references to docs", () => {
  const texts = [
    ...FOLDERS.flatMap((folder) => filesUnder(join(REPO, folder))),
    ...["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map((name) => join(REPO, name)),
  ]
    .filter((file) => IS_READ.test(file) && !IS_LEFT_OUT.test(file))
    .map((file) => ({ path: relative(REPO, file), text: readFileSync(file, "utf8") }));

  it("lead to a decision that is there", () => {
    const numbers = new Set(decisionPages().map((name) => name.slice(0, 3)));
    const wrong = texts.flatMap(({ path, text }) =>
      [...text.matchAll(/\bdecisions?[ /](\d{3})\b/g)]
        .filter((match) => !numbers.has(match[1]!))
        .map((match) => `${path}: ${match[0]}`),
    );
    assert.deepEqual(wrong, []);
  });

  it("that name a heading lead to one of that page", () => {
    const wrong = texts.flatMap(({ path, text }) =>
      [...text.matchAll(/\b(architecture|errors|formats|operations|scale)\.md, "([^"]+)"/g)]
        .filter(([, page, heading]) => !headingsOf(join(REPO, "docs", `${page}.md`)).includes(heading!))
        .map(([reference]) => `${path}: ${reference}`),
    );
    assert.deepEqual(wrong, []);
  });

  it("that are links lead to files", () => {
    const wrong = texts
      .filter(({ path }) => path.endsWith(".md"))
      .flatMap(({ path, text }) =>
        [...text.matchAll(/\]\((?!\w+:|#)([^)#\s]+)/g)]
          .filter((match) => !existsSync(join(REPO, dirname(path), match[1]!)))
          .map((match) => `${path}: ${match[1]}`),
      );
    assert.deepEqual(wrong, []);
  });

  it("stand once for each decision, with its title, on the page of all decisions", () => {
    const index = readFileSync(join(DECISIONS, "README.md"), "utf8");
    const wanted = decisionPages().map((name) => {
      const [heading] = readFileSync(join(DECISIONS, name), "utf8").split("\n");
      return `- [${name.slice(0, 3)}](${name})${heading!.slice("# 000".length)}`;
    });
    const listed = index.split("\n").filter((line) => line.startsWith("- "));
    assert.deepEqual(listed.toSorted(), wanted.toSorted());
  });
});

function decisionPages(): string[] {
  return readdirSync(DECISIONS).filter((name) => /^\d{3}-.*\.md$/.test(name));
}

/** Headings, and the bold words that an item of a list begins with. */
function headingsOf(page: string): string[] {
  return [...readFileSync(page, "utf8").matchAll(/^(?:#+ (.*)|- \*\*(.*?)[:.]\*\*.*)$/gm)].map(
    (match) => match[1] ?? match[2]!,
  );
}
