"""Rounds of writing, killing, restarting and comparing; the model of what may be found.

Clients on public SDKs live through all rounds; each says what it tries, what was
acknowledged and what is delivered to it. A server is killed in each round. Between two
servers the files are copied and read: what a copy does not hold any more of a queue was
delivered, and its acknowledgement is committed. The next server is asked, through the
clients, what it holds.
"""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import apsw
import attrs
import trio

from tests import sdks
from tests.integration import crash_server
from tests.integration.server_rig import COMMAND, environment
from tests.sdks import Language

LANGUAGES: Final[tuple[Language, ...]] = ("py", "ts")
QUEUES: Final = ("line", "jobs", "news")
VALUES: Final = ("state", "stream", "config")
WRITES: Final = (*VALUES, "count", *QUEUES)
GROUPS: Final = 3

CONFIG = """
workers:
  - {{name: iii-worker-manager, config: {{host: 127.0.0.1, port: {port}}}}}
  - {{name: iii-state}}
  - {{name: iii-stream, config: {{host: 127.0.0.1, port: 0}}}}
  - name: iii-queue
    config:
      queue_configs:
        py-line: {fifo}
        ts-line: {fifo}
        py-jobs: {standard}
        ts-jobs: {standard}
"""
STANDARD = "{max_retries: 2, backoff_ms: 1}"
FIFO = "{type: fifo, message_group_field: group, max_retries: 2, backoff_ms: 1}"

PATIENCE = 900.0
"""Seconds until a round is given up; never waited for when all is well. Under ``nice`` on
a busy machine it can take minutes to fill the log until SQLite writes to its data."""


@attrs.define
class History:
    """What a client said, and what must be true of it.

    Attributes:
        tried: the last number that was tried, by kind.
        acknowledged: the numbers that were acknowledged, by kind.
        runs: deliveries in their order, by queue.
        settled: numbers whose acknowledgement is known to be committed, by queue.
    """

    tried: dict[str, int] = attrs.field(factory=dict)
    acknowledged: dict[str, list[int]] = attrs.field(factory=dict)
    runs: dict[str, list[int]] = attrs.field(
        factory=lambda: {name: [] for name in QUEUES}
    )
    settled: dict[str, set[int]] = attrs.field(
        factory=lambda: {name: set() for name in QUEUES}
    )

    def __str__(self) -> str:
        acknowledged = ", ".join(
            f"{len(self.acknowledged.get(kind, ()))} {kind}" for kind in WRITES
        )
        delivered = sum(map(len, self.runs.values()))
        return f"acknowledged {acknowledged}; {delivered} deliveries"

    def told(self, line: str) -> None:
        """Take in a line of the client."""
        what, kind, *rest = line.split(maxsplit=3)
        if what == "try":
            self.tried[kind] = int(rest[0])
        elif what == "ack":
            self.acknowledged.setdefault(kind, []).append(int(rest[0]))
        elif what == "run":
            number = int(rest[0])
            assert number not in self.settled[kind], (
                f"{kind} {number} was delivered again after it was settled"
            )
            self.runs[kind].append(number)

    @property
    def acknowledgements(self) -> int:
        """How many there were."""
        return sum(map(len, self.acknowledged.values()))

    def check_values(self, found: dict[str, Any]) -> None:
        """Nothing acknowledged is lost, and nothing is there that nobody wrote."""
        for kind in VALUES:
            last = self.acknowledged.get(kind, [0])[-1]
            value = found[kind]
            if kind == "config" and value is not None:
                value = value["value"]
            number = 0 if value is None else value["n"]
            assert last <= number <= self.tried.get(kind, 0), (kind, last, number)
            assert value is None or value.get("pad", "x" * 500) == "x" * 500
        count, sure = found["count"] or 0, len(self.acknowledged.get("count", []))
        assert sure <= count <= self.tried.get("count", 0), ("count", sure, count)

    def check_files(self, held: dict[str, dict[int, bool]]) -> None:
        """No message is lost; each group of the fifo queue keeps its order.

        Args:
            held: what the files hold of each queue: number, and whether it is dead.
        """
        for queue in QUEUES:
            known, ran = set(self.acknowledged.get(queue, [])), set(self.runs[queue])
            gone = (known | ran) - held[queue].keys()
            assert gone <= ran, f"lost from {queue}: {sorted(gone - ran)}"
            self.settled[queue] |= gone
        for queue in ("line", "jobs"):
            dead = {number for number, is_dead in held[queue].items() if is_dead}
            assert all(number % 11 == 0 for number in dead), (queue, dead)
            assert not any(number % 11 == 0 for number in self.settled[queue])
        assert not any(held["news"].values())
        for group in range(GROUPS):
            order = [one for one in self.runs["line"] if one % GROUPS == group]
            assert order == sorted(order), f"group {group} lost its order"


def held_in(files: Path) -> dict[str, dict[int, bool]]:
    """The messages in a copy of the files: queue to number to whether it is dead."""
    held: dict[str, dict[int, bool]] = {
        f"{language}-{queue}": {} for language in LANGUAGES for queue in QUEUES
    }
    connection = apsw.Connection(str(files))
    try:
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        rows: Any = (
            connection.execute("SELECT queue, payload, state FROM queue_message")
            if tables
            else ()
        )
        for queue, payload, state in rows:
            name = json.loads(queue)[1]
            assert json.loads(payload)["n"] not in held[name], "it is there twice"
            held[name][json.loads(payload)["n"]] = state == 4
    finally:
        connection.close()
    return held


