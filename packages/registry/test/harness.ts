import { rm } from "node:fs/promises";
import { join } from "node:path";
import {
  EtcdRegistry,
  MemoryRegistry,
  MemoryStore,
  type Registry,
  RegistryServer,
  RemoteRegistry,
} from "@shardserve/registry";
import { EtcdServer, TcpProxy, tempDir } from "@shardserve/testkit";

/** One implementation of the registry, for the contract that all of them keep. */
export interface Harness {
  readonly name: string;
  /** Another handle on the same state, as another process would have. */
  open(options?: { readonly callTimeoutMs?: number }): Registry;
  /** Takes the registry away from all handles; absent = it cannot be away. */
  interrupt?(): Promise<void>;
  /** Gives it back, with its state. */
  restore?(): Promise<void>;
  /** Forgets the history of changes. */
  compact?(): Promise<void>;
  close(): Promise<void>;
}

/** Each test gets keys of its own: implementations are started once. */
let clusters = 0;

export function memoryHarness(): Promise<Harness> {
  const store = new MemoryStore();
  return Promise.resolve({
    name: "memory",
    open: () => new MemoryRegistry({ store }),
    close: async () => store.close(),
  });
}

export async function remoteHarness(): Promise<Harness> {
  const dir = await tempDir();
  const address = { path: join(dir.path, "registry.sock") };
  const store = new MemoryStore();
  const startServer = async () => {
    const server = new RegistryServer({ listen: [address], store });
    await server.start();
    return server;
  };
  let server = await startServer();
  return {
    name: "remote over a Unix socket",
    open: (options) => new RemoteRegistry({ address, peer: "test", ...options }),
    interrupt: () => server.close(),
    restore: async () => {
      await rm(address.path, { force: true });
      server = await startServer();
    },
    close: async () => {
      await server.close();
      store.close();
      await dir.remove();
    },
  };
}

export async function etcdHarness(): Promise<Harness & { readonly etcd: EtcdServer; readonly proxy: TcpProxy }> {
  const etcd = await EtcdServer.start();
  const proxy = await TcpProxy.start({ host: "127.0.0.1", port: etcd.port });
  const cluster = `test-${process.pid}-${clusters++}`;
  return {
    name: "etcd",
    etcd,
    proxy,
    open: (options) => new EtcdRegistry({ hosts: [`127.0.0.1:${proxy.port}`], cluster, ...options }),
    interrupt: () => etcd.pause(),
    restore: () => etcd.resume(),
    compact: async () => {
      const call = async (path: string, body: object) => {
        const response = await fetch(`http://${etcd.host}/v3/kv/${path}`, {
          method: "POST",
          body: JSON.stringify(body),
        });
        return (await response.json()) as { header: { revision: string } };
      };
      const { header } = await call("range", { key: Buffer.from("none").toString("base64") });
      await call("compaction", { revision: header.revision, physical: true });
    },
    close: async () => {
      await proxy.stop();
      await etcd.stop();
    },
  };
}
