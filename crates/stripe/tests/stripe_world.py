"""Stripe's invoices, customers and credit notes by a server that others wrote, with its own state,
idempotency and life cycle. Takes a free port, prints it, and serves until it is killed."""

import socket
import sys

import seahaven_stripe_world
from seahaven.http import main
from seahaven_stripe_world.http_api import handle

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
print(port, flush=True)
# Access logs would fill the pipe.
sys.stdout = sys.stderr
options = '{"startup": {"livemode": false}}'
main(seahaven_stripe_world.world, handle, ["--port", str(port), "--reset-options", options])
