import assert from "node:assert/strict";
import { isServingError } from "@shardserve/core";
import { advertisedAddress, bareHost, formatAddress, type Interfaces, parseAddress } from "../src/index.js";

describe("addresses", () => {
  it("are read and written with IPv6 hosts in brackets", () => {
    for (const text of ["localhost:8500", "[::1]:8500", "[::]:0", "unix:/run/s.sock"])
      assert.equal(formatAddress(parseAddress(text)), text);
    assert.deepEqual(["[::1]", "::1", "localhost"].map(bareHost), ["::1", "::1", "localhost"]);
    for (const text of ["localhost", ":8500", "::1:8500", "host:65536", "http://host:8500", "unix:"])
      assert.throws(
        () => parseAddress(text),
        (error) => isServingError(error, "CONFIG_INVALID"),
        text,
      );
  });
});

describe("what others are told to connect to", () => {
  const at = (address: string, family: "IPv4" | "IPv6", scopeid = 0, internal = false) =>
    ({ address, family, internal, netmask: "", mac: "", cidr: null, ...(family === "IPv6" && { scopeid }) }) as never;
  const loopback = [at("127.0.0.1", "IPv4", 0, true), at("::1", "IPv6", 0, true)];
  const dual: Interfaces = { lo: loopback, eth0: [at("fd00::2", "IPv6"), at("10.0.0.2", "IPv4")] };
  const onlyIpv6: Interfaces = { lo: loopback, eth0: [at("fe80::1", "IPv6", 2), at("fd00::2", "IPv6")] };
  const told = (listen: string, interfaces: Interfaces, host?: string) =>
    formatAddress(advertisedAddress(parseAddress(listen), host, interfaces));

  it("is an address of this machine where all are listened on, also where there is no IPv4", () => {
    assert.equal(told("0.0.0.0:8600", dual), "10.0.0.2:8600");
    assert.equal(told("[::]:8600", dual), "10.0.0.2:8600");
    assert.equal(told("[::]:8600", onlyIpv6), "[fd00::2]:8600");
    assert.equal(told("[::]:8600", { lo: loopback }), "[::1]:8600");
    assert.equal(told("0.0.0.0:8600", onlyIpv6), "127.0.0.1:8600");
    assert.equal(told("[::1]:8600", dual), "[::1]:8600");
  });

  it("is what the operator says, which is a host alone", () => {
    assert.equal(told("[::]:8600", dual, "[fd00::9]"), "[fd00::9]:8600");
    assert.equal(told("[::]:8600", dual, "fd00::9"), "[fd00::9]:8600");
    assert.equal(told("0.0.0.0:8600", dual, "shard-0"), "shard-0:8600");
    assert.throws(
      () => told("0.0.0.0:8600", dual, "shard-0:8600"),
      /CONFIG_INVALID|--advertised-host="shard-0:8600": give a host alone/,
    );
  });
});
