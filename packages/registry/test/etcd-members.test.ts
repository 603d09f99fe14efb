import assert from "node:assert/strict";
import { isServingError } from "@shardserve/core";
import { EtcdRegistry, LeasedKeys, RegistryView } from "@shardserve/registry";
import { EtcdServer, eventually, TcpProxy } from "@shardserve/testkit";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("etcd of three members", function () {
  this.timeout(120_000);
  let members: EtcdServer[];
  let proxies: TcpProxy[];
  let registry: EtcdRegistry;

  before(async () => {
    members = await EtcdServer.startCluster(3);
    proxies = await Promise.all(members.map(({ port }) => TcpProxy.start({ host: "127.0.0.1", port })));
    registry = new EtcdRegistry({ hosts: proxies.map(({ port }) => `127.0.0.1:${port}`), cluster: "members" });
  });
  after(async () => {
    await registry?.close();
    await Promise.all([...members.map((member) => member.stop()), ...proxies.map((proxy) => proxy.stop())]);
  });

  /** Writes until it succeeds, as every caller of the registry does; a refusal of a repeated write is a success. */
  const write = async (key: string) => {
    await eventually(
      async () => {
        try {
          await registry.txn([{ key, modRevision: 0 }], [{ put: key, value: bytes("1") }]);
        } catch (error) {
          if (!isServingError(error, "REGISTRY_CONFLICT")) throw error;
        }
      },
      { timeoutMs: 20_000, intervalMs: 50 },
    );
  };

  it("each member may be killed or frozen, the leader among them: no write and no event is lost, what is leased stays", async () => {
    const view = new RegistryView(registry, "");
    view.start();
    const keys = new LeasedKeys(registry, { ttlSeconds: 20 });
    await keys.set("leased", bytes("1"));
    const wanted = ["leased"];
    for (const [i, member] of members.entries()) {
      for (const kind of ["killed", "frozen"] as const) {
        if (kind === "killed") await member.pause();
        else member.freeze();
        for (let n = 0; n < 3; n++) {
          const key = `k-${i}-${kind}-${n}`;
          wanted.push(key);
          await write(key);
        }
        if (kind === "killed") await member.resume();
        else member.thaw();
      }
    }
    await eventually(() => assert.deepEqual([...view.entries.keys()].sort(), [...wanted].sort()), {
      timeoutMs: 20_000,
    });
    // Six faults in a row; where one of them ends a lease all the same, it was taken anew, as the view above shows.
    assert.ok(keys.lossCount <= 1, `${keys.lossCount} leases ended`);
    await keys.close();
    await view.close();
  });

  it("without a majority calls fail as an outage, and go on when it is back", async () => {
    await Promise.all([members[0]!.pause(), members[1]!.pause()]);
    await assert.rejects(registry.txn([], [{ put: "x", value: bytes("") }]), (error) =>
      isServingError(error, "REGISTRY_UNAVAILABLE"),
    );
    await Promise.all([members[0]!.resume(), members[1]!.resume()]);
    await write("majority");
  });

  it("a slow etcd is slow, not away: calls succeed and leases live", async () => {
    for (const proxy of proxies) proxy.setDelay(300);
    // Two members were restarted: a keepalive that meets them has to connect first, and at this pace comes too late.
    const keys = new LeasedKeys(registry, { ttlSeconds: 10 });
    await keys.set("slow", bytes("1"));
    for (let i = 0; i < 3; i++) await write(`slow-${i}`);
    await new Promise((resolve) => setTimeout(resolve, 11_000));
    assert.equal(keys.lossCount, 0);
    for (const proxy of proxies) proxy.setDelay(0);
    await keys.close();
  });
});
