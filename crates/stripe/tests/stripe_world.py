"""Stripe's invoices, customers and credit notes by a server that others wrote, with its own state,
idempotency and life cycle. Takes a free port, prints it, and serves until it is killed.

That server forgets the metadata an invoice is created with; Stripe keeps it."""

import json
import re
import socket
import sys
import threading
import urllib.parse

import seahaven_stripe_world
from seahaven.http import main
from seahaven_stripe_world.billing import invoicing
from seahaven_stripe_world.http_api import handle

asked = threading.local()
made = invoicing.create_invoice


def made_with_metadata(*args, **kwargs):
    extra = dict(kwargs.pop("extra_columns", None) or {})
    if asked.metadata and kwargs.get("billing_reason") == "manual":
        extra["metadata"] = json.dumps(asked.metadata)
    return made(*args, extra_columns=extra, **kwargs)


def handled(ctx, request):
    body = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
    found = [
        (re.fullmatch(r"metadata\[(.+)\]", name), value)
        for name, value in urllib.parse.parse_qsl(body)
    ]
    asked.metadata = {name[1]: value for name, value in found if name}
    return handle(ctx, request)


invoicing.create_invoice = made_with_metadata

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
print(port, flush=True)
# Access logs would fill the pipe.
sys.stdout = sys.stderr
options = '{"startup": {"livemode": false}}'
main(seahaven_stripe_world.world, handled, ["--port", str(port), "--reset-options", options])
