"""Bodies of requests and answers, as the service's OpenAPI document has them.

Decimals are texts: no digit is lost. A test holds these against the document.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, TypedDict, Union


class _EventRequired(TypedDict):
    customer: str
    type: str


class Event(_EventRequired, total=False):
    """A usage event. The service dedupes by (source, id), for ever."""

    id: str
    source: str
    time: str
    quantity: Union[str, int]
    unit: str
    properties: Dict[str, Any]
    subject: str
    resource: str
    user: str
    reverses: str
    amends: str


class _ReceiptRequired(TypedDict):
    index: int
    status: Literal["inserted", "duplicate", "conflict", "rejected"]


class Receipt(_ReceiptRequired, total=False):
    """What became of an event."""

    id: str
    lane: int
    position: int
    code: str
    reason: str
    stored: str
    given: str


class ReceiptCounts(TypedDict):
    """How many events got which receipt."""

    inserted: int
    duplicate: int
    conflict: int
    rejected: int


class Receipts(TypedDict):
    """Receipts of a request, in the order of its events."""

    counts: ReceiptCounts
    receipts: List[Receipt]


class Money(TypedDict):
    """An amount on the currency's minor unit."""

    amount: str
    currency: str


class Period(TypedDict):
    """``[start, end)``."""

    start: str
    end: str


class _QuotaStateRequired(TypedDict):
    meter: str
    unit: str
    verdict: Literal["allowed", "warning", "denied", "unlimited"]
    used: str


class QuotaState(_QuotaStateRequired, total=False):
    """How a quota stands."""

    soft: str
    hard: str
    remaining: str
    resets_at: str
    period: Period
    source: Literal["plan", "customer"]
    window: Literal["hourly", "daily", "monthly", "billing_period", "rolling"]


class _QuotaVerdictRequired(QuotaState):
    allowed: bool


class QuotaVerdict(_QuotaVerdictRequired, total=False):
    """The answer to a question about a use."""

    upgrade: str


class Consumed(TypedDict):
    """What became of a use."""

    allowed: bool
    receipt: Receipt
    quotas: List[QuotaState]


class _CallAnswerRequired(TypedDict):
    allowed: bool


class CallAnswer(_CallAnswerRequired, total=False):
    """What the rate limits of a customer say to a call."""

    remaining: int
    retry_after_seconds: int


class _RateLimitRequired(TypedDict):
    limit: int
    per: str


class RateLimit(_RateLimitRequired, total=False):
    """A rate limit of a plan."""

    endpoint: str
    burst: int


class Entitlements(TypedDict):
    """What a customer's plans give."""

    entitlements: Dict[str, Union[bool, int, str]]
    rate_limits: List[RateLimit]
    quotas: List[QuotaState]


class _ChargeUsageRequired(TypedDict):
    charge: str
    name: str
    meter: str
    unit: str
    used: str
    included: str
    remaining: str
    overage: str
    cost: Money
    events: int


class ChargeUsage(_ChargeUsageRequired, total=False):
    """Usage of a charge."""

    forecast: str


class SubscriptionUsage(TypedDict):
    """Usage of a subscription in its current period."""

    subscription: str
    book: Any
    plan: str
    period: Period
    until: str
    position: int
    charges: List[ChargeUsage]
    cost: Money


class CustomerUsage(TypedDict):
    """Usage of a customer now."""

    customer: str
    subscriptions: List[SubscriptionUsage]


class _InvoiceSummaryRequired(TypedDict):
    id: str
    state: Literal["draft", "pending", "paid", "overdue", "uncollectible", "void"]
    customer: str
    subscription: str
    cycle: int
    revision: int
    part: int
    due_cycle_at: str
    position: int
    total: Money


class InvoiceSummary(_InvoiceSummaryRequired, total=False):
    """An invoice without its lines."""

    number: str
    issued_at: str


class _InvoicePageRequired(TypedDict):
    items: List[InvoiceSummary]


class InvoicePage(_InvoicePageRequired, total=False):
    """A page of invoices."""

    next: str
