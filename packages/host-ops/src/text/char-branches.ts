/**
 * Patterns that are alternations of single characters or of runs of them, such as "\s+|[!-/]|[\p{P}]": what tokenizers split
 * at. Which branch takes a character is asked of RE2 once and then known, so that texts are walked without a regular expression.
 */
import type { RE2JS } from "re2js";
import { charSize, codePointAt } from "../call/utf8.js";
import { compilePattern } from "../strings/string-regex.js";

/** One alternative: an atom that takes one character, once or "+". */
const ATOM = String.raw`\[\^?\]?(?:\[:\^?\w+:\]|\\[\s\S]|[^\]\\])*\]|\\[pP](?:\{[^}]*\}|\w)|\\x(?:\{[0-9a-fA-F]+\}|[0-9a-fA-F]{2})|\\[sSdDwWntrfv]|\\[^\w\s]|[^\\.^$*+?()[{|\]}]`;
const BRANCH = new RegExp(`(${ATOM})(\\+?)(?:\\||$)`, "uy");
const UNASKED = 255;
const NONE = 254;
const PAGE_CODES = 256;
/** What is known of a pattern lives as long as its compiled form. */
const known = new WeakMap<RE2JS, CharBranches | undefined>();

export class CharBranches {
  readonly #atoms: readonly RE2JS[];
  readonly #isRun: readonly boolean[];
  /** By code point / 256, lazily: the branch of each of these code points, {@link NONE} or {@link UNASKED}. */
  readonly #pages: (Uint8Array | undefined)[] = [];

  private constructor(atoms: readonly RE2JS[], isRun: readonly boolean[]) {
    this.#atoms = atoms;
    this.#isRun = isRun;
  }

  /**
   * Reads a pattern, which may be one group as a whole; undefined when it is anything else.
   *
   * @throws ServingError INVALID_ARGUMENT for what RE2 does not take
   */
  static of(pattern: string): CharBranches | undefined {
    const re = compilePattern(pattern);
    if (!known.has(re)) known.set(re, CharBranches.#parse(pattern));
    return known.get(re);
  }

  static #parse(pattern: string): CharBranches | undefined {
    const body = pattern.startsWith("(") && pattern.endsWith(")") ? pattern.slice(1, -1) : pattern;
    const atoms: RE2JS[] = [];
    const isRun: boolean[] = [];
    BRANCH.lastIndex = 0;
    while (BRANCH.lastIndex < body.length) {
      const match = BRANCH.exec(body);
      if (!match) return undefined;
      atoms.push(compilePattern(match[1]!));
      isRun.push(match[2] === "+");
    }
    const endsEmpty = /(^|[^\\])(\\\\)*\|$/.test(body);
    return atoms.length > 0 && atoms.length < NONE && !endsEmpty ? new CharBranches(atoms, isRun) : undefined;
  }

  /** The branch that takes the character of `size` bytes at `at`, the first one that does; -1 for none and malformed bytes. */
  branchAt(bytes: Uint8Array, at: number, size: number): number {
    if (size < 0) return -1;
    const code = codePointAt(bytes, at, size);
    const page = (this.#pages[code >> 8] ??= new Uint8Array(PAGE_CODES).fill(UNASKED));
    const slot = code & 0xff;
    if (page[slot] === UNASKED) {
      const branch = this.#ask(bytes.subarray(at, at + size));
      page[slot] = branch < 0 ? NONE : branch;
    }
    return page[slot] === NONE ? -1 : page[slot]!;
  }

  #ask(char: Uint8Array): number {
    return this.#atoms.findIndex((atom) => atom.testExact(char));
  }

  /** Where a match that starts with the character at `at` ends, `branch` being the one that takes it. */
  endOf(branch: number, bytes: Uint8Array, at: number, size: number): number {
    let end = at + size;
    if (!this.#isRun[branch]) return end;
    while (end < bytes.length) {
      const next = charSize(bytes, end, bytes.length);
      if (next < 0 || !this.#takes(branch, bytes, end, next)) break;
      end += next;
    }
    return end;
  }

  /** A character that an earlier branch takes may belong to this one, too. */
  #takes(branch: number, bytes: Uint8Array, at: number, size: number): boolean {
    const first = this.branchAt(bytes, at, size);
    if (first === branch) return true;
    return first >= 0 && first < branch && this.#atoms[branch]!.testExact(bytes.subarray(at, at + size));
  }
}
