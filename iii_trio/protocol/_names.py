"""Function ids, namespaces and other names: defaults, cleaning, refusals."""

import re
from typing import Final
from urllib.parse import urlsplit

DEFAULT_NAMESPACE: Final = "default"

MAX_LABEL_CHARACTERS: Final = 280
"""Worker names and descriptions are cut here, in characters (protocol, section 3.3)."""

_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]",
)

_UUID = re.compile(
    r"(?:urn:uuid:)?(\{)?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}(?(1)\}|)",
    re.IGNORECASE | re.ASCII,
)


_HEX_DIGITS = bytes(
    ord("h") if chr(code) in "0123456789abcdef" else ord("-") if code == 45 else 33
    for code in range(256)
)
_USUAL_SHAPE = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"


def is_blank(namespace: str | None) -> bool:
    """Tell whether a namespace was named and left blank: an error everywhere."""
    return namespace is not None and not namespace.strip()


def is_uuid(text: str) -> bool:
    """Tell whether ``text`` is a UUID in a spelling that public SDKs accept.

    Hyphenated, plain hex, URN and braces, any case.
    """
    # Nearly every id is spelled the usual way, which a table tells three times faster.
    if text.isascii() and text.encode().translate(_HEX_DIGITS) == _USUAL_SHAPE:
        return True
    return _UUID.fullmatch(text) is not None


def clean_label(text: str | None) -> str | None:
    """Clean a worker name or description for display.

    Control, bidi-override and line-separator characters are removed, and what is no
    character, such as of an environment that is not UTF-8; the rest is trimmed and cut at
    `MAX_LABEL_CHARACTERS`; what is blank then is ``None``.
    """
    if text is None:
        return None
    return _UNPRINTABLE.sub("", text)[:MAX_LABEL_CHARACTERS].strip() or None


def namespace_for_call(
    function_id: str, named: str | None, own: str = DEFAULT_NAMESPACE
) -> str:
    """Choose the namespace of a call made by a worker, as the public SDKs do.

    Args:
        function_id: the function to call.
        named: the namespace that the caller asked for, if it did.
        own: the namespace of the calling worker.
    """
    if named is not None:
        return named
    if function_id.startswith(("engine::", "configuration::")):
        return DEFAULT_NAMESPACE
    return own


def is_internal(function_id: str) -> bool:
    """Tell whether default listings hide this id (`engine::queue::*` is shown)."""
    return function_id.startswith("engine::") and not function_id.startswith(
        "engine::queue::"
    )


def check_engine_url(url: str) -> None:
    """Check the URL of an engine, as workers dial it.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname or parts.port == 0:
        msg = "an engine's url must begin with ws:// or wss:// and name a host"
        raise ValueError(msg)
