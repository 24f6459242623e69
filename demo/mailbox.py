#!/usr/bin/env python3
"""A mail server on a loopback port that keeps every mail as a file.

Usage: demo/mailbox.py DIRECTORY

Writes the port it got to DIRECTORY/port, then mails as 000001.eml and so on, each
with the envelope's addresses in front.  Runs until terminated.
"""
import asyncio
import os
import signal
import sys

from aiosmtpd.smtp import SMTP


class Mailbox:
    def __init__(self, directory):
        self.directory = directory
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        path = os.path.join(self.directory, f"{self.count:06d}.eml")
        with open(path + ".tmp", "wb") as mail:
            mail.write(f"Return-Path: <{envelope.mail_from}>\r\n".encode())
            for recipient in envelope.rcpt_tos:
                mail.write(f"Delivered-To: {recipient}\r\n".encode())
            mail.write(envelope.original_content)
        os.rename(path + ".tmp", path)
        return f"250 2.0.0 kept as {self.count:06d}"


async def main(directory):
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    handler = Mailbox(directory)
    server = await loop.create_server(lambda: SMTP(handler, loop=loop, enable_SMTPUTF8=True), "127.0.0.1", 0)
    port = os.path.join(directory, "port")
    with open(port + ".tmp", "w", encoding="ascii") as file:
        file.write(f"{server.sockets[0].getsockname()[1]}\n")
    os.rename(port + ".tmp", port)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
