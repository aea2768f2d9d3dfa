// Made from docs/openapi.json by generate-types.js. Do not edit.

/** A price book at one version, written `name@version`. */
export type BookRef = {
  /** Name of the book. */
  name: string;
  /** Version of the book. */
  version: string;
};

/** What the rate limits of a customer say to a call. */
export type CallAnswer = {
  /** Whether it may go on. */
  allowed: boolean;
  /** Calls left at once under the tightest limit; absent where there is none. */
  remaining?: number | null;
  /** Seconds until the next one may go on, when it may not. */
  retry_after_seconds?: number | null;
};

/** Usage of a charge, with where it is going. */
export type ChargeView = {
  /** The charge. */
  charge: string;
  /** Cost so far. */
  cost: Money;
  /** Events that counted. */
  events: number;
  /** What usage comes to at the end of the period if it goes on like this; absent in the first hundredth of the period and after its end. */
  forecast?: Exact | null;
  /** Units the plan includes. */
  included: Exact;
  /** The meter. */
  meter: MeterKey;
  /** Shown to people. */
  name: string;
  /** Units above the included ones. */
  overage: Exact;
  /** Included units not used yet. */
  remaining: Exact;
  /** Unit of the numbers below. */
  unit: string;
  /** Used so far. */
  used: Exact;
};

/** What became of a use. */
export type ConsumeAnswer = {
  /** Whether it went on. */
  allowed: boolean;
  /** The quotas it counts for, after it. */
  quotas: Array<QuotaState>;
  /** The receipt of its event. */
  receipt: ReceiptBody;
};

/** Name of a customer */
export type CustomerId = string;

/** Usage of a customer now. */
export type CustomerUsage = {
  /** The customer. */
  customer: CustomerId;
  /** By subscription. */
  subscriptions: Array<SubscriptionView>;
};

/** An exact decimal, at most 28 digits: a quoted string or a whole number */
export type Decimal = string | number;

/** SHA-256 in hexadecimal */
export type Digest = string;

/** Something a plan gives besides metered use. */
export type Entitlement = boolean | number | string;

/** What a customer may do. */
export type EntitlementsView = {
  /** Switches, numbers and texts of the customer's plans. */
  entitlements: Record<string, Entitlement>;
  /** The customer's quotas as they stand. */
  quotas: Array<QuotaState>;
  /** How fast the customer may call. */
  rate_limits: Array<RateLimitSpec>;
};

/** A native event. A CloudEvent is taken in its place. */
export type EventBody = {
  /** Id of an event of the same source that this one restates. */
  amends?: string | null;
  /** Whose usage it is. */
  customer: CustomerId;
  /** Unique within the source, for ever. */
  id: string;
  /** Further facts: texts, numbers, switches. */
  properties?: Record<string, unknown> | null;
  /** How much; 1 when absent. Negative amounts are corrections. */
  quantity?: Decimal | null;
  /** Resource used. */
  resource?: string | null;
  /** Id of an event of the same source that this one takes back. */
  reverses?: string | null;
  /** The producer. */
  source?: string | null;
  /** Subject within the customer. */
  subject?: string | null;
  /** When it happened; now when absent. */
  time?: Timestamp | null;
  /** What kind of usage. */
  type: string;
  /** Unit the producer measured in, for information. */
  unit?: string | null;
  /** End user. */
  user?: string | null;
};

/** An exact number: a decimal, or a fraction such as `1/3` where no decimal is exact */
export type Exact = string;

export type InvoiceId = string;

/** Where an invoice is in its life. */
export type InvoiceState = "draft" | "pending" | "paid" | "overdue" | "uncollectible" | "void";

/** An invoice without its lines. */
export type InvoiceSummary = {
  /** Who pays. */
  customer: CustomerId;
  /** The cycle. */
  cycle: number;
  /** When the cycle fell due. */
  due_cycle_at: Timestamp;
  /** Id. */
  id: InvoiceId;
  /** When it was finalized. */
  issued_at?: Timestamp | null;
  /** Number. */
  number?: string | null;
  /** 0, or the part of a cycle that was billed before it closed. */
  part: number;
  /** Ledger watermark it was computed at. */
  position: number;
  /** The revision. */
  revision: number;
  /** State. */
  state: InvoiceState;
  /** The subscription. */
  subscription: SubscriptionId;
  /** Total. */
  total: Money;
};

/** Name of a meter */
export type MeterKey = string;

/** An amount on the currency's minor unit */
export type Money = {
  /** A decimal with all digits of the minor unit */
  amount: string;
  /** ISO 4217 code */
  currency: string;
};

/** `[start, end)`. */
export type Period = {
  /** First instant after. */
  end: Timestamp;
  /** First instant inside. */
  start: Timestamp;
};

/** Name of a plan */
export type PlanKey = string;

