import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { gzipSync } from "node:zlib";
import { MessageInflater } from "../src/grpc/message-inflater.js";

const BYTES_MAX = 1000;

/** As grpc-js has it: a call of which the stream says when its request has ended. */
class FakeCall {
  readonly incomingEncoding = "gzip";
  readonly stream = Object.assign(new EventEmitter(), { destroyed: false });
  cancelled = false;

  constructor(inflater: MessageInflater) {
    type Intercepted = Parameters<MessageInflater["interceptor"]>;
    inflater.interceptor({} as Intercepted[0], this as unknown as Intercepted[1]);
  }

  decompressMessage(_message: Buffer, _encoding: string): Buffer | Promise<Buffer> {
    throw new Error("grpc-js does not bound what it inflates");
  }

  /** Of so many bytes. */
  async receive(bytes: number): Promise<number> {
    const message = Buffer.concat([Buffer.alloc(5), gzipSync(Buffer.alloc(bytes))]);
    return (await this.decompressMessage(message, "gzip")).length;
  }
}

const TOO_MANY = { message: /compressed messages under way inflate to more than 1000 bytes/ };

describe("MessageInflater", () => {
  for (const event of ["end", "close"]) {
    it(`counts all messages of a call until its stream says "${event}"`, async () => {
      const inflater = new MessageInflater(BYTES_MAX);
      const [kept, other] = [new FakeCall(inflater), new FakeCall(inflater)];
      assert.equal(await kept.receive(400), 400);
      assert.equal(await kept.receive(400), 400);
      await assert.rejects(other.receive(300), TOO_MANY);
      await assert.rejects(other.receive(300), TOO_MANY, "what was refused does not count");
      assert.equal(await other.receive(200), 200);
      kept.stream.emit(event);
      assert.equal(await other.receive(800), 800);
    });
  }

  it("counts a message that is inflated after its request ended only for so long", async () => {
    const inflater = new MessageInflater(BYTES_MAX);
    const [late, other] = [new FakeCall(inflater), new FakeCall(inflater)];
    const length = late.receive(800);
    late.stream.emit("end");
    assert.equal(await length, 800);
    assert.equal(await other.receive(1000), 1000);
  });

  it("adds no listener a message: one frame may carry thousands", async () => {
    const call = new FakeCall(new MessageInflater(BYTES_MAX));
    for (let i = 0; i < 3; i++) await call.receive(1);
    assert.deepEqual([call.stream.listenerCount("end"), call.stream.listenerCount("close")], [1, 1]);
  });

  it("refuses what comes of a call that is over", async () => {
    const call = new FakeCall(new MessageInflater(BYTES_MAX));
    call.cancelled = true;
    await assert.rejects(call.receive(1), { message: /the call is over/ });
  });
});
