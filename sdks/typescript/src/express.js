// Express middleware.

import { after, before } from "./meter.js";

export function meter(options) {
  const endpoint =
    options.endpoint ?? ((request) => `${request.baseUrl ?? ""}${request.route?.path ?? request.path}`);
  return (request, response, next) => {
    const run = async () => {
      const verdict = await before(options, request);
      if (!verdict) return next();
      for (const [name, value] of Object.entries(verdict.headers)) response.setHeader(name, value);
      if (verdict.denial) {
        response.statusCode = verdict.denial.status;
        response.setHeader("content-type", "application/problem+json");
        response.end(JSON.stringify(verdict.denial));
        return undefined;
      }
      const startedAt = new Date();
      const started = performance.now();
      response.once("finish", () => {
        after(options, {
          customer: verdict.customer,
          // The route is known only now.
          endpoint: endpoint(request),
          method: request.method,
          status: response.statusCode,
          startedAt,
          latency: performance.now() - started,
        });
      });
      return next();
    };
    run().catch(next);
  };
}
