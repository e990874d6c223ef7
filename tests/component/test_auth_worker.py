"""The ready-made auth function in an engine: who gets in with tokens and JWT."""

import logging
import pathlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import jwt
import msgspec
import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from iii_trio._util import open_background_nursery
from iii_trio.access import Access, ConnectRequest, parse_rules
from iii_trio.builtins.auth import (
    AUTH_FUNCTION,
    AuthConfig,
    AuthHandle,
    JWTAuth,
    JWTConfig,
    SessionConfig,
    TokenConfig,
    serve_auth,
)
from iii_trio.errors import ConfigError
from iii_trio.protocol import AccessDenied, Error, WorkerRegistered
from iii_trio.testing import EngineUnderTest, RawPeer, open_test_engine

TOKEN = "hush-token-of-billing"
KEY = "hush-key-" + "k" * 32
HS256 = JWTConfig(
    algorithms=["HS256"],
    key=KEY,
    issuer="https://issuer.example",
    audience="iii",
    session=SessionConfig(allowed_functions=["open::f"], context={"tier": 1}),
)
CONFIG = AuthConfig(
    tokens=[
        TokenConfig(
            name="billing",
            token=TOKEN,
            session=SessionConfig(function_registration_prefix="billing"),
        )
    ],
    jwt=HS256,
)


