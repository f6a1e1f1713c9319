"""A faulty connection to a host: it never responds, or breaks after a number of bytes."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

CHUNK = 16 * 1024


@dataclass(frozen=True)
class Relay:
    """The fault applied to each connection to the host's own port."""

    port: int
    mute: bool
    drop_bytes: int | None
    """Bytes, in both directions together, after which the connection breaks."""

    async def listen(self) -> int:
        """Listen on a free loopback port; return it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if self.mute:
                while await reader.read(CHUNK):
                    pass
            else:
                await self._carry(reader, writer)
        writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
        left = self.drop_bytes

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            nonlocal left
            while data := await source.read(CHUNK if left is None else max(1, min(CHUNK, left))):
                target.write(data)
                await target.drain()
                if left is not None:
                    left -= len(data)
                    if left <= 0:
                        return

        ways = [asyncio.ensure_future(copy(reader, inner_writer)), asyncio.ensure_future(copy(inner_reader, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            inner_writer.transport.abort()
