import { ServingError } from "@shardserve/core";

export type TokenKind = "name" | "number" | "string" | "symbol" | "end";

export interface Token {
  readonly kind: TokenKind;
  /** As written; of a string: without its quotes, escapes still in place. */
  readonly text: string;
  /** Offset in the input. */
  readonly at: number;
}

const SPACE = /(?:[ \t\r\n\v\f]|#[^\n]*)*/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?/y;
const STRING = /"((?:[^"\\\n]|\\[^\n])*)"|'((?:[^'\\\n]|\\[^\n])*)'/y;
const SYMBOLS = "{}<>[]:,;-";

/** Cuts protobuf's text format into tokens, one ahead. Comments run from # to the end of the line. */
export class TextScanner {
  readonly #text: string;
  readonly #where: string;
  #offset = 0;
  #token: Token;

  /** @param where  what is read, for messages: a file's name */
  constructor(text: string, where: string) {
    this.#text = text;
    this.#where = where;
    this.#token = this.#scan();
  }

  /** The token that `next` would return. */
  get peek(): Token {
    return this.#token;
  }

  next(): Token {
    const token = this.#token;
    this.#token = this.#scan();
    return token;
  }

  /** Takes the symbol if it comes next. */
  accept(symbol: string): boolean {
    if (this.#token.kind !== "symbol" || this.#token.text !== symbol) return false;
    this.next();
    return true;
  }

  /** @throws ServingError CONFIG_INVALID unless the symbol comes next */
  expect(symbol: string): void {
    if (!this.accept(symbol)) throw this.error(`expected "${symbol}", found ${describe(this.#token)}`);
  }

  /** An error at a token, by default the next one, with its line and column (both from 1). */
  error(message: string, at = this.#token.at): ServingError {
    const before = this.#text.slice(0, at);
    const line = before.split("\n").length;
    const column = at - before.lastIndexOf("\n");
    return new ServingError("CONFIG_INVALID", `${this.#where}:${line}:${column}: ${message}`, {
      details: { line, column },
    });
  }

  #scan(): Token {
    this.#match(SPACE);
    const at = this.#offset;
    if (at === this.#text.length) return { kind: "end", text: "", at };
    const name = this.#match(NAME);
    if (name) return { kind: "name", text: name[0], at };
    const number = this.#match(NUMBER);
    if (number) {
      if (this.#match(NAME)) throw this.error("a number must not run into a name", at);
      return { kind: "number", text: number[0], at };
    }
    const char = this.#text[at]!;
    if (char === '"' || char === "'") {
      const string = this.#match(STRING);
      if (!string) throw this.error("the string has no end on its line", at);
      return { kind: "string", text: string[1] ?? string[2]!, at };
    }
    if (!SYMBOLS.includes(char)) throw this.error(`unexpected character ${JSON.stringify(char)}`, at);
    this.#offset++;
    return { kind: "symbol", text: char, at };
  }

  #match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#offset;
    const match = pattern.exec(this.#text);
    if (match) this.#offset = pattern.lastIndex;
    return match;
  }
}

/** How a message names a token. */
export function describe(token: Token): string {
  return token.kind === "end" ? "the end" : token.kind === "string" ? "a string" : `"${token.text}"`;
}
