"""Connection: what every attached worker has: identity, calls made, calls running.

The base of both kinds of port (``_ports.py``, ``_link_port.py``). It holds; it decides nothing.
"""

from iii_trio.access import Session
from iii_trio.engine._invocation import Invocation
from iii_trio.engine._roster import WorkerRecord
from iii_trio.protocol import DEFAULT_NAMESPACE


class Connection:
    """One attached worker.

    Attributes:
        record: who it is; shared with the roster.
        caller_field: how a callee is told who called, as a JSON member.
        made: calls in flight that it waits for.
        executing: calls in flight that it runs.
        session: what it may do; ``None``: everything.
    """

    is_local = False
    session: Session | None = None

    def __init__(self, record: WorkerRecord) -> None:
        self.record = record
        self.worker_id = record.worker_id
        self.caller_field = f'"_caller_worker_id":"{record.worker_id}"'.encode()
        self.made: dict[Invocation, None] = {}
        self.executing: dict[Invocation, None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.worker_id} {self.record.name or ''}>"

    @property
    def is_live(self) -> bool:
        """False from the moment its teardown began."""
        return self.record.is_live

    @property
    def namespace(self) -> str:
        """Its namespace; ``default`` while none is known."""
        return self.record.namespace or DEFAULT_NAMESPACE
