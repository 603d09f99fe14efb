#!/usr/bin/env node
// `shard-export ...` is `shardserve shard-export ...`.
process.argv.splice(2, 0, "shard-export");
await import("./shardserve.js");
