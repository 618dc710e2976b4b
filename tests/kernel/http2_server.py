"""A server of HTTP/2, as `asyncio.start_server` takes one."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded


def answering(heads, body, *lines):
    """Answers every request with `body` and `lines`; the heads of requests go into `heads`."""

    async def serve(reader, writer):
        side = H2Connection(H2Configuration(client_side=False))
        side.initiate_connection()
        while not reader.at_eof():
            writer.write(side.data_to_send())
            for event in side.receive_data(await reader.read(65536)):
                if isinstance(event, RequestReceived):
                    heads.append(dict(event.headers))
                if isinstance(event, StreamEnded):
                    side.send_headers(event.stream_id, [(":status", "200"), *lines])
                    side.send_data(event.stream_id, body, end_stream=True)
            writer.write(side.data_to_send())
        writer.close()

    return serve
