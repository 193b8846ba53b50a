"""A server with a fault between it and its clients: `hanging.py MODE_FILE SERVER_FLAGS`.

The server is the local one. What is in the file says what happens to the bytes that it sends:
"pass", "hang" (nothing more comes), "half" (half of them, and nothing more) or "close" (the
connection ends). A flag after that says which servers it concerns. A start writes "pass".
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path


async def pump(reader, writer, mode, answers):
    """Pass on what one of the two says."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            now, _, whose = mode.read_text().partition(" ") if answers else ("pass", "", "")
            now = now if whose in ("", *sys.argv) else "pass"
            if now == "close":
                break
            writer.write(
                data if now == "pass" else data[: len(data) // 2] if now == "half" else b""
            )
            await writer.drain()
            if now in ("hang", "half"):
                await asyncio.Event().wait()
    writer.close()


async def main(mode, flags):
    """Serve behind a socket of its own until the server ends."""
    mode.write_text("pass")
    given = next(flag for flag in flags if flag.startswith("--grpc_socket_path="))
    front = given.partition("=")[2]
    back = f"{front}.b"
    flags = [flag.replace(front, back) if flag == given else flag for flag in flags]
    flags = [flag for flag in flags if "file_system_poll_wait_seconds" not in flag]
    server = subprocess.Popen([sys.executable, "-m", "rrl.serving.local_server", *flags])

    async def connected(reader, writer):
        with contextlib.suppress(OSError):
            inner = await asyncio.open_unix_connection(back)
            ways = (reader, inner[1], mode, False), (inner[0], writer, mode, True)
            await asyncio.gather(*(pump(*way) for way in ways))
        writer.close()

    await asyncio.start_unix_server(connected, front)
    sys.exit(await asyncio.to_thread(server.wait))


if __name__ == "__main__":
    if "--version" in sys.argv:
        print("hanging 1")
    else:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