/** A problem in the form it is sent. */
export type Problem = {
  /** Stable name of the kind, for programs. */
  code: string;
  /** What happened here, and what to do. */
  detail: string;
  /** Id of the request, to find it in the service's logs. */
  request_id?: string | null;
  /** HTTP status. */
  status: number;
  /** The kind in words. */
  title: string;
  /** A URN that names the kind of problem. */
  type: string;
  [more: string]: unknown;
};

/** Where a quota comes from. */
export type QuotaSource = "plan" | "customer";

/** How a quota stands, or would stand after a use. */
export type QuotaState = {
  /** No use passes this; what rolled over from the window before is part of it. */
  hard?: Exact | null;
  /** What is counted. */
  meter: MeterKey;
  /** That stretch, now. */
  period?: Period | null;
  /** Left of the hard limit; absent where there is none. */
  remaining?: Exact | null;
  /** When it starts over; of a rolling window, when all that counts now no longer does. */
  resets_at?: Timestamp | null;
  /** From here on a use is answered with a warning. */
  soft?: Exact | null;
  /** Where the quota comes from; absent where there is none. */
  source?: QuotaSource | null;
  /** Unit of the numbers below. */
  unit: string;
  /** Used so far, without the use that is asked about unless it was consumed. */
  used: Exact;
  /** What it says to the use. */
  verdict: Verdict;
  /** The stretch of time that counts. */
  window?: QuotaWindow | null;
};

/** The stretch of time a quota counts. */
export type QuotaWindow = "hourly" | "daily" | "monthly" | "billing_period" | "rolling";

/** A rate limit of a plan, for the customer's calls. */
export type RateLimitSpec = {
  /** How many at once; `limit` when absent. */
  burst?: number | null;
  /** Calls of this endpoint only; each of them when absent. */
  endpoint?: string | null;
  /** How many calls. */
  limit: number;
  /** In how long. */
  per: RateWindow;
};

/** The unit of time of a rate limit. */
export type RateWindow = "second" | "minute" | "hour";

/** What became of an event. */
export type ReceiptBody = {
  /** Why it was rejected, for programs. */
  code?: string | null;
  /** Hash of the content that was given, of a conflict. */
  given?: Digest | null;
  /** Its id, where it could be read. */
  id?: string | null;
  /** Its number in the request, from 0. */
  index: number;
  /** Lane of the stored event. */
  lane?: number | null;
  /** Position of the stored event in its lane. */
  position?: number | null;
  /** Why it was rejected, for people. */
  reason?: string | null;
  /** `inserted`, `duplicate`, `conflict` or `rejected`. */
  status: string;
  /** Hash of the content that is stored, of a conflict. */
  stored?: Digest | null;
};

/** How many events got which receipt. */
export type ReceiptCounts = {
  /** Refused: key taken by other content. */
  conflict: number;
  /** Stored before. */
  duplicate: number;
  /** Stored now. */
  inserted: number;
  /** Refused: not acceptable. */
  rejected: number;
};

/** Receipts of a request. */
export type Receipts = {
  /** How many events got which receipt. */
  counts: ReceiptCounts;
  /** The receipts, in the order of the events. */
  receipts: Array<ReceiptBody>;
  /** Whether there were more problems than are listed, of a stream. */
  truncated?: boolean;
};

/** Name of a subscription */
export type SubscriptionId = string;

/** Usage of a subscription. */
export type SubscriptionView = {
  /** Its price book. */
  book: BookRef;
  /** By charge. */
  charges: Array<ChargeView>;
  /** Sum of the costs of usage. */
  cost: Money;
  /** The billing period. */
  period: Period;
  /** Its plan. */
  plan: PlanKey;
  /** Ledger position it is true as of. */
  position: number;
  /** The subscription. */
  subscription: string;
  /** Usage up to here was looked at. */
  until: Timestamp;
};

/** An instant, RFC 3339 */
export type Timestamp = string;

/** What a quota says to a use. */
export type Verdict = "allowed" | "warning" | "denied" | "unlimited";

/** The verdict on a use that is asked about. */
export type Verdicts = {
  /** Whether it may go on. */
  allowed: boolean;
  /** No use passes this; what rolled over from the window before is part of it. */
  hard?: Exact | null;
  /** What is counted. */
  meter: MeterKey;
  /** That stretch, now. */
  period?: Period | null;
  /** Left of the hard limit; absent where there is none. */
  remaining?: Exact | null;
  /** When it starts over; of a rolling window, when all that counts now no longer does. */
  resets_at?: Timestamp | null;
  /** From here on a use is answered with a warning. */
  soft?: Exact | null;
  /** Where the quota comes from; absent where there is none. */
  source?: QuotaSource | null;
  /** Unit of the numbers below. */
  unit: string;
  /** Where to get more, when the quota is used up. */
  upgrade?: string | null;
  /** Used so far, without the use that is asked about unless it was consumed. */
  used: Exact;
  /** What it says to the use. */
  verdict: Verdict;
  /** The stretch of time that counts. */
  window?: QuotaWindow | null;
};
