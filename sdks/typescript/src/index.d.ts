import type {
  CallAnswer,
  ConsumeAnswer,
  CustomerUsage,
  EntitlementsView,
  EventBody,
  InvoiceSummary,
  Receipts,
  Verdicts,
} from "./openapi.js";

export type * from "./openapi.js";

/** An event; the writer fills in `id` and `time` where they are missing. */
export type UsageEvent = Omit<EventBody, "id"> & { id?: string };

/** A page of a list. */
export interface Page<T> {
  items: T[];
  /** The cursor of the next page; absent on the last one. */
  next?: string | null;
}

/** A call failed. */
export class CounterfoilError extends Error {
  /** When the service wants to be asked again, in milliseconds. */
  readonly retryAfter?: number;
  /** Whether the same request would fail again. */
  readonly aboutContent: boolean;
}

/** The service could not be reached, or broke off. What took effect is not known. */
export class UnreachableError extends CounterfoilError {}

/** The service answered with a problem document (RFC 9457). */
export class ProblemError extends CounterfoilError {
  readonly status: number;
  /** Stable name of the kind: `over_quota`, `rate_limited`, … */
  readonly code: string;
  readonly detail: string;
  /** The whole document. */
  readonly problem: Record<string, unknown>;
}

export interface ClientOptions {
  /** Longest wait for a whole answer, in milliseconds; 30,000. */
  timeout?: number;
  /** Another `fetch`. */
  fetch?: typeof fetch;
}

/** A client of one service with one key. */
export class Client {
  constructor(base: string, key: string, options?: ClientOptions);
  /** Sends events; each gets a receipt. A bad one among good ones is no error. */
  send(events: EventBody[]): Promise<Receipts>;
  /** Usage and cost of a customer in the current billing periods. */
  usage(customer: string): Promise<CustomerUsage>;
  /** Asks whether a use would be within the quota. A denial is no error. */
  checkQuota(customer: string, meter: string, quantity?: string | number): Promise<Verdicts>;
  /** Uses something if the quota allows it, once per id; rejects with `over_quota` if not. */
  consume(
    id: string,
    customer: string,
    meter: string,
    quantity?: string | number,
  ): Promise<ConsumeAnswer>;
  /** Counts a call against the customer's rate limits; rejects with `rate_limited`. */
  checkLimits(customer: string, endpoint?: string): Promise<CallAnswer>;
  /** What a customer's plans give. */
  entitlements(customer: string): Promise<EntitlementsView>;
  /** A page of a customer's invoices. */
  invoices(customer: string, cursor?: string): Promise<Page<InvoiceSummary>>;
  /** Any operation that takes and gives JSON: `path` from `/v1` on. */
  request<T = unknown>(method: string, path: string, body?: unknown): Promise<T>;
}

/** An event that the service refused for good. */
export interface Refused {
  event: Record<string, unknown>;
  code: string;
  reason: string;
}

export interface WriterOptions {
  /** Events that wait in memory; 10,000. */
  capacity?: number;
  /** Events in one request, 1 to 5,000; 100. */
  batch?: number;
  /** Longest an event waits for others to fill the batch, in milliseconds; 5,000. */
  linger?: number;
  /** Node only: the directory where events go while the service is away. */
  spill?: string;
  /** Most bytes there; 1 GiB. */
  spillBytes?: number;
  /** `send` resolves when the event is on disk. Needs `spill`. */
  durable?: boolean;
  /** Wait after the first failure, in milliseconds, doubling; 200. */
  backoff?: number;
  /** Longest wait of its own, in milliseconds; 30,000. */
  longestBackoff?: number;
  /** Longest `close` tries to deliver, in milliseconds; 10,000. */
  closeWithin?: number;
  /** Told of each event that was refused for good. */
  onProblem?: (refused: Refused) => void;
  /** Where warnings go; `console`. */
  log?: { warn(text: string): void; error(text: string): void };
  /** The time of events without one. */
  now?: () => Date;
  /** Jitter, 0 to 1. */
  random?: () => number;
}

export interface WriterStats {
  accepted: number;
  inserted: number;
  duplicate: number;
  refused: number;
  failures: number;
  onDisk: number;
}

/** What a closed writer leaves. */
export interface Closed {
  /** Events on disk, delivered by the next writer of the directory. */
  onDisk: number;
  /** Events that could be neither delivered nor written to disk: the caller's again. */
  undelivered: Array<Record<string, unknown>>;
}

/** There is no room for the event. It is still the caller's. */
export class FullError extends Error {}
/** The writer takes nothing more. */
export class ClosedError extends Error {}

/** Sends events in the background: batches, retries, a spill on disk. */
export class Writer {
  private constructor();
  static start(client: Client, options?: WriterOptions): Promise<Writer>;
  /** Accepts an event, waiting for room; gives its id. */
  send(event: UsageEvent): Promise<string>;
  /** Accepts an event without waiting, or throws `FullError`; gives its id. */
  trySend(event: UsageEvent): string;
  /** Waits until what was accepted so far is delivered or on disk; gives how many are on disk. */
  flush(): Promise<number>;
  /** Takes nothing more, delivers what it can, leaves the rest on disk or gives it back. */
  close(): Promise<Closed>;
  stats(): WriterStats;
}

/** Settings of the middlewares; `R` is the framework's request. */
export interface MeterOptions<R> {
  writer: Writer;
  /** Whose request it is; nobody's is passed on as it is. */
  customer: (request: R) => string | undefined | null;
  /** What is called, as a template; the framework's route by default. */
  endpoint?: (request: R) => string;
  /** Type of the usage events; `api.request`. */
  eventType?: string;
  /** Producer of the usage events; `api`. */
  source?: string;
  /** The quota that is asked first. */
  quota?: {
    client: Client;
    meter: string;
    /** Longest it may take, in milliseconds; 250. */
    within?: number;
    /** Whether requests go on while the service is away; true. */
    failOpen?: boolean;
    /** Status of a denial; 402. */
    deniedStatus?: number;
  };
}
