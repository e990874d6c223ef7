"""Workers: ids, names, namespaces, metadata and reattach tokens.

Pure. A name is a lease per (namespace, name): a live worker keeps it, one whose teardown
began no longer does.
"""

import hmac
from collections.abc import Iterator
from typing import Literal, final

import attrs

from iii_trio.protocol import DEFAULT_NAMESPACE, clean_label


@final
@attrs.define(eq=False, kw_only=True)
class WorkerRecord:
    """What is known of one attached worker.

    Attributes:
        namespace: ``None`` until it is known (protocol, section 3.2).
        connected_at_ms: wall time, epoch milliseconds.
        is_live: false from the moment its teardown began.
        announced: it told who it is.
    """

    worker_id: str
    reattach_token: str
    kind: Literal["link", "local"]
    connected_at_ms: int
    ip_address: str | None = None
    is_live: bool = True
    announced: bool = False
    name: str | None = None
    namespace: str | None = None
    runtime: str = "unknown"
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    internal: bool = False


@final
@attrs.frozen(kw_only=True)
class Announcement:
    """The fields of ``engine::workers::register``; absent ones are ``None``."""

    name: str | None = None
    namespace: str | None = None
    runtime: str | None = None
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    features: frozenset[str] = frozenset()


@final
class Roster:
    """Every attached worker, and who holds which name."""

    def __init__(self) -> None:
        self._workers: dict[str, WorkerRecord] = {}
        self._names: dict[tuple[str, str], WorkerRecord] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def __iter__(self) -> Iterator[WorkerRecord]:
        return iter(self._workers.values())

    def add(self, record: WorkerRecord) -> None:
        """Enter a worker that just attached; a name that it has is held from now."""
        self._workers[record.worker_id] = record
        if record.name is not None and record.namespace is not None:
            self._names[record.namespace, record.name] = record

    def get(self, worker_id: str) -> WorkerRecord | None:
        """The worker of this id, if it is attached."""
        return self._workers.get(worker_id)

    def holder(self, namespace: str, name: str) -> WorkerRecord | None:
        """The live worker that holds a name."""
        record = self._names.get((namespace, name))
        return record if record is not None and record.is_live else None

    def announce(self, record: WorkerRecord, told: Announcement) -> WorkerRecord | None:
        """Store who a worker is and take its name.

        The first announcement fixes the namespace; a later one may change the name,
        which gives the old one free, and never moves the worker.

        Returns:
            ``None``, or the live worker that already holds the name: nothing changed.
        """
        namespace = record.namespace or told.namespace or DEFAULT_NAMESPACE
        name = clean_label(told.name)
        if name is not None:
            holder = self.holder(namespace, name)
            if holder is not None and holder is not record:
                return holder
        record.namespace = namespace
        record.announced = True
        if name is not None and name != record.name:
            self.release_name(record)
            record.name = name
            self._names[namespace, name] = record
        record.runtime = told.runtime or "unknown"
        record.version = told.version
        record.description = clean_label(told.description) or record.description
        record.os = told.os or record.os
        record.pid = told.pid if told.pid is not None else record.pid
        record.isolation = told.isolation or record.isolation
        return None

    def find_for_reattach(
        self, worker_id: str, token: str | None, newcomer: WorkerRecord
    ) -> WorkerRecord | None:
        """The worker that ``newcomer`` proves to have been, by the secret token."""
        record = self._workers.get(worker_id)
        if record is None or record is newcomer or token is None or not record.is_live:
            return None
        proven = hmac.compare_digest(record.reattach_token.encode(), token.encode())
        return record if proven else None

    def release_name(self, record: WorkerRecord) -> None:
        """Give a worker's name free, if it still holds it."""
        if record.name is None or record.namespace is None:
            return
        key = record.namespace, record.name
        if self._names.get(key) is record:
            del self._names[key]

    def remove(self, record: WorkerRecord) -> None:
        """Strike a worker from the list."""
        self._workers.pop(record.worker_id, None)
