"""What is done with a request the moment its head is there: decide, then have it run.

Runs in the pump, so everything here is sync and short. A request that has no route, or no
place, is answered at once.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final, final

import trio

from iii_trio.builtins.http._admission import Admission, Admitted
from iii_trio.builtins.http._config import HTTPConfig
from iii_trio.builtins.http._cors import CORS
from iii_trio.builtins.http._deadlines import Deadlines
from iii_trio.builtins.http._exchange import Exchange
from iii_trio.builtins.http._far import FarCall, body_for_far
from iii_trio.builtins.http._reply import Reply, error_reply
from iii_trio.builtins.http._request import Binding, RequestRun, Routed, Settings
from iii_trio.builtins.http._routes import RouteTable
from iii_trio.builtins.http._runners import Runners
from iii_trio.net import HTTPRequest
from iii_trio.worker import Worker

RETRY_AFTER: Final = "1"
"""Seconds a client that found no place is told to wait."""

_NOT_FOUND: Final = error_reply(404, "NOT_FOUND", "Not Found")
_NO_PLACE: Final = error_reply(
    503, "SERVICE_UNAVAILABLE", "too many requests are waiting"
)
_NO_PLACE.headers.append(("retry-after", RETRY_AFTER))


def settings_of(config: HTTPConfig) -> Settings:
    """Make what requests need to know of a configuration."""
    return Settings(
        timeout=config.timeout,
        body_limit=config.body_limit,
        middleware=config.global_middleware,
        cors=CORS(config.cors),
    )


@final
class Dispatcher:
    """Routes and settings, and the requests that run or wait.

    It is an `iii_trio.net.RequestHandler`.

    Args:
        worker: makes the calls.
        nursery: requests run in it.
        config: see `reconfigure`.
        now: seconds since the epoch, for error ids.
    """

    def __init__(
        self,
        worker: Worker,
        nursery: trio.Nursery,
        config: HTTPConfig,
        now: Callable[[], float],
    ) -> None:
        self.routes: RouteTable[Binding] = RouteTable()
        self.admission: Admission[RequestRun] = Admission(
            config.concurrency_request_limit
        )
        self._settings = settings_of(config)
        self._worker = worker
        self._nursery = nursery
        self._runners = Runners(nursery)
        self._all_deadlines: list[Deadlines[FarCall]] = []
        self._deadlines = self._new_deadlines()
        self._is_starting = False
        self._now = now

    def reconfigure(self, config: HTTPConfig) -> None:
        """Use other settings for the requests to come; those under way keep theirs."""
        self._settings = settings_of(config)
        self._deadlines = self._new_deadlines()
        self.admission.limit = config.concurrency_request_limit
        self._start_ready()

    def _new_deadlines(self) -> Deadlines[FarCall]:
        deadlines = Deadlines(self._nursery, self._settings.timeout, FarCall.late)
        self._all_deadlines = [one for one in self._all_deadlines if one]
        self._all_deadlines.append(deadlines)
        return deadlines

    def close(self) -> None:
        """Start nothing more, and stop what has no task that would be cancelled."""
        reason = "the http worker ends"
        self.admission.limit = 0
        self._runners.close(reason)
        for deadlines in self._all_deadlines:
            for call in deadlines.items():
                call.gone(reason)

    def on_request(self, exchange: Exchange) -> None:
        """Take a request over."""
        request = exchange.request
        routed: Routed | None = request.memo
        if routed is None or routed.version != self.routes.version:
            routed = self._route(exchange, request)
            if routed is None:
                return
        run = RequestRun(
            exchange, routed, self._worker, self._settings, self._now, self._on_done
        )
        admitted = self.admission.admit(run)
        if admitted is Admitted.REFUSED:
            self._answer(exchange, _NO_PLACE)
            return
        exchange.on_gone = partial(self._on_gone, run)
        if admitted is Admitted.RUN:
            self._start(run)

    def _route(self, exchange: Exchange, request: HTTPRequest) -> Routed | None:
        """Find the route of a request; one that has none is answered."""
        path = request.path
        if request.method == "OPTIONS":
            self._answer_options(exchange, path)
            return None
        match = self.routes.match(request.method, path)
        if match is None:
            self._answer(exchange, self._unrouted(path))
            return None
        routed = request.memo = Routed(request, match, self.routes.version)
        return routed

    def _start(self, run: RequestRun) -> None:
        body = body_for_far(run)
        if body is None:
            self._runners.submit(run)
            return
        far = FarCall(run, self._deadlines, self._runners)
        run.exchange.on_gone = far.gone
        far.start(body)

    def _on_gone(self, run: RequestRun, reason: str) -> None:
        if not self.admission.forget(run):
            run.gone(reason)

    def _on_done(self) -> None:
        self.admission.leave()
        if not self.admission.waiting:
            return
        if trio.current_effective_deadline() > -math.inf:
            self._start_ready()
        else:
            # It was cancelled: alone, or with all of us, and then nobody is begun.
            self._nursery.start_soon(self._start_ready_soon, name="http requests")

    async def _start_ready_soon(self) -> None:
        await trio.lowlevel.checkpoint()
        self._start_ready()

    def _start_ready(self) -> None:
        """Start those whose turn it is; one that ends at once lets the next one in."""
        if self._is_starting:
            return
        self._is_starting = True
        try:
            for run in self.admission.ready():
                self._start(run)
        finally:
            self._is_starting = False

    def _unrouted(self, path: str) -> Reply:
        allowed = self.routes.allowed(path)
        if not allowed:
            return _NOT_FOUND
        reply = error_reply(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
        reply.headers.append(("allow", ",".join(allowed)))
        return reply

    def _answer(self, exchange: Exchange, reply: Reply) -> None:
        headers = self._settings.cors.apply(reply.headers, exchange.request)
        exchange.respond(reply.status, headers, reply.body)

    def _answer_options(self, exchange: Exchange, path: str) -> None:
        headers = self._settings.cors.preflight(exchange.request)
        if allowed := self.routes.allowed(path):
            headers.append(("allow", ",".join(allowed)))
        exchange.respond(200, headers)
