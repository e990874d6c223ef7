"""Certificate files become a TLS context, and again when they are renewed.

A context is made anew, never changed: connections keep the one they began with, and
tickets of resumed sessions end with it.
"""

import logging
import os
import ssl
from typing import Final

import trio

from iii_trio._listening import TLSConfig
from iii_trio.errors import ConfigError

__all__ = ["Certificates"]

_logger = logging.getLogger("iii_trio.net")

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Stamp = tuple[tuple[int, int, int, int] | None, ...]


class Certificates:
    """The TLS side of a front door.

    Made by `load`: the files are read in a thread.

    Attributes:
        config: which files.
        context: for new connections.
        handshakes: completed so far.
        failures: handshakes that failed, and connections that broke TLS later.
    """

    def __init__(self, config: TLSConfig) -> None:
        self.config = config
        # First: what is replaced from now on is seen at the next look.
        self._seen = _stamp(config)
        self._refused: tuple[Stamp, str] | None = None
        self.context = _context(config)
        self.handshakes = 0
        self.failures = 0

    @classmethod
    async def load(cls, config: TLSConfig) -> "Certificates":
        """Read the files, in a thread.

        Raises:
            ConfigError: one cannot be read or used; the message names it.
        """
        return await trio.to_thread.run_sync(cls, config)

    def take_over(self, former: "Certificates") -> None:
        """Count on from where others were."""
        self.handshakes = former.handshakes
        self.failures = former.failures

    async def refresh(self) -> None:
        """Use renewed files, in a thread; those that are bad change nothing."""
        await trio.to_thread.run_sync(self._refresh)

    def _refresh(self) -> None:
        stamp = _stamp(self.config)
        if stamp == self._seen:
            return
        try:
            self.context = _context(self.config)
        except ConfigError as exc:
            # Tried again at every look: what ails it may pass while the files stay the
            # same, such as a lack of file descriptors.
            refused = (stamp, str(exc))
            if refused != self._refused:
                self._refused = refused
                _logger.error(  # noqa: TRY400 - the mistake is in the file, not here
                    "Renewed certificate not used, the former stays: %s", exc
                )
        else:
            self._seen = stamp
            self._refused = None
            _logger.info("Renewed certificate in use: %s", self.config.certificate)


def _stamp(config: TLSConfig) -> Stamp:
    """What differs when a file was written, replaced, or a link to it changed."""
    return tuple(map(_stamp_of, config.files))


def _stamp_of(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links
    except (OSError, ValueError):  # such as one that is no text
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)


def _context(config: TLSConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.minimum_version]
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    for path in config.files:
        _check_readable(path)
    try:
        # An encrypted key would ask the terminal for its password.
        context.load_cert_chain(config.certificate, config.key, password="")
    except (OSError, ValueError) as exc:  # of which ssl.SSLError is one
        files = " and ".join(
            dict.fromkeys(config.files[:2] if config.key else config.files[:1])
        )
        msg = (
            f"tls: {files} are no certificate and the private key that belongs to it, "
            f"in PEM and without a password ({_reason(exc)})"
        )
        raise ConfigError(msg) from exc
    if config.client_ca is not None:
        try:
            context.load_verify_locations(config.client_ca)
        except OSError as exc:
            msg = f"tls.client_ca: no PEM certificate in {config.client_ca} ({_reason(exc)})"
            raise ConfigError(msg) from exc
        required = config.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


def _check_readable(path: str) -> None:
    try:
        with open(path, "rb"):  # noqa: PTH123 - in a thread
            pass
    except (OSError, ValueError) as exc:  # such as one that is no text
        msg = f"tls: cannot read {path}: {_reason(exc)}"
        raise ConfigError(msg) from exc


def _reason(exc: Exception) -> str:
    return getattr(exc, "reason", None) or getattr(exc, "strerror", None) or str(exc)
