/**
 * The slow twin of the JSON reader: parses into a tree, keeps the text of every number, and follows TensorFlow Serving's
 * algorithm by recursion.
 */
export type Tree =
  | { kind: "list"; items: Tree[] }
  | { kind: "object"; members: [string, Tree][] }
  | { kind: "string"; value: Buffer }
  | { kind: "number"; text: string }
  | { kind: "word"; text: "true" | "false" | "null" };

/** Undefined for text that is no JSON; nothing is said about the error. */
export function parseTree(bytes: Buffer): Tree | undefined {
  const text = bytes.toString("latin1");
  let at = 0;
  class Bad extends Error {}
  const space = () => {
    while (" \n\r\t".includes(text[at] ?? "x")) at++;
  };
  const expect = (token: string) => {
    if (!text.startsWith(token, at)) throw new Bad();
    at += token.length;
  };
  const string = (): Buffer => {
    expect('"');
    const parts: Buffer[] = [];
    for (;;) {
      const char = text[at++];
      if (char === undefined || char < " ") throw new Bad();
      if (char === '"') return Buffer.concat(parts);
      if (char !== "\\") {
        parts.push(Buffer.from(char, "latin1"));
        continue;
      }
      const escape = text[at++] ?? "";
      const simple = '"\\/bfnrt'.indexOf(escape);
      if (escape !== "" && simple >= 0) parts.push(Buffer.from('"\\/\b\f\n\r\t'[simple]!));
      else if (escape === "u") {
        const match = /^([0-9a-fA-F]{4})(?:\\u([0-9a-fA-F]{4}))?/.exec(text.slice(at, at + 10));
        if (!match) throw new Bad();
        const high = Number.parseInt(match[1]!, 16);
        if (high < 0xd800 || high > 0xdfff) {
          parts.push(Buffer.from(String.fromCharCode(high)));
          at += 4;
        } else {
          const low = Number.parseInt(match[2] ?? "0", 16);
          if (high > 0xdbff || low < 0xdc00 || low > 0xdfff) throw new Bad();
          parts.push(Buffer.from(String.fromCharCode(high, low)));
          at += 10;
        }
      } else throw new Bad();
    }
  };
  const value = (): Tree => {
    space();
    const char = text[at] ?? "";
    if (char === '"') return { kind: "string", value: string() };
    if (char === "[") {
      at++;
      const items: Tree[] = [];
      space();
      if (text[at] === "]") at++;
      else {
        for (;;) {
          items.push(value());
          space();
          if (text[at] === "]") break;
          expect(",");
        }
        at++;
      }
      return { kind: "list", items };
    }
    if (char === "{") {
      at++;
      const members: [string, Tree][] = [];
      space();
      if (text[at] === "}") at++;
      else {
        for (;;) {
          space();
          const key = string().toString();
          space();
          expect(":");
          members.push([key, value()]);
          space();
          if (text[at] === "}") break;
          expect(",");
        }
        at++;
      }
      return { kind: "object", members };
    }
    const word = /^(?:true|false|null)/.exec(text.slice(at, at + 5));
    if (word) {
      at += word[0].length;
      return { kind: "word", text: word[0] as "true" };
    }
    const number = /^-?(?:NaN|Infinity|Inf|(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)/.exec(text.slice(at));
    if (!number) throw new Bad();
    const rest = text[at + number[0].length] ?? "";
    // A fraction or an exponent without digits is an error, not the end of the number.
    if (!/[Nn]/.test(number[0]) && (rest === "." || rest === "e" || rest === "E")) throw new Bad();
    at += number[0].length;
    if (!/[Nn]/.test(number[0]) && !Number.isFinite(Number(number[0]))) throw new Bad();
    return { kind: "number", text: number[0] };
  };
  if (text.startsWith("\xef\xbb\xbf")) at = 3;
  try {
    return value();
  } catch (error) {
    if (error instanceof Bad) return undefined;
    throw error;
  }
}

export function member(tree: Tree, key: string): Tree | undefined {
  return tree.kind === "object" ? tree.members.find(([name]) => name === key)?.[1] : undefined;
}

export function numberOf(text: string): number {
  if (text.includes("N")) return Number.NaN;
  if (text.includes("I")) return text.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return Number(text);
}

/** Elements and shape of a tensor value of float32, int64 or string; "error" where TensorFlow Serving has one. */
export function tensorOf(
  tree: Tree,
  dtype: "float32" | "int64" | "string",
): { shape: number[]; values: unknown[] } | "error" {
  const shape: number[] = [];
  for (let at: Tree | undefined = tree; at?.kind === "list"; at = at.items[0]) shape.push(at.items.length);
  const values: unknown[] = [];
  const fill = (value: Tree, level: number): boolean => {
    if (value.kind === "list") {
      if (level >= shape.length || value.items.length !== shape[level]) return false;
      return value.items.every((item) => fill(item, level + 1));
    }
    if (level !== shape.length) return false;
    const element = elementOf(value, dtype);
    if (element === undefined) return false;
    values.push(element);
    return true;
  };
  return fill(tree, 0) ? { shape, values } : "error";
}

function elementOf(value: Tree, dtype: "float32" | "int64" | "string"): unknown {
  if (dtype === "string") {
    if (value.kind === "string") return value.value.toString("hex");
    const b64 = value.kind === "object" && value.members.length === 1 ? member(value, "b64") : undefined;
    if (b64?.kind !== "string") return undefined;
    const text = b64.value.toString("latin1").replaceAll(/\s/g, "");
    const digits = text.replace(/=+$/, "");
    const padding = text.length - digits.length;
    if (/[^A-Za-z0-9+/]/.test(digits) || digits.length % 4 === 1 || padding > 2) return undefined;
    if (padding > 0 && text.length % 4 !== 0) return undefined;
    return Buffer.from(digits, "base64").toString("hex");
  }
  if (value.kind !== "number") return undefined;
  if (dtype === "float32") return Math.fround(numberOf(value.text));
  if (!/^-?\d+$/.test(value.text)) return undefined;
  const integer = BigInt(value.text);
  return integer >= -(2n ** 63n) && integer < 2n ** 63n ? integer : undefined;
}
