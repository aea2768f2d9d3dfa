"""Typed calls against the real service; the types against its OpenAPI document."""

import json
import unittest
from typing import get_type_hints

import counterfoil
from counterfoil import Client, ProblemError, UnreachableError

from . import service

#: Our types, by the names the document has for them.
SCHEMAS = {
    "EventBody": counterfoil.Event,
    "ReceiptBody": counterfoil.Receipt,
    "ReceiptCounts": counterfoil.ReceiptCounts,
    "Money": counterfoil.Money,
    "Period": counterfoil.Period,
    "QuotaState": counterfoil.QuotaState,
    "Verdicts": counterfoil.QuotaVerdict,
    "ConsumeAnswer": counterfoil.Consumed,
    "CallAnswer": counterfoil.CallAnswer,
    "RateLimitSpec": counterfoil.RateLimit,
    "EntitlementsView": counterfoil.Entitlements,
    "ChargeView": counterfoil.ChargeUsage,
    "SubscriptionView": counterfoil.SubscriptionUsage,
    "CustomerUsage": counterfoil.CustomerUsage,
    "InvoiceSummary": counterfoil.InvoiceSummary,
}


class Types(unittest.TestCase):
    def test_types_have_the_fields_of_the_openapi_document(self) -> None:
        schemas = json.loads(service.OPENAPI.read_text())["components"]["schemas"]
        for name, ours in SCHEMAS.items():
            with self.subTest(name):
                schema = schemas[name]
                self.assertEqual(set(get_type_hints(ours)), set(schema["properties"]))
                required = set(schema.get("required", ()))
                # The client fills in the id of an event.
                self.assertEqual(set(ours.__required_keys__) | ({"id"} & required), required)


class Calls(unittest.TestCase):
    def setUp(self) -> None:
        self.client = service.client()

    def test_events_get_receipts(self) -> None:
        event = {"id": "c1", "source": "py-calls", "customer": "py", "type": "call"}
        self.client.send([event])
        receipts = self.client.send([event, {"id": "", "customer": "py", "type": "call"}])
        self.assertEqual(receipts["counts"]["rejected"], 1)
        self.assertEqual(receipts["counts"]["inserted"], 0)

    def test_usage_quotas_limits_entitlements_invoices(self) -> None:
        usage = self.client.usage("py")
        self.assertEqual(usage["subscriptions"][0]["charges"][0]["meter"], "calls")
        for _ in range(2):
            self.client.consume("py-u1", "py", "tokens", "2.5")
        self.assertEqual(self.client.consume("py-u2", "py", "tokens", 7)["quotas"][0]["used"], "9.5")
        with self.assertRaises(ProblemError) as over:
            self.client.consume("py-u3", "py", "tokens")
        self.assertEqual((over.exception.status, over.exception.code), (402, "over_quota"))
        self.assertTrue(self.client.check_quota("py", "calls")["allowed"])
        self.assertTrue(self.client.check_limits("py", "/x")["allowed"])
        self.assertEqual(self.client.entitlements("py")["entitlements"]["projects"], 3)
        # The service's own job may have drafted the month that is over.
        invoices = self.client.invoices("py")["items"]
        self.assertEqual([one for one in invoices if one["state"] != "draft"], [])

    def test_errors_are_problems(self) -> None:
        with self.assertRaises(ProblemError) as missing:
            self.client.usage("no/body")
        self.assertEqual(missing.exception.code, "not_found")
        with self.assertRaises(ProblemError) as wrong:
            with Client(service.URL, "cf_wrong") as unknown:
                unknown.usage("py")
        self.assertEqual(wrong.exception.status, 401)
        with self.assertRaises(UnreachableError):
            Client("http://127.0.0.1:9", "k", timeout=1).usage("py")
        with self.assertRaises(ValueError):
            Client("localhost", "k")


if __name__ == "__main__":
    unittest.main()
