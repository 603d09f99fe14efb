import { ServingError } from "@shardserve/core";
import { type AccessRule, type Action, ACTIONS } from "./access.js";

/** Each is compared with each request's token. */
const TOKENS_MAX = 1000;

/**
 * Reads a tokens file:
 *
 *     {"tokens": [{"name": "web", "sha256": "HEX", "models": ["ranker", "exp-*"], "actions": ["predict", "describe"]}]}
 *
 * @param where  its path, for messages; tokens and hashes never stand in one
 * @throws ServingError CONFIG_INVALID for anything that is not understood: a right must not come from a slip of the pen
 */
export function parseTokensFile(text: string, where: string): readonly AccessRule[] {
  const invalid = (message: string) => new ServingError("CONFIG_INVALID", `${where}: ${message}`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw invalid("it is no JSON"); // the parser's own text quotes the file
  }
  const { tokens } = fields(json, ["tokens"], () => invalid('{"tokens": [...]} is expected'));
  if (!Array.isArray(tokens)) throw invalid('"tokens" is no list');
  if (tokens.length > TOKENS_MAX) throw invalid(`${tokens.length} tokens; at most ${TOKENS_MAX} are supported`);
  const rules = tokens.map((token: unknown, i) => ruleOf(token, (message) => invalid(`token ${i}: ${message}`)));
  const names = new Set<string>();
  const hashes = new Set<string>();
  for (const { name, sha256 } of rules) {
    if (names.has(name)) throw invalid(`two tokens are named "${name}"`);
    if (hashes.has(sha256.toString("hex"))) throw invalid(`"${name}" has the hash of another token`);
    names.add(name);
    hashes.add(sha256.toString("hex"));
  }
  return rules;
}

function ruleOf(token: unknown, invalid: (message: string) => ServingError): AccessRule {
  const keys = ["name", "sha256", "models", "actions"];
  const { name, sha256, models, actions } = fields(token, keys, () =>
    invalid(`exactly ${keys.join(", ")} are expected`),
  );
  if (typeof name !== "string" || name === "") throw invalid("name is no text");
  if (typeof sha256 !== "string" || !/^[0-9a-f]{64}$/i.test(sha256)) {
    throw invalid("sha256 is not 64 hexadecimal digits (printf %s TOKEN | sha256sum)");
  }
  if (!isTexts(models) || models.length === 0) throw invalid("models is no list of names");
  if (
    !isTexts(actions) ||
    !actions.every((action): action is Action => (ACTIONS as readonly string[]).includes(action))
  ) {
    throw invalid(`actions is no list of ${ACTIONS.join(", ")}`);
  }
  const misplaced = models.find((model) => model.slice(0, -1).includes("*"));
  if (misplaced !== undefined) throw invalid(`"${misplaced}": * is allowed at the end only`);
  return { name, sha256: Buffer.from(sha256, "hex"), models, actions };
}

/** The members of an object that has exactly these keys. */
function fields(value: unknown, keys: readonly string[], invalid: () => ServingError): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid();
  const found = Object.keys(value);
  if (found.length !== keys.length || !keys.every((key) => found.includes(key))) throw invalid();
  return value as Record<string, unknown>;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string" && item !== "");
}
