"""The tap that listens to every SDK run: it hears everything, and knows what is new."""

import pathlib
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from iii_trio.errors import InvocationError
from iii_trio.protocol import CANCEL_FEATURE, FRAME_TYPES, CancelInvocation
from iii_trio.testing import open_test_engine
from tests.frame_tap import PUBLIC, FrameTap, announces, check_report, news_in


@pytest.mark.parametrize(
    ("frame", "news"),
    [
        ({"type": "ping"}, []),
        ({"type": "invokefunction", "function_id": "f", "data": {}}, []),
        (
            {"type": "invokefunction", "function_id": "f", "deadline_ms": 5},
            ["invokefunction.deadline_ms"],
        ),
        (
            {"type": "cancelinvocation", "invocation_id": "i"},
            ["frame 'cancelinvocation'"],
        ),
        (
            {
                "type": "invocationresult",
                "function_id": "engine::workers::register",
                "result": {"success": True, "features": []},
            },
            ["features in the answer to the announcement"],
        ),
    ],
)
def test_what_no_public_sdk_knows_is_news(
    frame: dict[str, object], news: list[str]
) -> None:
    assert news_in(dict(frame)) == news


def test_what_is_public_is_a_frame_type_and_our_cancel_is_not_public() -> None:
    assert PUBLIC.keys() < FRAME_TYPES.keys()
    assert "cancelinvocation" not in PUBLIC


@pytest.fixture
def news() -> Iterator[list[str]]:
    heard: list[str] = []
    remove = FrameTap(heard.append).install()
    yield heard
    remove()


async def test_the_tap_tells_what_comes_unannounced(
    news: list[str], autojump_clock: MockClock
) -> None:
    async with (
        open_test_engine() as t,
        t.open_raw_peer("new", "new::f", features=[CANCEL_FEATURE]) as new,
        t.open_raw_peer("old", "old::f") as old,
        t.open_worker("user") as user,
    ):
        await wait_all_tasks_blocked()
        for function_id in ("new::f", "old::f"):
            with pytest.raises(InvocationError, match="TIMEOUT"):
                await user.invoke(function_id, deadline=1)
        await wait_all_tasks_blocked()
        assert CancelInvocation in {type(frame) for frame in new.received}
        assert news == []
        # What a faulty engine would do.
        port = t.engine.supervisor.port_of((await old.accepted()).worker_id)
        port.link.send_nowait(b'{"type":"cancelinvocation","invocation_id":"x"}')  # type: ignore[attr-defined]
        await trio.lowlevel.checkpoint()
    [line] = news
    assert line.startswith("frame 'cancelinvocation': ")


def test_only_our_feature_is_an_announcement() -> None:
    frame = {"function_id": "engine::workers::register", "data": {"features": ["x"]}}
    assert not announces(frame)
    assert not announces({"function_id": "f", "data": {"features": [CANCEL_FEATURE]}})


def test_a_report_of_a_server_process_is_read_strictly(
    tmp_path: pathlib.Path,
) -> None:
    report = tmp_path / "report"
    report.write_text("tapped\n")
    check_report(report)
    report.write_text("tapped\ninvokefunction.deadline_ms: {}\n")
    with pytest.raises(AssertionError, match=r"invokefunction\.deadline_ms"):
        check_report(report)
