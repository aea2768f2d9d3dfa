// Events on disk (Node): append-only segments of one JSON event a line, read oldest first.
//
// A line counts when its line feed is on disk. Delivery is remembered by the segment: after a crash
// the events of the segment being delivered are sent again, and counted once by their ids.

import { mkdir, open, readdir, readFile, rename, stat, truncate, unlink, writeFile } from "node:fs/promises";
import { readFileSync, unlinkSync } from "node:fs";
import { join } from "node:path";

const SEGMENT_BYTES = 1024 * 1024;
const BATCH_BYTES = 2 * 1024 * 1024;
/** Room below the first number, for what must go in front. */
const FIRST = 2 ** 40;
/** Directories of this process's writers. */
const ours = new Set();

export class SpillFullError extends Error {}

export class Spill {
  #directory;
  #limit;
  #segments = [];
  #done = 0;
  #doneEvents = 0;
  #tail;

  static async open(directory, limit) {
    await mkdir(directory, { recursive: true });
    await lock(directory);
    const spill = new Spill();
    spill.#directory = directory;
    spill.#limit = limit;
    const names = (await readdir(directory)).filter((name) => /^\d+\.jsonl$/.test(name)).sort();
    for (const name of names) await spill.#adopt(Number(name.slice(0, -6)));
    return spill;
  }

  async #adopt(number) {
    const path = this.#path(number);
    const text = await readFile(path);
    const size = text.lastIndexOf(10) + 1;
    if (size === 0) {
      await unlink(path);
      return;
    }
    if (size < text.length) await truncate(path, size);
    let events = 0;
    for (const byte of text) events += byte === 10 ? 1 : 0;
    this.#segments.push({ number, size, events });
  }

  #path(number) {
    return join(this.#directory, `${String(number).padStart(20, "0")}.jsonl`);
  }

  /** Events that are still to be delivered. */
  get events() {
    return this.#segments.reduce((sum, segment) => sum + segment.events, 0) - this.#doneEvents;
  }

  #checkRoom(text) {
    const held = this.#segments.reduce((sum, segment) => sum + segment.size, 0);
    if (held + text.length > this.#limit) throw new SpillFullError("the spill is full");
  }

  async #create(number) {
    const file = await open(this.#path(number), "ax");
    if (process.platform !== "win32") {
      // A file's name is on disk when its directory is.
      const directory = await open(this.#directory, "r");
      await directory.sync().finally(() => directory.close());
    }
    return file;
  }

  /** Appends lines: all of them, on disk when this resolves, or none. */
  async append(lines) {
    const text = Buffer.from(lines.map((line) => `${line}\n`).join(""));
    this.#checkRoom(text);
    let last = this.#segments.at(-1);
    if (!this.#tail || !last || last.size >= SEGMENT_BYTES) {
      await this.#closeTail();
      const number = last ? last.number + 1 : FIRST;
      this.#tail = await this.#create(number);
      last = { number, size: 0, events: 0 };
      this.#segments.push(last);
    }
    try {
      await this.#tail.appendFile(text);
      await this.#tail.sync();
    } catch (error) {
      // What came through is cut off; a new segment takes what follows.
      await this.#closeTail();
      await truncate(this.#path(last.number), last.size).catch(() => {});
      if (last.events === 0) {
        this.#segments.pop();
        await unlink(this.#path(last.number)).catch(() => {});
      }
      throw error;
    }
    last.size += text.length;
    last.events += lines.length;
  }

  /** Puts lines before all others: all of them, on disk when this resolves, or none. */
  async putFront(lines) {
    const first = this.#segments[0];
    if (!first) return this.append(lines);
    const text = Buffer.from(lines.map((line) => `${line}\n`).join(""));
    this.#checkRoom(text);
    if (this.#done > 0) {
      // Without what is delivered of it already, which must not come again after these.
      const path = this.#path(first.number);
      const rest = (await readFile(path)).subarray(this.#done, first.size);
      await writeFile(`${path}.new`, rest, { flush: true });
      await rename(`${path}.new`, path);
      if (this.#segments.length === 1) await this.#closeTail();
      first.size -= this.#done;
      first.events -= this.#doneEvents;
      this.#done = this.#doneEvents = 0;
    }
    const number = first.number - 1;
    const file = await this.#create(number);
    try {
      await file.appendFile(text);
      await file.sync();
    } catch (error) {
      await unlink(this.#path(number)).catch(() => {});
      throw error;
    } finally {
      await file.close();
    }
    this.#segments.unshift({ number, size: text.length, events: lines.length });
  }

  /** The first lines, at most so many. */
  async peek(most) {
    const first = this.#segments[0];
    if (!first) return [];
    // A segment is a megabyte and one batch at most.
    const text = await readFile(this.#path(first.number));
    const lines = [];
    let at = this.#done;
    while (lines.length < most && at < first.size && at - this.#done < BATCH_BYTES) {
      const end = text.indexOf(10, at);
      lines.push(text.toString("utf8", at, end));
      at = end + 1;
    }
    return lines;
  }

  /** The first lines, so many, are delivered. */
  async advance(count) {
    const first = this.#segments[0];
    if (!first) return;
    const text = await readFile(this.#path(first.number));
    for (let line = 0; line < count; line += 1) this.#done = text.indexOf(10, this.#done) + 1;
    this.#doneEvents += count;
    if (this.#done >= first.size) {
      if (this.#segments.length === 1) await this.#closeTail();
      this.#segments.shift();
      this.#done = this.#doneEvents = 0;
      await unlink(this.#path(first.number));
    }
  }

  /** Keeps an event that was refused for good, for people to look at. */
  async keepRefused(line) {
    const path = join(this.#directory, "refused.jsonl");
    const size = await stat(path).then((found) => found.size, () => 0);
    if (size < this.#limit) await writeFile(path, `${line}\n`, { flag: "a", flush: true });
  }

  async #closeTail() {
    const tail = this.#tail;
    this.#tail = undefined;
    await tail?.close();
  }

  async close() {
    await this.#closeTail();
    ours.delete(this.#directory);
    await unlink(join(this.#directory, "lock")).catch(() => {});
  }
}

/** A directory belongs to one writer at a time. Node has no locks on files: the pid stands in. */
async function lock(directory) {
  const path = join(directory, "lock");
  const inUse = () => new Error(`${directory} is used by another writer`);
  if (ours.has(directory)) throw inUse();
  ours.add(directory);
  try {
    await writeFile(path, String(process.pid), { flag: "wx" });
  } catch (error) {
    if (error.code !== "EEXIST") {
      ours.delete(directory);
      throw error;
    }
    const pid = Number(readFileSync(path, "utf8"));
    // Our own number, and not in `ours`: an earlier process had it.
    if (pid > 0 && pid !== process.pid && isAlive(pid)) {
      ours.delete(directory);
      throw inUse();
    }
    unlinkSync(path);
    ours.delete(directory);
    await lock(directory);
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
