"""Send usage to Counterfoil, ask about quotas, meter ASGI applications.

>>> from counterfoil import Client, Writer
>>> client = Client("http://127.0.0.1:8080", "cf_...")      # doctest: +SKIP
>>> with Writer(client, spill="spill") as writer:           # doctest: +SKIP
...     writer.send({"customer": "acme", "type": "call", "source": "api"})
"""

from .asgi import MeterMiddleware
from .client import Client, CounterfoilError, ProblemError, UnreachableError
from .types import (
    CallAnswer,
    ChargeUsage,
    Consumed,
    CustomerUsage,
    Entitlements,
    Event,
    InvoicePage,
    InvoiceSummary,
    Money,
    Period,
    QuotaState,
    QuotaVerdict,
    RateLimit,
    Receipt,
    ReceiptCounts,
    Receipts,
    SubscriptionUsage,
)
from .writer import Closed, Full, Refused, Stats, Writer, WriterClosed

__all__ = [
    "CallAnswer",
    "ChargeUsage",
    "Client",
    "Closed",
    "Consumed",
    "CounterfoilError",
    "CustomerUsage",
    "Entitlements",
    "Event",
    "Full",
    "InvoicePage",
    "InvoiceSummary",
    "MeterMiddleware",
    "Money",
    "Period",
    "ProblemError",
    "QuotaState",
    "QuotaVerdict",
    "RateLimit",
    "Receipt",
    "ReceiptCounts",
    "Receipts",
    "Refused",
    "Stats",
    "SubscriptionUsage",
    "UnreachableError",
    "Writer",
    "WriterClosed",
]
