// The writer through outages: everything accepted is in the ledger once.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, ClosedError, FullError, Writer } from "../src/index.js";
import { client, quiet, scripted, stored, Way } from "./service.js";

const quick = { linger: 20, backoff: 10, longestBackoff: 100, log: quiet };
const away = () => new Client("http://127.0.0.1:9", "cf_any", { timeout: 1_000 });

function place(context) {
  const directory = mkdtempSync(join(tmpdir(), "counterfoil-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, "spill");
}

function event(source, number, more = {}) {
  const id = `e${String(number).padStart(5, "0")}`;
  return { id, source, customer: "js", type: "call", ...more };
}

function ids(count) {
  return Array.from({ length: count }, (_, number) => event("", number).id);
}

async function delivered(writer, events) {
  const until = Date.now() + 60_000;
  while (writer.stats().inserted + writer.stats().duplicate < events) {
    assert.ok(Date.now() < until, JSON.stringify(writer.stats()));
    await sleep(10);
  }
}

test("batches arrive and close leaves nothing", async () => {
  const writer = await Writer.start(client(), quick);
  for (let number = 0; number < 450; number += 1) await writer.send(event("js-batches", number));
  assert.equal(await writer.flush(), 0);
  assert.equal(writer.stats().inserted, 450);
  const id = await writer.send({ source: "js-batches", customer: "js", type: "call" });
  assert.deepEqual(await writer.close(), { onDisk: 0, undelivered: [] });
  await assert.rejects(writer.send(event("js-batches", 1)), ClosedError);
  assert.deepEqual(await stored("js-batches"), [...ids(450), id].sort());
});

for (const durable of [false, true]) {
  test(`an outage in mid-stream counts each event once, durable: ${durable}`, async (context) => {
    const spill = place(context);
    const source = `js-outage-${durable}`;
    const way = await Way.open();
    const writer = await Writer.start(client(way.url), { ...quick, spill, durable });
    let number = 0;
    const send = async (count) => {
      for (const end = number + count; number < end; number += 1) {
        await writer.send(event(source, number));
      }
    };
    for (let round = 0; round < 2; round += 1) {
      await send(250);
      await way.shut();
      await send(60);
      assert.ok((await writer.flush()) >= 60);
      await way.open();
    }
    await delivered(writer, number);
    assert.deepEqual(await writer.close(), { onDisk: 0, undelivered: [] });
    assert.deepEqual(await stored(source), ids(number));
    assert.deepEqual(readdirSync(spill), []);
    await way.shut();
  });
}

test("what was left on disk is delivered by the next writer", async (context) => {
  const spill = place(context);
  let writer = await Writer.start(away(), { ...quick, spill });
  for (let number = 0; number < 150; number += 1) await writer.send(event("js-next", number));
  await assert.rejects(Writer.start(away(), { ...quick, spill }), /another writer/);
  assert.equal((await writer.close()).onDisk, 150);
  writer = await Writer.start(client(), { ...quick, spill });
  await delivered(writer, 150);
  await writer.close();
  assert.deepEqual(await stored("js-next"), ids(150));
});

test("without a disk events wait and are given back", async () => {
  const writer = await Writer.start(away(), { ...quick, capacity: 20, closeWithin: 0 });
  const sent = [];
  assert.throws(() => {
    for (;;) sent.push(writer.trySend(event("js-memory", sent.length)));
  }, FullError);
  const { undelivered } = await writer.close();
  assert.deepEqual(undelivered.map((one) => one.id), sent);
});

test("a full spill makes senders wait and loses nothing", async (context) => {
  const way = await Way.open();
  await way.shut();
  const options = { ...quick, spill: place(context), spillBytes: 4_000, capacity: 20 };
  const writer = await Writer.start(client(way.url), options);
  let sent = 0;
  const sending = (async () => {
    for (; sent < 300; sent += 1) await writer.send(event("js-full", sent));
  })();
  await sleep(200);
  assert.ok(sent < 300, "there is no room for all");
  await way.open();
  await sending;
  await delivered(writer, 300);
  assert.deepEqual(await writer.close(), { onDisk: 0, undelivered: [] });
  assert.deepEqual(await stored("js-full"), ids(300));
  await way.shut();
});

test("a lost acknowledgement counts once", async () => {
  const way = await Way.open();
  way.lose = 3;
  const writer = await Writer.start(client(way.url), quick);
  for (let number = 0; number < 250; number += 1) await writer.send(event("js-lost", number));
  assert.deepEqual((await writer.close()).undelivered, []);
  assert.ok(writer.stats().duplicate > 0);
  assert.deepEqual(await stored("js-lost"), ids(250));
  await way.shut();
});

test("what is refused for good is told and kept", async (context) => {
  const spill = place(context);
  const told = [];
  const onProblem = (refused) => told.push(refused.code);
  const writer = await Writer.start(client(), { ...quick, spill, onProblem });
  await writer.send(event("js-refused", 0));
  await writer.send(event("js-refused", 0, { properties: { changed: true } }));
  await writer.send(event("js-refused", 2, { customer: "" }));
  await writer.send(event("js-refused", 1));
  assert.deepEqual((await writer.close()).undelivered, []);
  assert.equal(told[0], "conflict");
  assert.equal(told.length, 2);
  const kept = readFileSync(join(spill, "refused.jsonl"), "utf8").trim().split("\n");
  assert.equal(kept.length, 2);
  assert.deepEqual(await stored("js-refused"), ids(2));
});

test("Retry-After is honoured and a poisoned batch is taken apart", async () => {
  const script = await scripted([[429, "1"], [503, "1"], [500, ""]]);
  const started = Date.now();
  const writer = await Writer.start(new Client(script.url, "k"), quick);
  for (let number = 0; number < 50; number += 1) {
    await writer.send(event("x", number, number === 17 ? { customer: "poison" } : {}));
  }
  assert.deepEqual((await writer.close()).undelivered, []);
  assert.ok(Date.now() - started >= 2_000);
  const { inserted, refused, failures } = writer.stats();
  assert.deepEqual([inserted, refused, failures], [49, 1, 3]);
  script.close();
});

test("what was accepted on disk survives kill -9", async (context) => {
  const spill = place(context);
  const code = `
    import { Client, Writer } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    const quiet = { warn() {}, error() {} };
    const writer = await Writer.start(new Client("http://127.0.0.1:9", "k"), {
      spill: process.argv[1], durable: true, linger: 20, backoff: 10, log: quiet });
    for (;;) console.log(await writer.send({ source: "js-killed", customer: "js", type: "call" }));
  `;
  const accepted = [];
  for (let round = 0; round < 2; round += 1) {
    const args = ["--input-type=module", "--eval", code, spill];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
    const gone = once(child, "exit");
    let seen = 0;
    for await (const line of createInterface(child.stdout)) {
      // The last one may be half there.
      if (line.length === 36) accepted.push(line);
      seen += 1;
      if (seen === 80) child.kill("SIGKILL");
    }
    await gone;
  }
  assert.ok(accepted.length >= 160);
  const writer = await Writer.start(client(), { ...quick, spill });
  await delivered(writer, accepted.length);
  await writer.close();
  const found = await stored("js-killed");
  assert.ok(accepted.every((id) => found.includes(id)));
  assert.equal(new Set(found).size, found.length);
});
