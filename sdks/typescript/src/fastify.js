// Fastify plugin.

import { after, before } from "./meter.js";

const state = Symbol("counterfoil");

export async function meter(instance, options) {
  const endpoint = options.endpoint ?? ((request) => request.routeOptions?.url ?? request.url);
  instance.addHook("preHandler", async (request, reply) => {
    const verdict = await before(options, request);
    if (!verdict) return undefined;
    for (const [name, value] of Object.entries(verdict.headers)) reply.header(name, value);
    if (verdict.denial) {
      reply.code(verdict.denial.status).type("application/problem+json");
      return reply.send(JSON.stringify(verdict.denial));
    }
    request[state] = { customer: verdict.customer, startedAt: new Date(), started: performance.now() };
    return undefined;
  });
  instance.addHook("onResponse", async (request, reply) => {
    const begun = request[state];
    if (!begun) return;
    after(options, {
      customer: begun.customer,
      endpoint: endpoint(request),
      method: request.method,
      status: reply.statusCode,
      startedAt: begun.startedAt,
      latency: performance.now() - begun.started,
    });
  });
}

// Fastify's own way to say: its hooks are for the routes around it, not only for those inside.
meter[Symbol.for("skip-override")] = true;
