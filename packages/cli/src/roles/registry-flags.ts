import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Logger, ServingError } from "@shardserve/core";
import { EtcdRegistry, type Registry, RemoteRegistry, StateFile } from "@shardserve/registry";
import { parseAddress } from "@shardserve/transport";
import { type FlagValues, flag } from "../flags.js";

/** Flags of everything that takes part in a cluster, or looks at one. */
export const REGISTRY_FLAGS = {
  etcd: flag.list("etcd endpoints, HOST:PORT with commas", "HOSTS", []),
  etcdCa: flag.text("PEM file of the authority that signed etcd's certificate; turns TLS on", "FILE", ""),
  etcdCert: flag.text("PEM file of the client certificate", "FILE", ""),
  etcdKey: flag.text("PEM file of the client certificate's key", "FILE", ""),
  etcdUser: flag.text("etcd user; the password comes from SHARDSERVE_ETCD_PASSWORD", "NAME", ""),
  registrySocket: flag.text("Unix socket of the registry that `shardserve up` serves, instead of etcd", "PATH", ""),
  cluster: flag.text("cluster name; all keys live under /shardserve/CLUSTER/", "NAME", "default"),
};

/** Flag of processes that serve on while the registry is away, also after a restart. */
export const STATE_FLAG = flag.text(
  "folder of this process alone for the last known partition maps: with it, it can start while etcd is away",
  "DIR",
  "",
);

/** The file for one prefix of the registry in `--state-dir`; undefined without the flag. */
export function stateFile(stateDir: string, cluster: string, prefix: string): StateFile | undefined {
  if (stateDir === "") return undefined;
  const name = `${encodeURIComponent(cluster)}-${prefix.replaceAll("/", "")}.state`;
  return new StateFile(join(resolve(stateDir), name), { cluster, prefix });
}

export type RegistryFlags = Readonly<FlagValues<typeof REGISTRY_FLAGS>>;

/**
 * Opens the registry that the flags name.
 *
 * @param peer  who calls, for the registry's log
 * @throws ServingError CONFIG_INVALID when neither or both kinds are named
 */
export function openRegistry(
  flags: RegistryFlags,
  peer: string,
  environment: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): Registry {
  if (flags.registrySocket !== "") {
    if (flags.etcd.length > 0) throw new ServingError("CONFIG_INVALID", "give --etcd or --registry-socket, not both");
    return new RemoteRegistry({ address: parseAddress(`unix:${flags.registrySocket}`), peer, logger });
  }
  if (flags.etcd.length === 0) {
    throw new ServingError(
      "CONFIG_INVALID",
      "give --etcd HOST:PORT[,HOST:PORT...]; for a cluster without etcd on this machine see `shardserve up --help`",
    );
  }
  const pem = (path: string) => readFileSync(path);
  return new EtcdRegistry({
    hosts: flags.etcd,
    cluster: flags.cluster,
    logger,
    ...(flags.etcdCa !== "" && {
      tls: {
        ca: pem(flags.etcdCa),
        ...(flags.etcdCert !== "" && { cert: pem(flags.etcdCert) }),
        ...(flags.etcdKey !== "" && { key: pem(flags.etcdKey) }),
      },
    }),
    ...(flags.etcdUser !== "" && {
      auth: { username: flags.etcdUser, password: environment["SHARDSERVE_ETCD_PASSWORD"] ?? "" },
    }),
  });
}

/** The same flags for a child process. */
export function registryArguments(flags: RegistryFlags): string[] {
  return [
    `--cluster=${flags.cluster}`,
    ...(flags.registrySocket === ""
      ? [`--etcd=${flags.etcd.join(",")}`]
      : [`--registry-socket=${flags.registrySocket}`]),
    ...(flags.etcdCa === "" ? [] : [`--etcd-ca=${flags.etcdCa}`]),
    ...(flags.etcdCert === "" ? [] : [`--etcd-cert=${flags.etcdCert}`]),
    ...(flags.etcdKey === "" ? [] : [`--etcd-key=${flags.etcdKey}`]),
    ...(flags.etcdUser === "" ? [] : [`--etcd-user=${flags.etcdUser}`]),
  ];
}
