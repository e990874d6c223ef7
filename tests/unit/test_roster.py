"""The roster: names are leases, tokens are proof."""

from iii_trio.engine import Announcement, Roster, WorkerRecord


def make(worker_id: str) -> WorkerRecord:
    return WorkerRecord(
        worker_id=worker_id,
        reattach_token=f"token {worker_id}",
        kind="link",
        connected_at_ms=1,
    )


def enter(roster: Roster, worker_id: str) -> WorkerRecord:
    record = make(worker_id)
    roster.add(record)
    return record


def test_a_live_worker_keeps_its_name() -> None:
    roster = Roster()
    first, second = enter(roster, "1"), enter(roster, "2")
    assert roster.announce(first, Announcement(name="w")) is None
    assert roster.announce(second, Announcement(name="w")) is first
    assert not second.announced
    assert roster.announce(second, Announcement(name="w", namespace="n")) is None


def test_a_worker_whose_teardown_began_no_longer_holds_its_name() -> None:
    roster = Roster()
    first, second = enter(roster, "1"), enter(roster, "2")
    roster.announce(first, Announcement(name="w"))
    first.is_live = False
    assert roster.announce(second, Announcement(name="w")) is None
    roster.release_name(first)
    assert roster.holder("default", "w") is second
    roster.remove(first)
    assert [r.worker_id for r in roster] == ["2"]


def test_a_second_name_gives_the_first_one_free() -> None:
    roster = Roster()
    record = enter(roster, "1")
    roster.announce(record, Announcement(name="old"))
    roster.announce(record, Announcement(name="new"))
    assert roster.holder("default", "old") is None
    assert roster.holder("default", "new") is record
    roster.announce(record, Announcement(runtime="node"))
    assert (record.name, record.runtime) == ("new", "node")


def test_the_first_namespace_wins() -> None:
    roster = Roster()
    record = enter(roster, "1")
    roster.announce(record, Announcement(name="w", namespace="a"))
    roster.announce(record, Announcement(name="w", namespace="b"))
    assert record.namespace == "a"


def test_a_later_announcement_keeps_what_it_does_not_name() -> None:
    roster = Roster()
    record = enter(roster, "1")
    full = Announcement(description="d", os="linux", pid=0, isolation="x", version="1")
    roster.announce(record, full)
    roster.announce(record, Announcement())
    assert (record.description, record.os, record.pid) == ("d", "linux", 0)
    assert (record.isolation, record.version, record.runtime) == ("x", None, "unknown")


def test_names_are_cleaned_before_they_are_held() -> None:
    roster = Roster()
    record = enter(roster, "1")
    roster.announce(record, Announcement(name="\u202e w\n "))
    assert record.name == "w"
    roster.announce(enter(roster, "2"), Announcement(name=" \n"))
    assert len(roster) == 2


def test_only_the_secret_token_of_a_live_worker_reattaches() -> None:
    roster = Roster()
    old, new = enter(roster, "1"), enter(roster, "2")
    assert roster.find_for_reattach("1", "token 1", new) is old
    assert roster.find_for_reattach("1", "wrong é", new) is None
    assert roster.find_for_reattach("1", None, new) is None
    assert roster.find_for_reattach("2", "token 2", new) is None
    assert roster.find_for_reattach("3", "token 3", new) is None
    old.is_live = False
    assert roster.find_for_reattach("1", "token 1", new) is None


def test_a_worker_without_name_or_namespace_releases_nothing() -> None:
    roster = Roster()
    roster.release_name(enter(roster, "1"))
    assert roster.get("1") is not None
    assert roster.get("2") is None
