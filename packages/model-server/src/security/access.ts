import { createHash, timingSafeEqual } from "node:crypto";
import { ServingError } from "@shardserve/core";

/** What a token may do: run models, ask for status, metadata and readiness, change the configuration, read the metrics, stream rows. */
export const ACTIONS = ["predict", "describe", "reload", "metrics", "update"] as const;
export type Action = (typeof ACTIONS)[number];

/** One token: only the hash of it is known here. */
export interface AccessRule {
  /** Who the token is for; stands in refusals. Never the token itself. */
  readonly name: string;
  /** SHA-256 of the token, 32 bytes. Tokens are random, so a fast hash does. */
  readonly sha256: Buffer;
  /** Names of models; "exp-*" means all that begin so, "*" all. */
  readonly models: readonly string[];
  readonly actions: readonly Action[];
}

/** Who asks. */
export interface Caller {
  /**
   * @param model  "*" for what concerns the whole server
   * @throws ServingError PERMISSION_DENIED
   */
  check(action: Action, model: string): void;
}

/** Lets callers in by the bearer tokens that they show, and says what each may do. */
export class Access {
  #rules: readonly AccessRule[];

  constructor(rules: readonly AccessRule[]) {
    this.#rules = rules;
  }

  /** For requests from now on; those under way are not asked again. */
  replace(rules: readonly AccessRule[]): void {
    this.#rules = rules;
  }

  /**
   * @param authorization  value of the header or metadata of that name
   * @throws ServingError UNAUTHENTICATED unless it is "Bearer TOKEN" of a known token
   */
  callerOf(authorization: string | undefined): Caller {
    if (authorization === undefined) {
      throw new ServingError("UNAUTHENTICATED", 'a token is needed: "authorization: Bearer TOKEN"');
    }
    const token = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    if (token === undefined) throw new ServingError("UNAUTHENTICATED", 'authorization is not "Bearer TOKEN"');
    const sha256 = createHash("sha256").update(token).digest();
    // All rules are compared, each in constant time: how long it takes tells nothing of the hashes.
    let found: AccessRule | undefined;
    for (const rule of this.#rules) if (timingSafeEqual(rule.sha256, sha256)) found = rule;
    if (!found) throw new ServingError("UNAUTHENTICATED", "the token is not known here");
    return new TokenCaller(found);
  }
}

class TokenCaller implements Caller {
  readonly #rule: AccessRule;

  constructor(rule: AccessRule) {
    this.#rule = rule;
  }

  check(action: Action, model: string): void {
    const { name, actions, models } = this.#rule;
    if (actions.includes(action) && models.some((pattern) => matches(pattern, model))) return;
    const what = model === "*" ? "of the whole server" : `of model "${model}"`;
    throw new ServingError("PERMISSION_DENIED", `token "${name}" does not allow ${action} ${what}`);
  }
}

function matches(pattern: string, model: string): boolean {
  return pattern.endsWith("*") ? model.startsWith(pattern.slice(0, -1)) : pattern === model;
}

/** Where there are no tokens: everybody may do everything. */
export const EVERYBODY: Caller = { check: () => undefined };
