"""open_worker: attach a worker to an engine, in process or by URL, for a block."""

import os
import platform
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from iii_trio._util import open_background_nursery, require_real_time
from iii_trio.protocol import DEFAULT_NAMESPACE, is_blank
from iii_trio.transport import Attachment, WorkerSpec
from iii_trio.worker._dialler import WebSocketDialler
from iii_trio.worker._handlers import WorkerHandlers
from iii_trio.worker._ids import uuid_maker
from iii_trio.worker._remote import RemoteAttachment
from iii_trio.worker._serve import RunSync, default_runner
from iii_trio.worker._worker import Worker

DEFAULT_URL: Final = "ws://127.0.0.1:49134"
"""Where an engine listens by default."""


@asynccontextmanager
async def open_worker(
    target: str | Attachment | None = None,
    *,
    name: str | None = None,
    namespace: str | None = None,
    description: str | None = None,
    version: str | None = None,
    internal: bool = False,
    grace: float = 1.0,
    run_sync: RunSync | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Worker]:
    """Attach a worker for the length of the block.

    By URL the block begins when the first connection is up and the worker is announced.
    An engine that cannot be reached is tried again for ever, with a log line each time:
    put ``trio.fail_after`` around it. A connection that is lost later is made again,
    and everything is registered again.

    At the end of the block nothing is routed to the worker any more, its running
    handlers are cancelled, its callers get ``invocation_stopped``.

    Args:
        target: an engine in this process, or the URL of one. Default: ``III_URL``,
            else ``ws://127.0.0.1:49134``.
        name: shown in listings; one live worker of a namespace holds it. By URL
            ``III_WORKER_NAME`` wins.
        namespace: default: ``III_NAMESPACE`` by URL, else ``default``.
        description: shown in listings.
        version: shown in listings.
        internal: hide it from default listings.
        grace: seconds that queued frames may take at the end of the block, by URL.
        run_sync: runs plain ``def`` handlers; default: threads.
        tls: for ``wss://``: whom to trust, and the worker's own certificate. Default:
            the authorities of the system, or those that ``SSL_CERT_FILE`` names.

    Raises:
        RegistrationError: a live worker holds the name; also later, when it shows
            after a reconnect.
        RuntimeError: by URL, in a Trio run whose clock jumps (virtual time).
        ValueError: a blank namespace, or a URL that is none.
    """
    if is_blank(namespace):
        msg = "namespace is blank: give it a name, or leave it out"
        raise ValueError(msg)
    spec = WorkerSpec(
        name=name,
        namespace=namespace or DEFAULT_NAMESPACE,
        version=version,
        description=description,
        os=f"{platform.system()} {platform.release()} ({platform.machine()})",
        pid=os.getpid(),
        internal=internal,
    )
    rng = random.SystemRandom()
    if target is None or isinstance(target, str):
        require_real_time(
            "a worker that dials a URL",
            "use harness.open_link_worker, or a real clock",
        )
        spec = _with_environment(spec, namespace)
        attachment: Attachment = RemoteAttachment(
            WebSocketDialler(
                target or os.environ.get("III_URL") or DEFAULT_URL,
                token=os.environ.get("III_TOKEN", "").strip() or None,
                tls=tls,
            ),
            rng=rng,
            grace=grace,
        )
    else:
        attachment = target
    with trio.CancelScope() as body:
        async with open_background_nursery("worker closed") as nursery:
            handlers = WorkerHandlers(
                name=spec.name,
                nursery=nursery,
                body=body,
                run_sync=run_sync or default_runner(),
            )
            if isinstance(attachment, RemoteAttachment):
                attachment = attachment.for_worker(handlers.on_rejected)
            async with attachment.attach_local(spec, handlers) as port:
                yield Worker._create(
                    name=spec.name,
                    namespace=spec.namespace,
                    port=port,
                    handlers=handlers,
                    new_id=uuid_maker(rng),
                )
    if handlers.failure is not None:
        raise handlers.failure


def _with_environment(spec: WorkerSpec, namespace: str | None) -> WorkerSpec:
    """Let whoever spawned this process name the worker, as the public SDKs do."""
    environment = os.environ
    if namespace is None:
        namespace = environment.get("III_NAMESPACE", "").strip() or spec.namespace
    return attrs.evolve(
        spec,
        name=environment.get("III_WORKER_NAME") or spec.name,
        namespace=namespace,
        isolation=environment.get("III_ISOLATION") or None,
    )
