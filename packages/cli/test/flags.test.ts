import assert from "node:assert/strict";
import { defineCommand, helpText } from "../src/command.js";
import { flag, parseArguments } from "../src/flags.js";
import { amount, table } from "../src/terminal.js";

const flags = {
  modelName: flag.text("name of the model", "NAME", "default"),
  port: flag.int("gRPC port", 0, 65535, 8500),
  json: flag.bool("machine-readable output"),
  shards: flag.list("shards", "LIST", []),
  out: flag.text("where to write", "DIR"),
};

describe("parseArguments", () => {
  it("takes underscores and dashes, = and space, switches and their negation", () => {
    const parsed = parseArguments("serve", flags, [
      "a",
      "--model_name=m",
      "--port",
      "1",
      "--json",
      "--shards=x,y",
      "--out=d",
      "--",
      "--b",
    ]);
    assert.deepEqual(parsed.positionals, ["a", "--b"]);
    assert.deepEqual(parsed.flags, { modelName: "m", port: 1, json: true, shards: ["x", "y"], out: "d" });
    assert.equal(parseArguments("serve", flags, ["--no-json", "--out=d"]).flags.json, false);
    assert.equal(parseArguments("serve", flags, ["--json=false", "--out=d"]).flags.json, false);
  });

  it("keeps a value that holds an equals sign", () => {
    assert.equal(parseArguments("serve", flags, ["--out=s3://b?x=1"]).flags.out, "s3://b?x=1");
  });

  it("lets the last of a repeated flag count where a command says so", () => {
    const { flags: parsed } = parseArguments(
      "serve",
      flags,
      ["--out=d", "--port=1", "--json", "--port=2", "--no-json"],
      true,
    );
    assert.deepEqual([parsed.port, parsed.json], [2, false]);
  });

  it("refuses unknown, repeated, valueless and malformed flags by name", () => {
    const refuse = (args: string[], text: RegExp) => assert.throws(() => parseArguments("serve", flags, args), text);
    refuse(["--out=d", "--prot=1"], /unknown flag --prot=1/);
    refuse(["--out=d", "--out=e"], /--out is given twice/);
    refuse(["--out"], /--out needs a value \(DIR\)/);
    refuse(["--out=d", "--no-port"], /only switches can be negated/);
    refuse(["--out=d", "--port=70000"], /--port="70000": must be an integer in \[0, 65535\]/);
    refuse(["--out=d", "-json"], /unknown flag -json; flags begin with --/);
    refuse([], /"--out" is required/);
    assert.deepEqual(Object.keys(parseArguments("serve", flags, ["--out=d"]).flags), Object.keys(flags));
  });
});

describe("helpText", () => {
  it("shows usage, an example, and each flag with its default", () => {
    const text = helpText(
      defineCommand({
        name: "serve",
        summary: "Serves",
        usage: "[FLAGS]",
        examples: ["shardserve serve --out=d"],
        flags: { ...flags, cache: flag.bytes("memory", 256 * 2 ** 20) },
        run: async () => {},
      }),
    );
    assert.match(text, /Usage: shardserve serve \[FLAGS\]/);
    assert.match(text, /--port N +gRPC port \(default 8500\)/);
    assert.match(text, /--cache BYTES +memory \(default 256MiB\)/);
    assert.match(text, /--out DIR +where to write \(required\)/);
    assert.match(text, /shardserve serve --out=d/);
  });
});

describe("terminal formatting", () => {
  it("prints byte amounts in binary units and aligns tables", () => {
    assert.deepEqual(
      [0, 1023, 1536, 3 * 2 ** 30].map((value) => amount(value, "bytes")),
      ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"],
    );
    assert.equal(
      table([
        ["shard", 7],
        ["x", 1234],
      ]),
      "shard     7\nx      1234",
    );
  });
});
