"""A mail server for tests: aiosmtpd, with TLS and a password, that does as the recipient says.

`later@` is answered 451, `nobody@` 550 5.1.1, `spam@` 554 5.7.1 after the message; the connection
breaks after the first message to `drop@`. Each message is printed as a line of JSON.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

mode, certificate, key = sys.argv[1:4]
dropped = set()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("later@"):
            return "451 4.3.0 later"
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        said = {
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode("utf-8", "replace"),
            "tls": server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data and session.auth_data.login.decode(),
        }
        print(json.dumps(said), flush=True)
        address = envelope.rcpt_tos[0]
        if address.startswith("drop@") and address not in dropped:
            dropped.add(address)
            server.transport.abort()
        if address.startswith("spam@"):
            return "554 5.7.1 this is spam"
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"user", b"secret")
    return AuthResult(success=good, auth_data=data if good else None, handled=good)


async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    starttls = mode == "starttls"

    def connected():
        return SMTP(
            Handler(),
            hostname="localhost",
            tls_context=tls if starttls else None,
            require_starttls=starttls,
            auth_required=True,
            auth_require_tls=starttls,
            authenticator=authenticate,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        connected, "127.0.0.1", 0, ssl=None if starttls else tls
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
