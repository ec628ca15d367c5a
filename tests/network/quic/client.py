"""A QUIC client that falls back to TLS over TCP, as HTTP/3 clients do. Prints one line of JSON.

    client.py NAME ADDRESS PORT [version=1|2] [also=1|2] [alpn=BYTES] [send=BYTES] [device=NAME]
        [socket=connected|unconnected|both] [rtt=SECONDS]

version: of its first packet; also: another that it offers; alpn: protocols of so many bytes besides
its own, which make the hello longer; send: bytes that it sends; device: what its socket is bound to;
socket: connected, as Chromium's; unconnected, as most libraries'; both families in one, unconnected, as
Java's; rtt: what it takes the round trip for at first. Six times that is how long aioquic keeps to
itself that the other end has closed.
"""

import asyncio
import json
import socket
import ssl
import sys
import time

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion

# Real clients wait for longer.
LIMIT_SECONDS = 8
VERSIONS = {"1": QuicProtocolVersion.VERSION_1, "2": QuicProtocolVersion.VERSION_2}


class Client(QuicConnectionProtocol):
    """`outcome` is "served", or why not; connected sockets are told of ICMP errors."""

    def __init__(self, quic, payload):
        super().__init__(quic)
        self.payload = payload
        self.outcome = asyncio.get_running_loop().create_future()

    def end(self, outcome):
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def error_received(self, error):
        self.end(type(error).__name__)

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            stream = self._quic.get_next_available_stream_id()
            self._quic.send_stream_data(stream, self.payload, end_stream=True)
            self.transmit()
        elif isinstance(event, StreamDataReceived):
            self.end("served" if event.data == b"lab" else repr(event.data))
        elif isinstance(event, ConnectionTerminated):
            self.end(event.reason_phrase or str(event.error_code))


async def over_quic(name, address, port, options):
    version = VERSIONS[options.get("version", "1")]
    also = [VERSIONS[options["also"]]] if "also" in options else []
    long = int(options.get("alpn", "0"))
    configuration = QuicConfiguration(
        alpn_protocols=["lab"] + ["x" * 100] * (long // 100),
        server_name=name,
        original_version=version,
        supported_versions=also + [version],
        verify_mode=ssl.CERT_NONE,
        # A busy machine is no lossy network: nothing is sent again because it took long.
        initial_rtt=float(options.get("rtt", "1")),
    )
    kind = options.get("socket", "connected")
    is_v6 = ":" in address
    if kind == "both":
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        address = address if is_v6 else f"::ffff:{address}"
        is_v6 = True
    else:
        sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
    if "device" in options:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options["device"].encode())
    sock.setblocking(False)
    if kind == "connected":
        sock.connect((address, port))
    else:
        sock.bind(("", 0))
    quic = QuicConnection(configuration=configuration)
    payload = bytes(int(options.get("send", "1")))
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(lambda: Client(quic, payload), sock=sock)
    client.connect((address, port, 0, 0) if is_v6 else (address, port))
    start = time.monotonic()  # the hello is on its way
    try:
        outcome = await asyncio.wait_for(client.outcome, LIMIT_SECONDS)
    except TimeoutError:
        outcome = "silence"
    milliseconds = (time.monotonic() - start) * 1000
    client.close()
    return {"quic": outcome, "milliseconds": milliseconds, "version": quic._version}


def over_tcp(name, address, port):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), LIMIT_SECONDS) as stream:
            with context.wrap_socket(stream, server_hostname=name):
                return "served"
    except OSError as error:
        return type(error).__name__


def main(name, address, port, *options):
    options = dict(option.split("=") for option in options)
    seen = asyncio.run(over_quic(name, address, int(port), options))
    if seen["quic"] != "served":
        seen["tcp"] = over_tcp(name, address, int(port))
    print(json.dumps(seen))


main(*sys.argv[1:])
