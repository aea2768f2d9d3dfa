// Events in the background: batches, retries, a spill on disk.
//
// What a `send` that resolved promises: the event will be in the ledger once, or is handed to
// `onProblem` because the service refused it for good (and kept in `refused.jsonl` of the spill
// directory), or is given back by `close`. With `durable` that holds when the process is killed
// too. Otherwise a killed process loses what was in memory; `flush` resolves when nothing is.

import { CounterfoilError } from "./client.js";

export class FullError extends Error {
  name = "FullError";
}

export class ClosedError extends Error {
  name = "ClosedError";
}

export class Writer {
  #client;
  #options;
  #spill;
  #waiting = [];
  /** Those who wait for room, for their event to be on disk, for all before to be safe. */
  #room = [];
  #stored = [];
  #flushes = [];
  #hurry = 0;
  #lingerUntil = 0;
  #batch;
  /** The request under way, and its outcome once it is there. */
  #request;
  #failures = 0;
  #retryAt = 0;
  #giveUpAt;
  #closed;
  #wake = () => {};
  #loop;
  #stats = { accepted: 0, inserted: 0, duplicate: 0, refused: 0, failures: 0 };

  static async start(client, options = {}) {
    const writer = new Writer();
    writer.#client = client;
    writer.#options = {
      capacity: 10_000,
      batch: 100,
      linger: 5_000,
      spill: undefined,
      spillBytes: 1024 ** 3,
      durable: false,
      backoff: 200,
      longestBackoff: 30_000,
      closeWithin: 10_000,
      onProblem: undefined,
      log: console,
      now: () => new Date(),
      random: Math.random,
      ...options,
    };
    writer.#batch = Math.min(Math.max(1, writer.#options.batch), 5_000);
    if (writer.#options.spill !== undefined) {
      const { Spill } = await import("./spill.js");
      writer.#spill = await Spill.open(writer.#options.spill, writer.#options.spillBytes);
    } else if (writer.#options.durable) {
      throw new TypeError("durable needs a spill directory");
    }
    writer.#loop = writer.#run();
    return writer;
  }

  async send(event) {
    const [id, line] = this.#line(event);
    while (this.#waiting.length >= this.#options.capacity && this.#giveUpAt === undefined) {
      await new Promise((resolve) => this.#room.push(resolve));
    }
    this.#accept(line);
    if (this.#options.durable) {
      await new Promise((resolve, reject) => this.#stored.push({ resolve, reject }));
    }
    this.#stats.accepted += 1;
    return id;
  }

  trySend(event) {
    if (this.#waiting.length >= this.#options.capacity) throw new FullError("the buffer is full");
    const [id, line] = this.#line(event);
    this.#accept(line);
    this.#stats.accepted += 1;
    return id;
  }

  flush() {
    if (this.#closed) return Promise.resolve(this.#closed.onDisk);
    return new Promise((resolve) => {
      this.#flushes.push(resolve);
      this.#hurry = this.#waiting.length;
      this.#wake();
    });
  }

  close() {
    if (this.#giveUpAt === undefined) {
      this.#giveUpAt = Date.now() + this.#options.closeWithin;
      this.#retryAt = 0;
      this.#wake();
    }
    return this.#loop;
  }

  stats() {
    return { ...this.#stats, onDisk: this.#spill?.events ?? 0 };
  }

  #line(event) {
    const id = event.id || globalThis.crypto.randomUUID();
    const line = JSON.stringify({ ...event, id, time: event.time ?? this.#options.now().toISOString() });
    return [id, line];
  }

  #accept(line) {
    if (this.#giveUpAt !== undefined) throw new ClosedError("the writer is closed");
    if (this.#waiting.length === 0) this.#lingerUntil = Date.now() + this.#options.linger;
    this.#waiting.push(line);
    this.#wake();
  }

  async #run() {
    try {
      while (!(await this.#step())) {
        // Until it says so.
      }
    } catch (error) {
      this.#options.log.error(`counterfoil: the writer failed: ${error.stack}`);
    }
    return this.#leave();
  }

  /** One step; true at the end. */
  async #step() {
    // From here on whatever happens wakes the wait below.
    const woken = new Promise((resolve) => {
      this.#wake = resolve;
    });
    await this.#moveToDisk();
    this.#answerFlushes();
    const closing = this.#giveUpAt !== undefined;
    const away = this.#retryAt > Date.now();
    if (closing) {
      const empty = this.#waiting.length === 0 && !this.#request && !this.#spill?.events;
      const atRest = away && this.#spill && this.#waiting.length === 0;
      if (empty || atRest || this.#giveUpAt <= Date.now()) return true;
    }
    if (!this.#request && !away) await this.#begin(closing);
    const until = Math.min(
      this.#giveUpAt ?? Infinity,
      this.#retryAt > Date.now() ? this.#retryAt : Infinity,
      this.#waiting.length > 0 && !this.#request && !away ? this.#lingerUntil : Infinity,
    );
    let timer;
    const due = new Promise((resolve) => {
      // Nothing due: nothing keeps the process alive.
      if (until < Infinity) timer = setTimeout(resolve, Math.max(0, until - Date.now()));
    });
    await Promise.race([woken, due, this.#request?.settled ?? due]);
    clearTimeout(timer);
    if (this.#request?.outcome) await this.#settle();
    return false;
  }

  async #begin(closing) {
    let lines = [];
    const fromDisk = Boolean(this.#spill?.events);
    if (fromDisk) {
      try {
        lines = await this.#spill.peek(this.#batch);
      } catch (error) {
        this.#options.log.error(`counterfoil: the spill cannot be read: ${error.message}`);
        this.#waitForNext();
      }
    } else if (
      this.#waiting.length >= this.#batch ||
      (this.#waiting.length > 0 && (closing || this.#hurry > 0 || this.#lingerUntil <= Date.now()))
    ) {
      lines = this.#waiting.splice(0, this.#batch);
      this.#hurry = Math.max(0, this.#hurry - lines.length);
      this.#lingerUntil = Date.now() + this.#options.linger;
      this.#makeRoom();
    }
    if (lines.length === 0) return;
    const request = { lines, fromDisk, outcome: undefined, settled: undefined };
    request.settled = this.#client.sendText(`[${lines.join(",")}]`).then(
      (receipts) => {
        request.outcome = { receipts };
      },
      (error) => {
        request.outcome = { error };
      },
    );
    this.#request = request;
  }

  async #settle() {
    const { lines, fromDisk, outcome } = this.#request;
    const { receipts } = outcome;
    let { error } = outcome;
    if (receipts && receipts.receipts?.length === lines.length) {
      this.#failures = 0;
      this.#batch = Math.min(this.#options.batch, this.#batch * 2);
      this.#stats.inserted += receipts.counts.inserted;
      this.#stats.duplicate += receipts.counts.duplicate;
      for (const [index, receipt] of receipts.receipts.entries()) {
        if (receipt.status === "inserted" || receipt.status === "duplicate") continue;
        const reason = receipt.reason ?? "the id is taken by other content";
        await this.#refuse(lines[index], receipt.code ?? "conflict", reason);
      }
      await this.#dealtWith(lines, fromDisk);
    } else if (error?.aboutContent && lines.length > 1) {
      // One of them sinks the others: halves find it.
      this.#batch = Math.ceil(lines.length / 2);
      if (!fromDisk) this.#putBack(lines);
    } else if (error?.aboutContent) {
      await this.#refuse(lines[0], error.code ?? "unreadable", error.message);
      await this.#dealtWith(lines, fromDisk);
    } else {
      error ??= new CounterfoilError("receipts and events differ in number");
      this.#stats.failures += 1;
      this.#waitForNext(error.retryAfter);
      this.#options.log.warn(`counterfoil: events are kept for later: ${error.message}`);
      if (!fromDisk) await this.#putBackOnDisk(lines);
    }
    this.#request = undefined;
  }

  async #dealtWith(lines, fromDisk) {
    if (!fromDisk) return;
    try {
      await this.#spill.advance(lines.length);
    } catch (error) {
      this.#options.log.error(`counterfoil: a segment cannot be removed: ${error.message}`);
      this.#waitForNext();
    }
  }

  async #refuse(line, code, reason) {
    this.#stats.refused += 1;
    this.#options.log.warn(`counterfoil: an event was refused for good: ${code}: ${reason}`);
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      event = { unreadable: line };
    }
    try {
      await this.#spill?.keepRefused(JSON.stringify({ event, code, reason }));
      this.#options.onProblem?.({ event, code, reason });
    } catch (error) {
      this.#options.log.error(`counterfoil: a refused event was not told or kept: ${error.message}`);
    }
  }

  #putBack(lines) {
    this.#waiting.unshift(...lines);
    this.#hurry += lines.length;
  }

  async #putBackOnDisk(lines) {
    if (!this.#spill) return this.#putBack(lines);
    try {
      await this.#spill.putFront(lines);
    } catch (error) {
      this.#options.log.error(`counterfoil: the spill does not take events: ${error.message}`);
      this.#putBack(lines);
    }
  }

  async #moveToDisk() {
    if (!this.#spill || this.#waiting.length === 0) return;
    const full = this.#waiting.length >= this.#options.capacity;
    if (!this.#options.durable && this.#failures === 0 && !this.#spill.events && !full) return;
    const lines = this.#waiting.splice(0);
    const stored = this.#stored.splice(0);
    try {
      await this.#spill.append(lines);
    } catch (error) {
      this.#options.log.error(`counterfoil: the spill does not take events: ${error.message}`);
      this.#waiting.unshift(...lines);
      this.#stored.unshift(...stored);
      return;
    }
    for (const { resolve } of stored) resolve();
    this.#makeRoom();
  }

  #makeRoom() {
    for (const resolve of this.#room.splice(0)) resolve();
  }

  #answerFlushes() {
    const inMemory = this.#waiting.length > 0 || (this.#request && !this.#request.fromDisk);
    if (inMemory) return;
    for (const resolve of this.#flushes.splice(0)) resolve(this.#spill?.events ?? 0);
  }

  #waitForNext(asked = 0) {
    this.#failures += 1;
    const { backoff, longestBackoff, random } = this.#options;
    const whole = Math.min(longestBackoff, backoff * 2 ** Math.min(this.#failures - 1, 20));
    const wait = Math.max(whole / 2 + (whole / 2) * random(), Math.min(asked, 300_000));
    this.#retryAt = Date.now() + wait;
  }

  async #leave() {
    this.#giveUpAt ??= Date.now();
    if (this.#request && !this.#request.fromDisk) {
      // It may have been stored; sending it again counts it once.
      await this.#putBackOnDisk(this.#request.lines);
    }
    this.#request = undefined;
    this.#failures = Math.max(1, this.#failures);
    await this.#moveToDisk();
    const undelivered = this.#waiting.splice(0).map((line) => JSON.parse(line));
    const onDisk = this.#spill?.events ?? 0;
    if (onDisk > 0 || undelivered.length > 0) {
      const left = `${onDisk} events stay on disk, ${undelivered.length} are given back`;
      this.#options.log.warn(`counterfoil: ${left}`);
    }
    this.#closed = { onDisk, undelivered };
    this.#makeRoom();
    const error = new ClosedError("the writer was closed before the event was on disk");
    for (const { reject } of this.#stored.splice(0)) reject(error);
    this.#answerFlushes();
    await this.#spill?.close();
    return this.#closed;
  }
}
