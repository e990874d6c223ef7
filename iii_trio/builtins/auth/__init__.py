"""Ready-made auth functions for listeners with access rules: tokens and JWT."""

from iii_trio.builtins.auth._config import (
    AuthConfig,
    JWTConfig,
    SessionConfig,
    TokenConfig,
)
from iii_trio.builtins.auth._jwt import JWTAuth
from iii_trio.builtins.auth._tokens import TokenAuth, UnauthorizedError, bearer_of
from iii_trio.builtins.auth._worker import (
    AUTH_FUNCTION,
    Auth,
    AuthHandle,
    serve_auth,
)

__all__ = [
    "AUTH_FUNCTION",
    "Auth",
    "AuthConfig",
    "AuthHandle",
    "JWTAuth",
    "JWTConfig",
    "SessionConfig",
    "TokenAuth",
    "TokenConfig",
    "UnauthorizedError",
    "bearer_of",
    "serve_auth",
]
