import { type Manager, servableIdText, type TrafficPolicy } from "@shardserve/servable";
import { type IndexEntry, repositoryIndex } from "../v2/describe.js";

/** One version as `GET /v1/config` tells it. */
export interface DescribedVersion extends IndexEntry {
  readonly memory?: Readonly<Record<string, number>>;
  /** Signatures that every request for is refused, and why; absent = there are none. */
  readonly brokenSignatures?: Readonly<Record<string, string>>;
}

/** What `GET /v1/config` answers. */
export interface ServerDescription extends Readonly<Record<string, unknown>> {
  readonly version: string;
  /** Every version that was ever wanted, with what loading it needs while it holds that. */
  readonly models: readonly DescribedVersion[];
  /** Configured models of which no version is wanted, and why: a path that is missing or holds none. */
  readonly absentModels?: Readonly<Record<string, string>>;
  /** How requests that name neither version nor label are shared out, of the models of which something was said. */
  readonly traffic: readonly (TrafficPolicy & { readonly model: string })[];
  /** null = no limit. */
  readonly memory: { readonly limitBytes: number | null; readonly heldBytes: number } | undefined;
}

/** @param config  how the process was started */
export function describeServer(
  manager: Pick<Manager, "names" | "statuses" | "memory" | "traffic" | "brokenSignatures">,
  version: string,
  config: Readonly<Record<string, unknown>>,
): ServerDescription {
  const { memory } = manager;
  const plans = new Map(memory?.versions.map(({ id, plan }) => [servableIdText(id), plan]));
  return {
    version,
    ...config,
    models: repositoryIndex(manager).map((entry) => {
      const id = { name: entry.name, version: Number(entry.version) };
      const plan = plans.get(servableIdText(id));
      const broken = manager.brokenSignatures(id.name, id.version);
      return {
        ...entry,
        ...(plan && { memory: { ...plan } }),
        ...(broken.size > 0 && { brokenSignatures: Object.fromEntries(broken) }),
      };
    }),
    traffic: [...manager.traffic].map(([model, policy]) => ({ model, ...policy })),
    memory: memory && {
      limitBytes: Number.isFinite(memory.limitBytes) ? memory.limitBytes : null,
      heldBytes: memory.heldBytes,
    },
  };
}
