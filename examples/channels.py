"""Channels: a stream between two workers, and one that its reader breaks off.

Run it: ``python examples/channels.py``.
"""

from typing import Any

import trio

import iii_trio


async def main() -> None:
    """Stream a film to an archive, then watch a broadcast for a while."""
    async with (
        iii_trio.open_engine() as engine,
        iii_trio.open_worker(engine, name="archive") as archive,
        iii_trio.open_worker(engine, name="camera") as camera,
    ):

        @archive.function("archive::store")
        async def store(payload: dict[str, Any]) -> dict[str, int]:
            # A ref may stand anywhere in a payload.
            async with archive.open_reader(payload["films"][0]["frames"]) as reader:
                return {"bytes": len(await reader.read_all())}

        film = await camera.create_channel()

        async def shoot() -> None:
            async with film.writer as writer:
                for _ in range(100):
                    await writer.send(bytes(64_000))  # waits while the buffer is full

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shoot)
            films = {"films": [{"frames": film.reader_ref}]}
            print(f"stored {await camera.invoke('archive::store', films)}")

        broadcast = await camera.create_channel(buffer_size=1)

        async def send_for_ever() -> None:
            await broadcast.writer.wait_peer()
            try:
                while True:
                    await broadcast.writer.send("and now the weather")
            except trio.BrokenResourceError as exc:
                print(f"nobody listens: {exc}")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_for_ever)
            print(await broadcast.reader.receive())
            await broadcast.reader.aclose()
        print(f"open channels: {engine.statistics().channels}")


if __name__ == "__main__":
    trio.run(main)
