"""The certificate files of a front door: bad ones, renewed ones, other ones."""

import contextlib
import logging
import os
import pathlib
import resource
import subprocess
from collections.abc import Callable, Iterator

import attrs
import pytest
import trio
import trio.testing

from iii_trio.errors import ConfigError
from iii_trio.net import Pump, TLSConfig, open_front_door, open_pump
from iii_trio.net._certificates import Certificates
from tests.integration.net_rig import Client, Host, Rig, open_rig
from tests.integration.tls_rig import Authority


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    return Authority(tmp_path)


async def test_a_renewed_certificate_is_used_without_dropping_connections(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    config = authority.config(check_every_ms=10)
    async with open_rig(tls=config) as rig:
        async with rig.client(context=authority.client_context()) as old:
            await old.get("/x")
            before = serial_of(old)
            with caplog.at_level(logging.INFO, "iii_trio.net"):
                authority.issue("server")
                while await serial_now(rig, authority) == before:
                    await trio.testing.wait_all_tasks_blocked()
            assert (await old.get("/x")).status == 200
            assert serial_of(old) == before
    assert "Renewed certificate in use" in caplog.text


async def serial_now(rig: Rig, authority: Authority) -> object:
    async with rig.client(context=authority.client_context()) as client:
        await client.get("/x")
        return serial_of(client)


def serial_of(client: Client) -> object:
    return client.stream.tls.getpeercert()["serialNumber"]  # type: ignore[union-attr]


async def test_a_bad_renewal_keeps_the_former_certificate_and_is_logged_once(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    config = authority.config(check_every_ms=10)
    async with open_rig(tls=config) as rig:
        file = authority.directory / "server.pem"
        good = await trio.Path(file).read_bytes()
        with caplog.at_level(logging.INFO, "iii_trio.net"):
            replace(file, b"half a certif")
            await logged(caplog, "no certificate")
            async with rig.client(context=authority.client_context()) as client:
                assert (await client.get("/x")).status == 200
            caplog.clear()
            replace(file, good + b"\n")
            await logged(caplog, "in use")
    assert [r.levelname for r in caplog.records] == ["INFO"]


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    await trio.lowlevel.checkpoint()
    while text not in caplog.text:
        await trio.testing.wait_all_tasks_blocked()


def replace(path: pathlib.Path, data: bytes) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(data)
    fresh.replace(path)


async def test_a_file_that_vanishes_keeps_the_former_certificate(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    config = authority.config(check_every_ms=10)
    async with open_rig(tls=config) as rig:
        await trio.Path(config.certificate).unlink()
        await logged(caplog, "cannot read")
        async with rig.client(context=authority.client_context()) as client:
            assert (await client.get("/x")).status == 200


async def test_a_file_that_opens_and_cannot_be_read_keeps_the_former_certificate(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    config = authority.config(check_every_ms=10)
    async with open_rig(tls=config) as rig:
        unreadable = authority.directory / "unreadable"
        unreadable.symlink_to("/proc/self/mem")
        unreadable.replace(config.certificate)
        await logged(caplog, "Input/output error")
        async with rig.client(context=authority.client_context()) as client:
            assert (await client.get("/x")).status == 200


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_renewal_that_could_not_be_read_for_a_while_is_used_later(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """A lack of descriptors passes, and the files do not change with it."""
    certificates = await Certificates.load(authority.config())
    former = certificates.context
    authority.issue("server")
    with no_descriptor_left():
        await certificates.refresh()
        await certificates.refresh()
    assert caplog.text.count("Too many open files") == 1
    assert certificates.context is former
    await certificates.refresh()
    assert certificates.context is not former


def write(path: pathlib.Path, text: str) -> str:
    path.write_text(text)
    return str(path)


BAD: dict[str, tuple[Callable[[Authority], TLSConfig], str]] = {
    "missing": (
        lambda a: TLSConfig(certificate=str(a.directory / "none.pem")),
        r"cannot read .*none\.pem: No such file",
    ),
    "no path": (
        lambda _: TLSConfig(certificate="no\ud800path"),
        "cannot read no\ud800path: surrogates not allowed",
    ),
    "no certificate": (
        lambda a: TLSConfig(certificate=write(a.directory / "x.pem", "hello")),
        r"x\.pem are no certificate and the private key",
    ),
    "no key": (
        lambda a: TLSConfig(certificate=str(a.file)),
        r"ca\.pem are no certificate and the private key",
    ),
    "another's key": (
        lambda a: TLSConfig(
            certificate=str(a.issue("one")), key=str(a.issue("another"))
        ),
        r"one\.pem and .*another\.pem are no certificate .*MISMATCH",
    ),
    "a key with a password": (
        lambda a: TLSConfig(certificate=encrypted(a)),
        r"without a password",
    ),
    "no file that can be read": (
        lambda _: TLSConfig(certificate="/proc/self/mem"),
        r"/proc/self/mem are no certificate .*\(Input/output error\)",
    ),
    "no authority that can be read": (
        lambda a: attrs.evolve(a.config(), client_ca="/proc/self/mem"),
        r"no PEM certificate in /proc/self/mem \(Input/output error\)",
    ),
    "no authority": (
        lambda a: attrs.evolve(
            a.config(), client_ca=write(a.directory / "x.pem", "hello")
        ),
        r"tls.client_ca: no PEM certificate in .*x\.pem",
    ),
}


def encrypted(authority: Authority) -> str:
    file = authority.issue("secret")
    locked = authority.directory / "locked.pem"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(file)]
    key = subprocess.run(command, capture_output=True, check=True).stdout
    certificate = file.read_text()
    locked.write_text(certificate[certificate.index("-----BEGIN CERT") :])
    locked.write_bytes(locked.read_bytes() + key)
    return str(locked)


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
async def test_files_that_cannot_be_used_are_an_error_that_names_them(
    make: Callable[[Authority], TLSConfig], message: str, authority: Authority
) -> None:
    async with open_pump() as pump:
        with pytest.raises(ConfigError, match=message):
            await open_briefly(pump, make(authority))


async def open_briefly(pump: Pump, tls: TLSConfig) -> None:
    async with open_front_door(pump, Host(), tls=tls):
        pass


async def test_a_door_changes_to_tls_and_back_for_new_connections(
    authority: Authority,
) -> None:
    async with open_rig() as rig, rig.client() as plain:
        await plain.get("/x")
        with pytest.raises(ConfigError):
            await rig.door.use_tls(TLSConfig(certificate="/none"))
        unchanged = rig.door.tls
        config = authority.config()
        await rig.door.use_tls(config)
        assert (unchanged, rig.door.tls) == (None, config)
        async with rig.client(context=authority.client_context()) as secure:
            assert (await secure.get("/x")).status == 200
            assert (await plain.get("/x")).status == 200
            await rig.door.use_tls(None)
            assert (await secure.get("/x")).status == 200
        async with rig.client() as client:
            assert (await client.get("/x")).status == 200