@attrs.define
class Client:
    """A program on an SDK."""

    language: Language
    process: trio.Process
    history: History = attrs.field(factory=History)
    _orders: int = 0
    _answers: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def __str__(self) -> str:
        return f"{self.language}: {self.history}"

    async def listen(self) -> None:
        """Take in what it says, until it ends."""
        assert self.process.stdout is not None
        rest = b""
        async for piece in self.process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._told(line.decode())
            news, self._news = self._news, trio.Event()
            news.set()

    def _told(self, line: str) -> None:
        what, number, *rest = line.split(maxsplit=2)
        if what == "mark":
            self._answers[number] = {}
        elif what == "found":
            found = self._answers[number] = json.loads(rest[0])
            # Here and now: the next line may be an acknowledgement of something new.
            self.history.check_values(found)
        elif what != "again":
            self.history.told(line)

    async def acknowledgements(self, count: int) -> None:
        """Wait for so many more."""
        await trio.lowlevel.checkpoint()
        wanted = self.history.acknowledgements + count
        while self.history.acknowledgements < wanted:
            await self._news.wait()

    async def ask(self, order: str) -> dict[str, Any]:
        """Tell it ``look``, ``check`` or ``mark``; what the server holds."""
        assert self.process.stdin is not None
        self._orders += 1
        number = str(self._orders)
        await self.process.stdin.send_all(f"{order} {number}\n".encode())
        while number not in self._answers:
            await self._news.wait()
        return self._answers.pop(number)

    async def rest(self) -> None:
        """Let it write no more; wait until its queues are empty."""
        found = await self.ask("look")
        while any(found[queue]["depth"] for queue in QUEUES):
            found = await self.ask("look")


@attrs.define
class Rounds:
    """A directory, a port, clients, and one server after another.

    Attributes:
        killed: how many rounds were killed where, by the name of the point.
    """

    directory: Path
    clients: list[Client]
    rng: random.Random
    killed: dict[str, int] = attrs.field(factory=dict)

    async def kill_at_random(self) -> None:
        """A round of ``python -m iii_trio``, killed at a random instant."""
        config = str(self.directory / "config.yaml")
        async with self._server([*COMMAND, "-c", config]) as process:
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    nursery.start_soon(self._write, client, self.rng.randrange(1, 100))
            await trio.sleep(self.rng.random() / 50)
            process.kill()
            await process.wait()
        await self._compare("random instant")

    async def kill_at(self, point: str) -> None:
        """A round in which the server kills itself at a named point."""
        passed = self.rng.randrange(40 if "db" not in point else 2)
        config = str(self.directory / "config.yaml")
        module = crash_server.__name__
        command = [sys.executable, "-m", module, config, "data", point, str(passed)]
        async with self._server(command) as process:
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    nursery.start_soon(client.ask, "check")
                await process.wait()
                nursery.cancel_scope.cancel(reason="killed")
            assert process.returncode == -9
        await self._compare(point)

    async def finish(self) -> None:
        """A last server, which is not killed: everything is delivered or dead."""
        config = str(self.directory / "config.yaml")
        async with self._server([*COMMAND, "-c", config]):
            for client in self.clients:
                await client.rest()
                history = client.history
                for queue in QUEUES:
                    acknowledged = set(history.acknowledged[queue])
                    assert acknowledged <= set(history.runs[queue])

    async def _write(self, client: Client, count: int) -> None:
        await client.ask("check")
        await client.acknowledgements(count)

    async def _compare(self, point: str) -> None:
        await trio.lowlevel.checkpoint()
        for client in self.clients:
            await client.ask("mark")  # all that was delivered is known now
        self.killed[point] = self.killed.get(point, 0) + 1
        copy = self.directory / "copy"
        shutil.copytree(self.directory / "data", copy)
        held = held_in(copy / "iii-trio.db")
        for client in self.clients:
            client.history.check_files(
                {queue: held[f"{client.language}-{queue}"] for queue in QUEUES}
            )
        shutil.rmtree(copy)

    @contextlib.asynccontextmanager
    async def _server(self, command: list[str]) -> AsyncIterator[trio.Process]:
        with (self.directory / "server.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                command, cwd=self.directory, stderr=log, env=environment()
            )
        try:
            with trio.fail_after(PATIENCE):
                yield process
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


@contextlib.asynccontextmanager
async def open_rounds(directory: Path, rng: random.Random) -> AsyncIterator[Rounds]:
    """Start the clients; they wait for a server. End them with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (directory / "config.yaml").write_text(
        CONFIG.format(port=port, fifo=FIFO, standard=STANDARD)
    )
    (directory / "data").mkdir()
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(_open_client(language, directory, port))
            for language in LANGUAGES
        ]
        yield Rounds(directory, clients, rng)


@contextlib.asynccontextmanager
async def _open_client(
    language: Language, rounds: Path, port: int
) -> AsyncIterator[Client]:
    directory = rounds / language
    directory.mkdir()
    with (directory / "client.log").open("ab") as log:
        process = await trio.lowlevel.open_process(
            sdks.program(language, "crash_user", directory),
            cwd=directory,
            env={**os.environ, "III_URL": f"ws://127.0.0.1:{port}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    client = Client(language, process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.listen)
        try:
            yield client
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
