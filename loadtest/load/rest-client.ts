import { Agent, request } from "node:http";

/** Posts ready-made bodies over kept connections and hands back reply bytes: all a load generator should cost. */
export class RestClient {
  readonly #agent = new Agent({ keepAlive: true });
  readonly #url: string;

  /** @param url  of the predict call */
  constructor(url: string) {
    this.#url = url;
  }

  predict(body: string): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const headers = { "Content-Length": Buffer.byteLength(body) };
      const call = request(this.#url, { method: "POST", agent: this.#agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const reply = Buffer.concat(chunks);
          if (response.statusCode === 200) resolve(reply);
          else reject(new Error(`HTTP ${response.statusCode}: ${reply.toString().slice(0, 200)}`));
        });
      });
      call.on("error", reject);
      call.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}
