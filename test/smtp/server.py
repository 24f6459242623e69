#!/usr/bin/env python3
"""An SMTP server on loopback that does as it is told.

    server.py DIRECTORY

writes its port to DIRECTORY/port, every accepted message to DIRECTORY/accepted
(one JSON object a line with the time, on disk before the client hears of it) every byte it
was sent in the clear to DIRECTORY/wire, and the commands it saw in them to
DIRECTORY/commands.  DIRECTORY/behaviour, if it is there, is a JSON
object: for a recipient a list, whose n-th entry rules the n-th attempt; a
longer run of attempts is accepted.  An entry is
    {"at": "rcpt" | "mail" | "data", "reply": "451 4.3.0 later"}
    {"at": ..., "do": "hang" | "drop" | "accept_and_drop" | "accept_and_close"}
"mail" entries go by the sender's address.  "*" stands for every recipient.
If there is DIRECTORY/cert.pem, with a key, the server offers STARTTLS, and a
login as user "shop" with password "open sesame" within it.
"""
import asyncio
import base64
import json
import os
import signal
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult

directory = sys.argv[1]
accepted = open(os.path.join(directory, "accepted"), "ab", buffering=0)
wire = open(os.path.join(directory, "wire"), "ab", buffering=0)
commands = open(os.path.join(directory, "commands"), "ab", buffering=0)
attempts = {}


def behaviour(address, at):
    try:
        with open(os.path.join(directory, "behaviour")) as f:
            rules = json.load(f)
    except FileNotFoundError:
        return None
    entries = rules.get(address, rules.get("*", []))
    entries = [e for e in entries if e["at"] == at]
    n = attempts.get((address, at), 0)
    attempts[(address, at)] = n + 1
    return entries[n] if n < len(entries) else None


class Handler:
    async def obey(self, server, rule):
        if rule is None:
            return None
        if "reply" in rule:
            return rule["reply"]
        if rule["do"] == "hang":
            await asyncio.Event().wait()
        if rule["do"] == "accept_and_close":
            # once the answer is written
            asyncio.get_running_loop().call_soon(server.transport.close)
            return None
        server.transport.abort()
        return "421 gone"

    async def handle_MAIL(self, server, session, envelope, address, options):
        commands.write(b"MAIL %s\n" % address.encode())
        reply = await self.obey(server, behaviour(address, "mail"))
        if reply is None:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
            return "250 2.1.0 Ok"
        return reply

    async def handle_RCPT(self, server, session, envelope, address, options):
        commands.write(b"RCPT %s\n" % address.encode())
        reply = await self.obey(server, behaviour(address, "rcpt"))
        if reply is None:
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"
        return reply

    async def handle_DATA(self, server, session, envelope):
        rule = behaviour(envelope.rcpt_tos[0], "data")
        if rule is None or rule.get("do", "").startswith("accept"):
            record = {
                "at": time.time(),
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "text": base64.b64encode(envelope.original_content).decode(),
            }
            accepted.write(json.dumps(record).encode() + b"\n")
            os.fsync(accepted.fileno())
        return await self.obey(server, rule) or "250 2.0.0 Ok: taken"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (b"shop", b"open sesame")
    return AuthResult(success=good, handled=good)


class Server(SMTP):
    def data_received(self, data):
        if self.session is None or self.session.ssl is None:
            wire.write(data)
        super().data_received(data)


async def main():
    loop = asyncio.get_running_loop()
    context = None
    cert = os.path.join(directory, "cert.pem")
    if os.path.exists(cert):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert)
    server = await loop.create_server(
        lambda: Server(
            Handler(),
            data_size_limit=None,
            command_call_limit=None,
            tls_context=context,
            authenticator=authenticate if context else None,
        ), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    with open(os.path.join(directory, "port.new"), "w") as f:
        f.write(str(port))
    os.rename(os.path.join(directory, "port.new"), os.path.join(directory, "port"))
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    await done.wait()


asyncio.run(main())
