"""JSON Web Tokens: is one good, and what does it allow. Built on PyJWT (extra ``auth``).

Times are those of the machine's clock, which PyJWT reads, not of the engine's.
"""

import importlib
from typing import Any, Final, final

from iii_trio.builtins.auth._config import JWTConfig, check_key
from iii_trio.builtins.auth._tokens import UnauthorizedError
from iii_trio.errors import ConfigError

_REASONS: Final = {
    "ExpiredSignatureError": "it has expired",
    "ImmatureSignatureError": "it is not valid yet",
    "InvalidIssuedAtError": "it was issued in the future",
    "InvalidAudienceError": "it is for another audience",
    "InvalidIssuerError": "it is from another issuer",
    "InvalidSignatureError": "its signature does not fit",
    "InvalidAlgorithmError": "its algorithm is not allowed",
    "MissingRequiredClaimError": "it lacks a claim",
}
"""What may be said of a bad token: never what it holds."""


@final
class JWTAuth:
    """Gives the session of a good JWT.

    Args:
        config: what makes it good.
        key: the key, if it comes from ``config.key_file``.

    Raises:
        ConfigError: PyJWT is not installed, or the key cannot be used.
    """

    def __init__(self, config: JWTConfig, key: str | None = None) -> None:
        self._config = config
        try:
            self._jwt: Any = importlib.import_module("jwt")
        except ModuleNotFoundError as exc:
            msg = "JWT needs PyJWT: pip install 'iii-trio[auth]'"
            raise ConfigError(msg) from exc
        text = config.key if key is None else key
        if text is None:
            raise ConfigError("the key of the JWT is in a file that was not read")
        self._key = self._prepare(text)

    def _prepare(self, key: str) -> Any:  # noqa: ANN401 - of PyJWT
        """Check the key once, so that a wrong one stops the start."""
        prepared: Any = key
        for name in self._config.algorithms:
            try:
                check_key(self._config.algorithms, key)
                prepared = self._jwt.get_algorithm_by_name(name).prepare_key(key)
            except NotImplementedError as exc:
                msg = f"{name} needs cryptography: pip install 'iii-trio[auth]'"
                raise ConfigError(msg) from exc
            except (ValueError, TypeError, self._jwt.PyJWTError):
                # Without the cause: its text may hold the key.
                msg = f"the key cannot be used for {name}"
                raise ConfigError(msg) from None
            if getattr(prepared, "private_bytes", None) is not None:
                msg = f"{name} wants the public key, this is the private one"
                raise ConfigError(msg)
        return prepared

    def __repr__(self) -> str:
        return f"<JWTAuth {self._config.algorithms}>"

    def session(self, token: str) -> dict[str, Any]:
        """The answer for a token.

        Raises:
            UnauthorizedError: it is not good; the text says why, and nothing that it holds.
        """
        config = self._config
        try:
            claims: dict[str, Any] = self._jwt.decode(
                token,
                self._key,
                algorithms=config.algorithms,
                audience=config.audience,
                issuer=config.issuer,
                leeway=config.leeway_seconds,
                options={"require": config.required_claims},
            )
        except self._jwt.PyJWTError as exc:
            reason = _REASONS.get(type(exc).__name__, "it cannot be read")
            raise UnauthorizedError(f"the token is not good: {reason}") from None
        told = claims.get(config.session_claim or "", {})
        if not isinstance(told, dict):
            raise UnauthorizedError(f"claim {config.session_claim!r} is no object")
        answer = config.session.as_answer(subject=claims.get("sub"), claims=claims)
        context = told.get("context", {})
        if not isinstance(context, dict):
            raise UnauthorizedError(
                f"context in claim {config.session_claim!r} is no object"
            )
        return {**answer, **told, "context": {**context, **answer["context"]}}
