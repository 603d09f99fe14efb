import { join, resolve } from "node:path";
import { type Logger, ServingError } from "@shardserve/core";
import { EtcdRegistry, type Registry, RemoteRegistry, StateFile } from "@shardserve/registry";
import { parseAddress } from "@shardserve/transport";
import { type FlagValues, flag } from "../../flags.js";
import { readFlagFile } from "./flag-file.js";

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
  if (flags.cluster === "") throw new ServingError("CONFIG_INVALID", "--cluster must not be empty");
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
  flags.etcd.forEach(refuseUnclear);
  const tls = tlsOf(flags);
  const auth = authOf(flags, environment["SHARDSERVE_ETCD_PASSWORD"]);
  return new EtcdRegistry({
    hosts: flags.etcd,
    cluster: flags.cluster,
    logger,
    ...(tls && { tls }),
    ...(auth && { auth }),
  });
}

/** A URL would say whether TLS is on, and so do the flags: with both, `https://` could end in clear text. */
function refuseUnclear(host: string): void {
  if (host.includes("//"))
    throw new ServingError(
      "CONFIG_INVALID",
      `--etcd="${host}": give HOST:PORT without a scheme; --etcd-ca turns TLS on`,
    );
  if (!/^.+:\d{1,5}$/.test(host))
    throw new ServingError("CONFIG_INVALID", `--etcd="${host}": give HOST:PORT, such as e1:2379`); // gRPC would take 443
}

function tlsOf({ etcdCa, etcdCert, etcdKey }: RegistryFlags) {
  if ((etcdCert === "") !== (etcdKey === ""))
    throw new ServingError("CONFIG_INVALID", "give --etcd-cert and --etcd-key together");
  if (etcdCa === "") {
    if (etcdCert === "") return undefined;
    throw new ServingError("CONFIG_INVALID", "--etcd-cert needs --etcd-ca, which turns TLS on");
  }
  const ca = readFlagFile("--etcd-ca", etcdCa);
  if (etcdCert === "") return { ca };
  return { ca, cert: readFlagFile("--etcd-cert", etcdCert), key: readFlagFile("--etcd-key", etcdKey) };
}

function authOf({ etcdUser }: RegistryFlags, password: string | undefined) {
  if (etcdUser === "") return undefined;
  if (password === undefined)
    throw new ServingError(
      "CONFIG_INVALID",
      `--etcd-user=${etcdUser}: its password is to be in SHARDSERVE_ETCD_PASSWORD`,
    );
  return { username: etcdUser, password };
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
