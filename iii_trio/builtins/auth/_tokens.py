"""Static tokens: where a request keeps its token, and whose it is. Pure."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final, final
from urllib.parse import unquote

from iii_trio.builtins.auth._config import TokenConfig
from iii_trio.errors import FunctionFailedError

_BEARER: Final = "bearer "


class UnauthorizedError(FunctionFailedError):
    """A request that does not get in. Its text never holds what was sent."""

    default_code = "UNAUTHORIZED"


def bearer_of(request: Any, query_parameter: str | None = "token") -> str:  # noqa: ANN401 - JSON
    """The token of a connection: its ``Authorization`` header, else its address.

    Args:
        request: what auth functions get: ``headers``, ``query_params``, ``ip_address``.
        query_parameter: its name in the address; ``None``: not looked at.

    Raises:
        UnauthorizedError: there is none, or several.
    """
    request = request if isinstance(request, Mapping) else {}
    header = request.get("headers", {}).get("authorization", "")
    if header:
        if not header.lower().startswith(_BEARER):
            raise UnauthorizedError("the Authorization header is no Bearer token")
        return str(header[len(_BEARER) :].strip())
    values = request.get("query_params", {}).get(query_parameter, [])
    if len(values) > 1:
        raise UnauthorizedError(f"query parameter {query_parameter!r} is there twice")
    if not values or not values[0]:
        raise UnauthorizedError("no token: send `Authorization: Bearer <token>`")
    return unquote(values[0])


@final
class TokenAuth:
    """Gives the session of a known token.

    Every token is compared by its digest, in a time that does not depend on how much of
    it was guessed.
    """

    def __init__(self, tokens: Iterable[TokenConfig]) -> None:
        self._known = [(_digest_of(config), config) for config in tokens]

    def __repr__(self) -> str:
        return f"<TokenAuth {[config.name for _, config in self._known]}>"

    def find(self, token: str) -> TokenConfig | None:
        """The configuration of a token, ``None`` if it is not known."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found = None
        for known, config in self._known:
            if hmac.compare_digest(known, digest):
                found = config
        return found

    def session(self, token: str) -> dict[str, Any] | None:
        """The answer for a token, ``None`` if it is not known."""
        found = self.find(token)
        return None if found is None else found.session.as_answer(token_name=found.name)


def _digest_of(config: TokenConfig) -> bytes:
    if config.sha256 is not None:
        return bytes.fromhex(config.sha256)
    assert config.token is not None, "checked by its class"
    return hashlib.sha256(config.token.encode(errors="replace")).digest()
