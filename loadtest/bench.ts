/**
 * `npm run bench -- NAME [--flags]`: benchmarks that print ratios against a baseline of the same run. Absolute figures of
 * a shared machine jump by 40 %; ratios of one run can be trusted. `--json FILE` also writes what was measured.
 */
const BENCHMARKS: Readonly<
  Record<
    string,
    {
      readonly what: string;
      readonly load: () => Promise<{ readonly main: (args: readonly string[]) => Promise<void> }>;
    }
  >
> = {
  lookup: {
    what: "rows/s of a shard against Redis, a raw TCP echo and a copy",
    load: () => import("./bench/lookup.js"),
  },
  predict: {
    what: "executor requests/s against a bare gRPC server and the bare engine",
    load: () => import("./bench/predict.js"),
  },
  serve: {
    what: "one node over gRPC and REST against bare servers of the same bytes, and what batching brings",
    load: () => import("./bench/serve.js"),
  },
  "load-isolation": {
    what: "what loading a large version does to the p99 of a small model in the same process (--size MiB, --rate, --loads)",
    load: () => import("./bench/load-isolation.js"),
  },
  cache: {
    what: "hit rate of the row cache against the best possible, and its cost against a Map",
    load: () => import("./bench/cache.js"),
  },
  delta: {
    what: "a delta of 1 % of a 1 GiB model: seconds until it is answered and rolled back, bytes against its own (--mib, --changed)",
    load: () => import("./bench/delta.js"),
  },
  apply: {
    what: "rows/s streamed into force on three shards against a synced append of the same bytes (--seconds)",
    load: () => import("./bench/apply.js"),
  },
  export: {
    what: "shard-export against cp of the same bytes, and its peak memory (--size 4GiB)",
    load: () => import("./bench/export.js"),
  },
  json: {
    what: "REST bodies into tensors and back against JSON.parse and JSON.stringify, and the longest pause",
    load: () => import("./bench/json.js"),
  },
  dlrm: {
    what: "latency of a DLRM on every engine here (--device cpu|gpu, --size MiB)",
    load: () => import("./bench/dlrm.js"),
  },
  zoo: {
    what: "latency and load time of every model of the zoo: engine onnxruntime over engine tensorflow (--model PART)",
    load: () => import("./bench/zoo.js"),
  },
};

/** @throws TypeError for a flag that the benchmark does not know */
async function main([name, ...args]: readonly string[]): Promise<number> {
  const benchmark = BENCHMARKS[name ?? ""];
  if (benchmark && !args.includes("--help")) {
    await (await benchmark.load()).main(args);
    return 0;
  }
  console.log("Usage: npm run bench -- NAME [FLAGS]\n");
  for (const [known, { what }] of Object.entries(BENCHMARKS)) console.log(`  ${known.padEnd(16)}${what}`);
  console.log("\n  --json FILE     writes what was measured, with machine and commit");
  return benchmark || name === undefined || name === "--help" ? 0 : 2;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!String((error as { readonly code?: string }).code).startsWith("ERR_PARSE_ARGS")) throw error;
  console.error(`${(error as Error).message}; \`npm run bench -- --help\` names the benchmarks and their flags`);
  process.exitCode = 2;
}
