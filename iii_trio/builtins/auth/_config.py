"""The configuration of the auth worker. Pure.

Secrets do not show in ``repr``; the app does not show them in its errors either
(``holds_secrets``).
"""

import re
from typing import Any, ClassVar, Final

import attrs

JSON = Any

HMAC_KEY_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms with a shared key, and its least length in bytes (RFC 7518, 3.2)."""

PUBLIC_KEY_ALGORITHMS: Final = frozenset(
    {
        *(
            f"{family}{bits}"
            for family in ("RS", "PS", "ES")
            for bits in (256, 384, 512)
        ),
        "ES256K",
        "EdDSA",
    }
)

TOKEN_CHARACTERS: Final = 16
"""The least length of a token; shorter ones can be guessed."""

_SHA256 = re.compile("[0-9a-f]{64}")


@attrs.frozen(kw_only=True)
class SessionConfig:
    """What a token allows: the fields of an auth function's answer (see its defaults)."""

    namespaces: dict[str, list[str]] = attrs.field(factory=dict)
    allowed_functions: list[str] = attrs.field(factory=list)
    forbidden_functions: list[str] = attrs.field(factory=list)
    allowed_trigger_types: list[str] | None = None
    allow_trigger_type_registration: bool = False
    allow_function_registration: bool = True
    allow_http_function_registration: bool = False
    context: dict[str, JSON] = attrs.field(factory=dict)
    function_registration_prefix: str | None = None

    def as_answer(self, **context: JSON) -> dict[str, JSON]:
        """The answer of an auth function, with more in its context."""
        fields = {
            field.name: getattr(self, field.name) for field in attrs.fields(type(self))
        }
        return {**fields, "context": {**self.context, **context}}


@attrs.frozen(kw_only=True)
class TokenConfig:
    """One token that opens.

    Attributes:
        name: whose it is; goes into the context of sessions as ``token_name``.
        token: the token itself, or
        sha256: its SHA-256 digest, 64 lower-case hexadecimal digits.
        session: what it allows.
    """

    holds_secrets: ClassVar[bool] = True

    name: str
    token: str | None = attrs.field(default=None, repr=False)
    sha256: str | None = attrs.field(default=None, repr=False)
    session: SessionConfig = attrs.field(factory=SessionConfig)

    def __attrs_post_init__(self) -> None:
        if (self.token is None) == (self.sha256 is None):
            raise ValueError(f"token {self.name!r} needs either token or sha256")
        if self.token is not None and len(self.token) < TOKEN_CHARACTERS:
            msg = f"token {self.name!r} is shorter than {TOKEN_CHARACTERS} characters"
            raise ValueError(msg)
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            msg = (
                f"sha256 of token {self.name!r} is not 64 lower-case hexadecimal digits"
            )
            raise ValueError(msg)


@attrs.frozen(kw_only=True)
class JWTConfig:
    """What makes a JWT good.

    Attributes:
        algorithms: those that may have signed it, of one kind: a shared key (``HS256``
            and so on), or a public one (``RS256``, ``ES256``, ``EdDSA`` and so on).
        key: the shared key, or the public key as PEM; or
        key_file: a file with it.
        issuer: that it must name; ``None``: any.
        audience: that it must name; ``None``: it must name none.
        leeway_seconds: by how much clocks may differ.
        required_claims: that it must have.
        session: what every good one allows.
        session_claim: a claim that is an object with fields of a session; those win.
            ``None``: none is looked at.
    """

    holds_secrets: ClassVar[bool] = True

    algorithms: list[str]
    key: str | None = attrs.field(default=None, repr=False)
    key_file: str | None = None
    issuer: str | None = None
    audience: str | None = None
    leeway_seconds: float = 0.0
    required_claims: list[str] = attrs.field(factory=lambda: ["exp"])
    session: SessionConfig = attrs.field(factory=SessionConfig)
    session_claim: str | None = "iii"

    def __attrs_post_init__(self) -> None:
        if (self.key is None) == (self.key_file is None):
            raise ValueError("a JWT needs either key or key_file")
        if not self.algorithms:
            raise ValueError("algorithms is empty: name those that may sign")
        known = {*HMAC_KEY_BYTES, *PUBLIC_KEY_ALGORITHMS}
        for name in self.algorithms:
            if name not in known:
                msg = f"algorithm {name!r} is not one of {', '.join(sorted(known))}"
                raise ValueError(msg)
        shared = {name in HMAC_KEY_BYTES for name in self.algorithms}
        if len(shared) > 1:
            # With both, a public key could be used as a shared one by whoever signs.
            raise ValueError("algorithms mix shared and public keys: name one kind")
        if self.leeway_seconds < 0:
            raise ValueError("leeway_seconds is negative")
        if self.key is not None:
            check_key(self.algorithms, self.key)


def check_key(algorithms: list[str], key: str) -> None:
    """Refuse a shared key that can be guessed.

    Raises:
        ValueError: it is too short; it is not in the text.
    """
    needed = max(HMAC_KEY_BYTES.get(name, 1) for name in algorithms)
    if len(key.encode()) < needed:
        msg = f"the key for {', '.join(algorithms)} needs at least {needed} bytes"
        raise ValueError(msg)


@attrs.frozen(kw_only=True)
class AuthConfig:
    """Settings of the auth worker.

    Attributes:
        tokens: that open.
        jwt: what opens too; ``None``: no JWT.
        query_parameter: where a token may stand in the address, for browsers, which
            cannot set headers; ``None``: only the ``Authorization`` header counts.
    """

    holds_secrets: ClassVar[bool] = True

    tokens: list[TokenConfig] = attrs.field(factory=list)
    jwt: JWTConfig | None = None
    query_parameter: str | None = "token"

    def __attrs_post_init__(self) -> None:
        if not self.tokens and self.jwt is None:
            raise ValueError("needs tokens or jwt: without them nobody gets in")
        names = [token.name for token in self.tokens]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tokens are called {name!r}")
