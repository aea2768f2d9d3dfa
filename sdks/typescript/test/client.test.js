// Typed calls against the real service; the types against its OpenAPI document.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "node:test";
import { Client, ProblemError, UnreachableError } from "../src/index.js";
import { client, url } from "./service.js";

test("the types are those of the OpenAPI document", () => {
  const here = new URL("..", import.meta.url);
  const made = execFileSync(process.execPath, ["generate-types.js"], { cwd: here, encoding: "utf8" });
  assert.equal(readFileSync(new URL("src/openapi.d.ts", here), "utf8"), made, "run: npm run types");
});

test("events get receipts", async () => {
  const event = { id: "c1", source: "js-calls", customer: "js", type: "call", time: new Date().toISOString() };
  await client().send([event]);
  const receipts = await client().send([event, { id: "", customer: "js", type: "call" }]);
  assert.deepEqual(receipts.counts, { inserted: 0, duplicate: 1, conflict: 0, rejected: 1 });
});

test("usage, quotas, limits, entitlements, invoices", async () => {
  const asking = client();
  const usage = await asking.usage("js");
  assert.equal(usage.subscriptions[0].charges[0].meter, "calls");
  await asking.consume("js-u1", "js", "tokens", "2.5");
  const second = await asking.consume("js-u2", "js", "tokens", 7);
  assert.equal(second.quotas[0].used, "9.5");
  await assert.rejects(asking.consume("js-u3", "js", "tokens"), (error) => {
    assert.ok(error instanceof ProblemError);
    assert.deepEqual([error.status, error.code], [402, "over_quota"]);
    return true;
  });
  assert.equal((await asking.checkQuota("js", "calls")).allowed, true);
  assert.equal((await asking.checkLimits("js", "/x")).allowed, true);
  assert.equal((await asking.entitlements("js")).entitlements.projects, 3);
  // The service's own job may have drafted the month that is over.
  const invoices = (await asking.invoices("js")).items;
  assert.deepEqual(invoices.filter((invoice) => invoice.state !== "draft"), []);
});

test("errors are problems", async () => {
  await assert.rejects(client().usage("no/body"), { code: "not_found" });
  await assert.rejects(new Client(url, "cf_wrong").usage("js"), { status: 401 });
  await assert.rejects(new Client("http://127.0.0.1:9", "k").usage("js"), UnreachableError);
  assert.throws(() => new Client("ftp://x", "k"), TypeError);
});
