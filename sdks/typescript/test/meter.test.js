// The middlewares: Express's around node:http, as Express calls it; Fastify's around its hooks.
// Neither framework is needed here, since neither is depended on.

import assert from "node:assert/strict";
import http from "node:http";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { meter as expressMeter } from "../src/express.js";
import { meter as fastifyMeter } from "../src/fastify.js";
import { Client, Writer } from "../src/index.js";
import { client, quiet } from "./service.js";

const options = (writer, asking, meter = "requests") => ({
  writer,
  customer: (request) => request.headers["x-customer"],
  quota: { client: asking, meter, within: 10_000 },
});

/** Waits until the check has seen the use: it may rest on usage read a second ago. */
async function seen(customer, left) {
  for (;;) {
    const { remaining } = await client().checkQuota(customer, "requests");
    if (remaining !== left) return;
    await sleep(50);
  }
}

async function express(middleware) {
  const server = http.createServer((request, response) => {
    request.path = request.url;
    request.baseUrl = "";
    middleware(request, response, (error) => {
      request.route = { path: "/items/:id" };
      response.statusCode = error ? 500 : 201;
      response.end("made");
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${server.address().port}/items/17`;
  const ask = (headers) => fetch(address, { method: "POST", headers });
  return { ask, close: () => server.close() };
}

async function meteredAndRefused(ask, customer, writer) {
  assert.equal((await ask({})).status, 201, "nobody's request passes");
  for (const left of ["2", "1"]) {
    const answer = await ask({ "x-customer": customer });
    assert.equal(answer.status, 201);
    assert.equal(answer.headers.get("x-quota-limit"), "2");
    assert.equal(answer.headers.get("x-quota-remaining"), left);
    assert.ok(Number(answer.headers.get("x-quota-reset")) > 0);
    while (writer.stats().accepted < 3 - Number(left)) await sleep(5);
    await writer.flush();
    await seen(customer, left);
  }
  const denied = await ask({ "x-customer": customer });
  assert.equal(denied.status, 402);
  assert.equal(denied.headers.get("content-type"), "application/problem+json");
  assert.equal((await denied.json()).code, "over_quota");
  await writer.close();
  const page = await client().request("GET", `/v1/events?customer=${customer}`);
  assert.equal(page.items.length, 2);
  const { endpoint, method, status, latency_ms: latency } = page.items[0].properties;
  assert.deepEqual([endpoint, method, status], ["/items/:id", "POST", 201]);
  assert.equal(typeof latency, "number");
}

test("Express: requests are metered and refused over quota", async () => {
  const writer = await Writer.start(client(), { linger: 10, log: quiet });
  const app = await express(expressMeter(options(writer, client())));
  await meteredAndRefused(app.ask, "js-express", writer);
  app.close();
});

test("Express: while the service is away", async () => {
  const away = new Client("http://127.0.0.1:9", "k");
  const writer = await Writer.start(away, { closeWithin: 0, log: quiet });
  for (const [failOpen, status] of [[true, 201], [false, 503]]) {
    const set = options(writer, away);
    const app = await express(expressMeter({ ...set, quota: { ...set.quota, failOpen } }));
    assert.equal((await app.ask({ "x-customer": "js" })).status, status);
    app.close();
  }
  assert.equal((await writer.close()).undelivered.length, 1);
});

test("Fastify: requests are metered and refused over quota", async () => {
  const writer = await Writer.start(client(), { linger: 10, log: quiet });
  const hooks = {};
  const instance = { addHook: (name, hook) => (hooks[name] = hook) };
  await fastifyMeter(instance, options(writer, client()));
  // As Fastify runs a request: preHandler, the handler unless a reply was sent, onResponse.
  const ask = async (headers) => {
    const request = { headers, method: "POST", url: "/items/17", routeOptions: { url: "/items/:id" } };
    const reply = {
      statusCode: 201,
      headers: new Headers(),
      header: (name, value) => reply.headers.set(name, value),
      code: (status) => Object.assign(reply, { statusCode: status }),
      type: (value) => (reply.headers.set("content-type", value), reply),
      send: (body) => Object.assign(reply, { body }),
    };
    await hooks.preHandler(request, reply);
    await hooks.onResponse(request, reply);
    const { statusCode: status, headers: found, body } = reply;
    return { status, headers: found, json: async () => JSON.parse(body) };
  };
  await meteredAndRefused(ask, "js-fastify", writer);
});
