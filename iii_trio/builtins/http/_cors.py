"""Which CORS headers a response carries (pure).

Source: the reference's CORS layer, as observed: names that the layer sets win over the
handler's, a ``vary`` of the handler is kept as a further line, every OPTIONS request is
answered by the layer, ``expose-headers`` only elsewhere.
"""

from collections.abc import Sequence
from typing import Final

from iii_trio.builtins.http._config import CORSConfig
from iii_trio.builtins.http._reply import JSON_TYPE
from iii_trio.net import FixedHeaders, HTTPRequest

Headers = list[tuple[str, str]]

ORIGIN: Final = "access-control-allow-origin"
EXPOSE: Final = "access-control-expose-headers"

_VARY: Final = (
    "vary",
    "origin, access-control-request-method, access-control-request-headers",
)


class CORS:
    """The CORS headers of one configuration, made once."""

    def __init__(self, config: CORSConfig | None) -> None:
        origins = () if config is None else config.allowed_origins
        methods = () if config is None else config.allowed_methods
        self._listed: frozenset[str] | None = None
        if origins and "*" not in origins:
            self._listed = frozenset(origins)
        self._fixed: Headers = [_VARY]
        if self._listed is None:
            self._fixed.append((ORIGIN, "*"))
        if config is None:
            self._fixed.append((EXPOSE, "*"))
        self._json = FixedHeaders([JSON_TYPE, *self._fixed])
        self._preflight: Headers = [
            _VARY,
            ("access-control-allow-methods", ",".join(methods) or "*"),
            ("access-control-allow-headers", "*"),
        ]

    def _allowed_origin(self, request: HTTPRequest) -> Headers:
        if self._listed is None:
            return [(ORIGIN, "*")]
        origin = request.header("origin")
        if origin is not None and origin in self._listed:
            return [(ORIGIN, origin)]
        return []

    def preflight(self, request: HTTPRequest) -> Headers:
        """Give the headers of the answer to an OPTIONS request."""
        return self._preflight + self._allowed_origin(request)

    def apply(
        self, headers: Headers, request: HTTPRequest
    ) -> Sequence[tuple[str, str]]:
        """Give ``headers`` with those of CORS; names are in lower case."""
        if self._listed is None:
            if len(headers) == 1 and headers[0] is JSON_TYPE:
                return self._json  # by far the most frequent
            added = self._fixed
        else:
            added = self._fixed + self._allowed_origin(request)
        mine = {name for name, _ in added if name != "vary"}
        return [header for header in headers if header[0] not in mine] + added