def signed(key: Any = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """A JWT that is good, unless ``claims`` spoil it; ``None`` leaves one out."""
    now = int(time.time())
    known = {
        "sub": "ada",
        "iss": "https://issuer.example",
        "aud": "iii",
        "exp": now + 600,
        **claims,
    }
    present = {name: value for name, value in known.items() if value is not None}
    return jwt.encode(present, key, algorithm=algorithm)


@attrs.define(eq=False)
class Rig:
    """What `open_rig` yields."""

    t: EngineUnderTest
    handle: AuthHandle

    def connect(self, token: str | None, **request: Any) -> RawPeer:
        if token is not None:
            request["headers"] = {"authorization": f"Bearer {token}"}
        rules = parse_rules({"auth_function_id": AUTH_FUNCTION})
        return self.t.connect_raw_peer(
            access=Access(rules=rules), request=ConnectRequest(**request)
        )

    async def enters(self, token: str | None, **request: Any) -> bool:
        """Tell whether a token opens."""
        frame = await self.connect(token, **request).receive()
        return isinstance(frame, WorkerRegistered)

    async def refusal(self, token: str | None, **request: Any) -> str:
        """The text that a connection is refused with."""
        frame = await self.connect(token, **request).expect(Error)
        text: str = msgspec.json.decode(frame.error)["message"]
        return text

    def session(self) -> Any:
        """The session of the worker that came in last."""
        return list(self.t.engine.supervisor.ports)[-1].session


@asynccontextmanager
async def open_rig(config: AuthConfig = CONFIG) -> AsyncIterator[Rig]:
    async with (
        open_test_engine() as t,
        t.open_worker("iii-auth") as worker,
        open_background_nursery("test over") as nursery,
    ):
        handle = await nursery.start(partial(serve_auth, worker, config))
        yield Rig(t, handle)


async def test_a_known_token_opens_with_its_session() -> None:
    async with open_rig() as rig:
        peer = rig.connect(TOKEN)
        await peer.accepted()
        assert rig.session().context == {"token_name": "billing"}
        peer.register("pay")
        peer.announce("w")
        await trio.testing.wait_all_tasks_blocked()
        assert rig.t.engine.registry.find("default", "billing::pay") is not None


async def test_a_browser_puts_it_into_the_address() -> None:
    async with open_rig() as rig:
        assert await rig.enters(None, query_params={"token": [TOKEN]})
    async with open_rig(attrs.evolve(CONFIG, query_parameter="key")) as rig:
        assert await rig.enters(None, query_params={"key": [TOKEN]})
        assert not await rig.enters(None, query_params={"token": [TOKEN]})


async def test_without_jwt_an_unknown_token_is_just_that() -> None:
    async with open_rig(attrs.evolve(CONFIG, jwt=None)) as rig:
        assert await rig.refusal(signed()) == "the token is not known"
        assert (await rig.refusal(None)).startswith("no token")


async def test_a_good_jwt_opens_and_its_claim_says_what_it_allows() -> None:
    claim = {
        "allowed_functions": ["mine::f"],
        "context": {"team": "blue", "tier": 9},
    }
    async with open_rig() as rig:
        assert await rig.enters(signed())
        assert rig.session().allowed_functions == {"open::f"}
        assert await rig.enters(signed(iii=claim))
        session = rig.session()
        assert session.allowed_functions == {"mine::f"}
        assert session.context["subject"] == "ada"
        assert session.context["team"] == "blue"
        assert session.context["tier"] == 1  # what the operator says wins
        assert session.context["claims"]["aud"] == "iii"


NOW = 1_000_000_000
BAD: dict[str, tuple[Callable[[], str], str]] = {
    "expired": (lambda: signed(exp=NOW), "it has expired"),
    "later": (lambda: signed(nbf=int(time.time()) + 600), "it is not valid yet"),
    "other key": (lambda: signed("x" * 40), "its signature does not fit"),
    "other audience": (lambda: signed(aud="them"), "it is for another audience"),
    "no audience": (lambda: signed(aud=None), "it lacks a claim"),
    "other issuer": (lambda: signed(iss="them"), "it is from another issuer"),
    "no issuer": (lambda: signed(iss=None), "it lacks a claim"),
    "no expiry": (lambda: signed(exp=None), "it lacks a claim"),
    "other algorithm": (
        lambda: signed(KEY * 2, algorithm="HS512"),
        "its algorithm is not allowed",
    ),
    "unsigned": (
        lambda: signed(None, algorithm="none"),
        "its algorithm is not allowed",
    ),
    "other signature": (
        lambda: signed().rpartition(".")[0] + "." + "A" * 43,
        "its signature does not fit",
    ),
    "no jwt": (lambda: "hush.hush.hush", "it cannot be read"),
    "no text": (lambda: "\x00", "it cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_jwt_does_not_open_and_is_not_repeated(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    make, reason = BAD[name]
    token = make()
    async with open_rig() as rig:
        assert await rig.refusal(token) == f"the token is not good: {reason}"
        (denied,) = rig.t.events.of(AccessDenied)
        assert token not in caplog.text + repr(denied)
        assert "hush" not in caplog.text + repr(denied)


@pytest.mark.parametrize("claim", ["all", [1], {"context": 1}])
async def test_a_claim_of_another_shape_does_not_open(claim: Any) -> None:
    async with open_rig() as rig:
        assert "is no object" in await rig.refusal(signed(iii=claim))


async def test_a_claim_that_makes_no_session_does_not_open() -> None:
    async with open_rig() as rig:
        text = await rig.refusal(signed(iii={"allowed_functions": "*"}))
        assert text.startswith("auth function returned no session")


async def test_the_claim_can_be_switched_off() -> None:
    jwt_config = attrs.evolve(HS256, session_claim=None)
    async with open_rig(attrs.evolve(CONFIG, jwt=jwt_config)) as rig:
        assert await rig.enters(signed(iii={"allowed_functions": ["mine::f"]}))
        assert rig.session().allowed_functions == {"open::f"}


def pem_of(private: ec.EllipticCurvePrivateKey) -> str:
    return (
        private.public_key()
        .public_bytes(
            serialization.Encoding.PEM,
            serialization.PublicFormat.SubjectPublicKeyInfo,
        )
        .decode()
    )


def private_pem_of(private: ec.EllipticCurvePrivateKey) -> str:
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


async def test_a_public_key_from_a_file_checks_and_cannot_sign(
    tmp_path: pathlib.Path,
) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = pem_of(private)
    path = tmp_path / "public.pem"
    path.write_text(pem)
    config = AuthConfig(
        jwt=attrs.evolve(HS256, algorithms=["ES256"], key=None, key_file=str(path))
    )
    async with open_rig(config) as rig:
        assert await rig.enters(signed(private, algorithm="ES256"))
        # The classic mistake: the public key used as a shared one.
        header, _, rest = signed("k" * 32).partition(".")
        assert not await rig.enters(f"{header}.{rest}")


async def test_new_settings_hold_for_who_comes_then(tmp_path: pathlib.Path) -> None:
    async with open_rig() as rig:
        peer = rig.connect(TOKEN)
        await peer.accepted()
        other = TokenConfig(name="other", token="another-token-0123")
        await rig.handle.reconfigure(AuthConfig(tokens=[other]))
        assert not await rig.enters(TOKEN)
        assert await rig.enters("another-token-0123")
        assert peer.closed is None
        gone = attrs.evolve(HS256, key=None, key_file=str(tmp_path / "gone.pem"))
        with pytest.raises(ConfigError, match=r"cannot be read: .*gone\.pem: No such"):
            await rig.handle.reconfigure(AuthConfig(jwt=gone))
        assert await rig.enters("another-token-0123")


async def test_a_key_that_is_none_stops_the_start(tmp_path: pathlib.Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "key"
    for algorithm, content, text in (
        ("ES256", b"hush", "the key cannot be used for ES256"),
        ("RS256", pem_of(private).encode(), "the key cannot be used for RS256"),
        ("HS256", b"hush", "the key cannot be used for HS256"),
        ("HS256", b"\xff\xfe", "it is no text"),
        ("ES256", private_pem_of(private).encode(), "this is the private one"),
    ):
        path.write_bytes(content)
        config = AuthConfig(jwt=JWTConfig(algorithms=[algorithm], key_file=str(path)))
        async with open_test_engine() as t, t.open_worker("iii-auth") as worker:
            with pytest.raises(ConfigError) as caught:
                await serve_auth(worker, config)
        assert text in str(caught.value)
        assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="was not read"):
        JWTAuth(JWTConfig(algorithms=["HS256"], key_file=str(path)))


def test_without_pyjwt_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(ConfigError, match=r"pip install 'iii-trio\[auth\]'"):
        JWTAuth(HS256)


def test_keys_do_not_show() -> None:
    assert "hush" not in repr(JWTAuth(HS256)) + repr(CONFIG)
