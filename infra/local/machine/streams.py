"""Bytes through pipes and terminals under asyncio, with backpressure."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator

CHUNK = 256 * 1024


async def chunks(stream: io.FileIO) -> AsyncIterator[bytes]:
    """Yield the output of a non-blocking stream until its end."""
    while True:
        data = read_now(stream)
        if data is None:
            await _readable(stream)
        elif data:
            yield data
            await asyncio.sleep(0)  # one busy stream must not starve the others
        else:
            return


def read_now(stream: io.FileIO) -> bytes | None:
    """Read what is available: None if nothing yet, empty at the end."""
    try:
        return stream.read(CHUNK)
    except OSError:  # EIO means that the other end of the terminal is closed
        return b""


async def send(stream: io.FileIO, data: bytes) -> None:
    """Write everything to a non-blocking stream; OSError when it has no reader."""
    view = memoryview(data)
    while view:
        written: int | None = stream.write(view)
        if written is None:
            await _writable(stream)
        else:
            view = view[written:]


def close(stream: io.FileIO) -> None:
    """Close a stream; repeated calls are harmless."""
    if stream.closed:
        return
    loop = asyncio.get_running_loop()
    # Closing a descriptor that the loop still watches would hide the next one with its number.
    loop.remove_reader(stream.fileno())
    loop.remove_writer(stream.fileno())
    with contextlib.suppress(OSError):
        stream.close()


async def _readable(stream: io.FileIO) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(stream.fileno(), _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(stream.fileno())


async def _writable(stream: io.FileIO) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(stream.fileno(), _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(stream.fileno())


def _set(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
