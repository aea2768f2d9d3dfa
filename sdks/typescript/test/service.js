// The service the tests run against: address and key come from the environment, as tests/it/sdks.rs
// of the repository sets them.

import http from "node:http";
import net from "node:net";
import { Client } from "../src/index.js";

export const url = process.env.COUNTERFOIL_URL ?? "";
const key = process.env.COUNTERFOIL_KEY ?? "";
export const quiet = { warn() {}, error() {} };

export function client(base = url) {
  return new Client(base, key, { timeout: 5_000 });
}

/** Ids of the stored events of a source, sorted. */
export async function stored(source) {
  const ids = [];
  for (let cursor = ""; ; ) {
    const page = await client().request("GET", `/v1/events?source=${source}&limit=1000${cursor}`);
    ids.push(...page.items.map((event) => event.id));
    if (!page.next) return ids.sort();
    cursor = `&cursor=${page.next}`;
  }
}

/** A way to the service that can be shut, and that can lose answers. */
export class Way {
  lose = 0;
  #sockets = new Set();
  #server;

  static async open() {
    const way = new Way();
    await way.open(0);
    return way;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async open(port = this.port) {
    const to = new URL(url);
    this.#server = net.createServer((near) => {
      const far = net.connect(Number(to.port), to.hostname);
      const end = () => {
        near.destroy();
        far.destroy();
      };
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on("error", end);
        socket.on("close", () => {
          this.#sockets.delete(socket);
          end();
        });
      }
      near.on("data", (piece) => far.write(piece));
      far.on("data", (piece) => {
        if (this.lose > 0) {
          this.lose -= 1;
          end();
        } else {
          near.write(piece);
        }
      });
    });
    await new Promise((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    this.port = this.#server.address().port;
  }

  /** Nobody gets through, as if the service had died. */
  async shut() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** A service that answers with [status, Retry-After] as told, then as a good one would. */
export async function scripted(answers) {
  let asked = 0;
  const server = http.createServer(async (request, response) => {
    let text = "";
    for await (const piece of request) text += piece;
    const events = JSON.parse(text);
    const poisoned = events.some((event) => event.customer === "poison");
    const [status, wait] = answers[asked] ?? [poisoned ? 422 : 200, ""];
    asked += 1;
    if (wait) response.setHeader("retry-after", wait);
    response.statusCode = status;
    const receipts = events.map((_, index) => ({ index, status: "inserted" }));
    const counts = { inserted: events.length, duplicate: 0, conflict: 0, rejected: 0 };
    response.end(JSON.stringify(status === 200 ? { counts, receipts } : {}));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, close };
}
