"""What the auth function is told of a connection, and what its answer means."""

from typing import Any

import attrs

from iii_trio.net import HTTPRequest

JSON = Any


@attrs.frozen
class Admitted:
    """The connection may be; handlers get the context."""

    context: JSON = None


def auth_input(request: HTTPRequest) -> dict[str, JSON]:
    """Describe a connection for the auth function; nothing is URL-decoded."""
    query: dict[str, list[str]] = {}
    for part in request.query.split("&"):
        if part:
            name, _, value = part.partition("=")
            query.setdefault(name, []).append(value)
    host, port = request.peer[:2]
    shown = f"[{host}]" if ":" in host else host
    facts = {
        "headers": dict(request.headers),
        "path": request.path,
        "query_params": query,
        "addr": f"{shown}:{port}",
    }
    if request.peer_certificate is not None:
        facts["peer_certificate"] = request.peer_certificate.as_json()
    return facts


def admitted(answer: JSON, *, strict: bool) -> Admitted | None:
    """What the answer of the auth function means; ``None``: refused.

    Args:
        answer: ``{"context": any}``; something else, or a failure as ``None``, refuses
            only if ``strict``.
        strict: see there.
    """
    if isinstance(answer, dict) and "context" in answer:
        return Admitted(answer["context"])
    return None if strict else Admitted()


def first_subprotocol(request: HTTPRequest) -> str | None:
    """The first one offered: a browser closes when none of its offers is taken."""
    for name, value in request.headers:
        if name == "sec-websocket-protocol":
            for offer in value.split(","):
                if offer.strip():
                    return offer.strip()
    return None
