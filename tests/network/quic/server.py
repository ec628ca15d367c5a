"""A QUIC server that answers "lab" to whatever a stream brings.

    server.py CERTIFICATE KEY PORT retry|direct ADDRESS...
"""

import asyncio
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived
from aioquic.quic.packet import QuicProtocolVersion


class Lab(QuicConnectionProtocol):
    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived) and event.end_stream:
            self._quic.send_stream_data(event.stream_id, b"lab", end_stream=True)
            self.transmit()


async def main(certificate, key, port, retry, *addresses):
    configuration = QuicConfiguration(
        is_client=False,
        alpn_protocols=["lab"],
        # A client that offers both is moved to version 2 (RFC 9368 section 2.3).
        supported_versions=[QuicProtocolVersion.VERSION_2, QuicProtocolVersion.VERSION_1],
        # As in client.py.
        initial_rtt=1.0,
    )
    configuration.load_cert_chain(certificate, key)
    for address in addresses:
        await serve(
            address,
            int(port),
            configuration=configuration,
            create_protocol=Lab,
            retry=retry == "retry",
        )
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
