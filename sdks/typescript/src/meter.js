// What the middlewares share: the question before a request and the event after it.

/** What to do with a request: `{ customer, headers, denial }`; nothing at all for nobody's. */
export async function before(options, request) {
  const customer = options.customer(request);
  if (customer === undefined || customer === null) return undefined;
  const { quota } = options;
  if (!quota) return { customer, headers: {} };
  const { client, meter, within = 250, failOpen = true, deniedStatus = 402 } = quota;
  let timer;
  try {
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${within} ms`)), within);
    });
    const asked = client.checkQuota(customer, meter);
    // Whatever becomes of it after the time-out is nobody's concern.
    asked.catch(() => {});
    const verdict = await Promise.race([asked, late]);
    const headers = quotaHeaders(verdict);
    if (verdict.allowed) return { customer, headers };
    const detail = `the quota of ${meter} is used up`;
    const body = problem(deniedStatus, "over_quota", detail, verdict.upgrade);
    return { customer, headers, denial: body };
  } catch {
    if (failOpen) return { customer, headers: {} };
    const detail = "the quota cannot be checked at the moment; try again";
    const body = problem(503, "unavailable", detail);
    return { customer, headers: { "retry-after": "1" }, denial: body };
  } finally {
    clearTimeout(timer);
  }
}

/** Writes the event of a request that was answered. */
export function after(options, { customer, endpoint, method, status, startedAt, latency }) {
  const { writer, eventType = "api.request", source = "api" } = options;
  try {
    writer.trySend({
      customer,
      type: eventType,
      source,
      time: startedAt.toISOString(),
      properties: { endpoint, method, status, latency_ms: Math.round(latency) },
    });
  } catch (error) {
    console.error(`counterfoil: a request was answered and not metered: ${error.message}`);
  }
}

function quotaHeaders(verdict) {
  const headers = {};
  if (verdict.hard != null) headers["x-quota-limit"] = verdict.hard;
  if (verdict.remaining != null) headers["x-quota-remaining"] = verdict.remaining;
  if (verdict.resets_at != null) {
    const seconds = Math.ceil((Date.parse(verdict.resets_at) - Date.now()) / 1000);
    headers["x-quota-reset"] = String(Math.max(0, seconds));
  }
  return headers;
}

function problem(status, code, detail, upgrade) {
  const type = `urn:counterfoil:problem:${code}`;
  return { type, title: detail, status, code, detail, ...(upgrade ? { upgrade } : {}) };
}
