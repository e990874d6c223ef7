"""Serves the auth function of a configuration."""

from typing import Any, Final, NoReturn, final

import trio

from iii_trio.builtins.auth._config import AuthConfig
from iii_trio.builtins.auth._jwt import JWTAuth
from iii_trio.builtins.auth._tokens import TokenAuth, UnauthorizedError, bearer_of
from iii_trio.errors import ConfigError
from iii_trio.worker import Worker

AUTH_FUNCTION: Final = "auth::check"
"""For ``auth_function_id`` of a listener."""


@final
class Auth:
    """An auth function: gives the session of a known token or a good JWT.

    Args:
        config: what opens.
        jwt_key: the text of ``config.jwt.key_file``, if there is one.

    Raises:
        ConfigError: JWT cannot be checked here.
    """

    def __init__(self, config: AuthConfig, jwt_key: str | None = None) -> None:
        self._parameter = config.query_parameter
        self._tokens = TokenAuth(config.tokens)
        self._jwt = None if config.jwt is None else JWTAuth(config.jwt, jwt_key)

    async def __call__(self, request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Decide on a connection.

        Raises:
            UnauthorizedError: it does not get in.
        """
        await trio.lowlevel.checkpoint()
        token = bearer_of(request, self._parameter)
        session = self._tokens.session(token)
        if session is not None:
            return session
        if self._jwt is None:
            raise UnauthorizedError("the token is not known")
        return self._jwt.session(token)


@final
class AuthHandle:
    """A running auth worker; what `serve_auth` gives to ``started``."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def check(self, request: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Serve ``auth::check``."""
        return await self._auth(request)

    async def reconfigure(self, config: AuthConfig) -> None:
        """Decide by other settings from now on; who is in stays in.

        Raises:
            ConfigError: they cannot be used; the former stay.
        """
        self._auth = await _open_auth(config)


async def _open_auth(config: AuthConfig) -> Auth:
    jwt, key = config.jwt, None
    if jwt is not None and jwt.key_file is not None:
        try:
            key = await trio.Path(jwt.key_file).read_text()
        except (OSError, UnicodeDecodeError) as exc:
            reason = getattr(exc, "strerror", None) or "it is no text"
            msg = f"the key of the JWT cannot be read: {jwt.key_file}: {reason}"
            raise ConfigError(msg) from exc
    else:
        await trio.lowlevel.checkpoint()
    return Auth(config, key)


async def serve_auth(
    worker: Worker,
    config: AuthConfig,
    *,
    task_status: trio.TaskStatus[AuthHandle] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Offer ``auth::check`` until cancelled.

    Raises:
        ConfigError: JWT cannot be checked here, or its key file cannot be read.
    """
    handle = AuthHandle(await _open_auth(config))
    worker.register_function(
        AUTH_FUNCTION,
        handle.check,
        description="Decides who gets in through a listener with access rules.",
        metadata={"internal": True},
    )
    task_status.started(handle)
    await trio.sleep_forever()
    raise AssertionError  # sleep_forever does not return
