// One request at a time, on fetch.

/** Statuses that say something about the content: the same request would fail again. */
const ABOUT_CONTENT = new Set([400, 409, 413, 415, 422]);

export class CounterfoilError extends Error {
  aboutContent = false;
  retryAfter = undefined;
}

export class UnreachableError extends CounterfoilError {
  name = "UnreachableError";
}

export class ProblemError extends CounterfoilError {
  name = "ProblemError";

  constructor(status, problem, retryAfter) {
    const code = problem.code ?? `http_${status}`;
    super(`${status} ${code}: ${problem.detail ?? ""}`);
    this.status = status;
    this.code = code;
    this.detail = problem.detail ?? "";
    this.problem = problem;
    this.retryAfter = retryAfter;
    this.aboutContent = ABOUT_CONTENT.has(status);
  }
}

export class Client {
  #base;
  #key;
  #timeout;
  #fetch;

  constructor(base, key, { timeout = 30_000, fetch = globalThis.fetch } = {}) {
    const url = new URL(base);
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new TypeError(`${base} is no http:// or https:// address`);
    }
    this.#base = base.replace(/\/+$/, "");
    this.#key = key;
    this.#timeout = timeout;
    this.#fetch = fetch;
  }

  send(events) {
    return this.sendText(JSON.stringify(events));
  }

  /** Sends the text of a JSON array of events. */
  sendText(text) {
    return this.#exchange("POST", "/v1/events", text);
  }

  usage(customer) {
    return this.request("GET", `/v1/customers/${encodeURIComponent(customer)}/usage`);
  }

  checkQuota(customer, meter, quantity = 1) {
    return this.request("POST", "/v1/quotas/check", {
      customer,
      meter,
      quantity: String(quantity),
    });
  }

  consume(id, customer, meter, quantity = 1) {
    return this.request("POST", "/v1/quotas/consume", {
      id,
      customer,
      meter,
      quantity: String(quantity),
    });
  }

  checkLimits(customer, endpoint) {
    return this.request("POST", "/v1/limits/check", { customer, endpoint });
  }

  entitlements(customer) {
    return this.request("GET", `/v1/customers/${encodeURIComponent(customer)}/entitlements`);
  }

  invoices(customer, cursor) {
    const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
    return this.request("GET", `/v1/customers/${encodeURIComponent(customer)}/invoices${query}`);
  }

  request(method, path, body) {
    return this.#exchange(method, path, body === undefined ? undefined : JSON.stringify(body));
  }

  async #exchange(method, path, body) {
    const headers = { authorization: `Bearer ${this.#key}`, accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    const send = this.#fetch;
    let response;
    let text;
    try {
      const signal = AbortSignal.timeout(this.#timeout);
      response = await send(this.#base + path, { method, headers, body, signal });
      text = await response.text();
    } catch (error) {
      const why = error.cause?.message ?? error.message;
      throw new UnreachableError(`the service cannot be reached: ${why}`, { cause: error });
    }
    const kind = response.headers.get("content-type") ?? "";
    const isProblem = kind.startsWith("application/problem+json");
    if (response.ok || (response.status === 409 && !isProblem)) {
      try {
        return text === "" ? undefined : JSON.parse(text);
      } catch (error) {
        throw new UnreachableError("the answer cannot be read", { cause: error });
      }
    }
    let problem;
    try {
      problem = JSON.parse(text);
    } catch {
      problem = { detail: text.slice(0, 200) };
    }
    const wait = response.headers.get("retry-after");
    const retryAfter = /^\d+$/.test(wait ?? "") ? Number(wait) * 1000 : undefined;
    throw new ProblemError(response.status, Object(problem), retryAfter);
  }
}
