import assert from "node:assert/strict";
import { eventually, launch, type LaunchedProcess, SlowDisk, TestNetwork } from "@shardserve/testkit";

describe("faults for tests", function () {
  this.timeout(60_000);

  it("a test network loses what one host sends to another, in one direction, and nothing else", async function () {
    const obstacle = TestNetwork.obstacle();
    if (obstacle !== undefined) {
      console.log(`      SKIPPED: ${obstacle}`);
      return this.skip();
    }
    await using network = new TestNetwork();
    const [a, b] = [network.join("a"), network.join("b")];
    const port = 4000;
    const heard = (child: LaunchedProcess) => child.output.match(/heard/g)?.length ?? 0;
    /** Prints what it hears, and answers nothing. */
    const listen = `require("dgram").createSocket("udp4", () => console.log("heard")).bind(${port}, () => console.log("bound"))`;
    await using ears = b.launch(process.execPath, { args: ["-e", listen] });
    await using earsOfA = a.launch(process.execPath, { args: ["-e", listen] });
    for (const child of [ears, earsOfA]) await child.waitForOutput(/bound/);
    const talk = (to: string) =>
      `const s = require("dgram").createSocket("udp4"); setInterval(() => s.send("x", ${port}, "${to}"), 20); setTimeout(() => console.log("talks"), 100)`;
    await using mouth = a.launch(process.execPath, { args: ["-e", talk(b.address)] });
    await using mouthOfB = b.launch(process.execPath, { args: ["-e", talk(a.address)] });
    for (const child of [mouth, mouthOfB]) await child.waitForOutput(/talks/);
    const more = (child: LaunchedProcess) => {
      const before = heard(child);
      return eventually(() => {
        assert.ok(heard(child) > before + 5);
        return Promise.resolve();
      });
    };
    await more(ears);
    await more(earsOfA);
    network.lose("a", "b");
    await more(earsOfA); // by then what was under way to b has arrived
    const before = heard(ears);
    await more(earsOfA);
    assert.equal(heard(ears), before);
    network.heal();
    await more(ears);
  });

  it("a slow disk holds up each call of a process, until it is let go", async function () {
    const obstacle = SlowDisk.obstacle();
    if (obstacle !== undefined) {
      console.log(`      SKIPPED: ${obstacle}`);
      return this.skip();
    }
    const read = `setInterval(() => { const t = performance.now(); require("fs").statSync("/"); console.log("took", performance.now() - t) }, 5)`;
    await using child = launch(process.execPath, { args: ["-e", read] });
    await child.waitForOutput(/took/);
    const tookMs = () => [...child.output.matchAll(/took ([\d.]+)/g)].map(([, ms]) => Number(ms));
    const disk = await SlowDisk.attach(child.pid!, 80);
    const before = tookMs().length;
    await eventually(() => {
      assert.ok(tookMs().length > before + 3);
      return Promise.resolve();
    });
    assert.ok(Math.min(...tookMs().slice(before + 1)) >= 80, tookMs().slice(before).join());
    await disk.stop();
    await eventually(() => {
      assert.ok(tookMs().at(-1)! < 80);
      return Promise.resolve();
    });
  });
});
