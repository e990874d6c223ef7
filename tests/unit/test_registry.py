"""The registry of functions: claim, take over, shadow, release."""

import attrs
import pytest

from iii_trio.engine import Conflict, Function, Registry


@attrs.define(eq=False)
class Owner:
    worker_id: str
    is_live: bool = True
    is_local: bool = False


def make(
    owner: Owner,
    function_id: str = "a::b",
    namespace: str = "default",
    description: str | None = None,
) -> Function[Owner]:
    return Function(
        function_id=function_id,
        namespace=namespace,
        owner=owner,
        description=description,
    )


@pytest.fixture
def registry() -> Registry[Owner]:
    return Registry()


def test_first_live_owner_keeps_the_id(registry: Registry[Owner]) -> None:
    first, second = Owner("1"), Owner("2")
    assert registry.claim(make(first)) is None
    assert registry.claim(make(second)) == Conflict("1")
    found = registry.find("default", "a::b")
    assert found is not None
    assert found.owner is first


def test_same_owner_replaces_its_function(registry: Registry[Owner]) -> None:
    owner = Owner("1")
    registry.claim(make(owner))
    assert registry.claim(make(owner, description="new")) is None
    found = registry.find("default", "a::b")
    assert found is not None
    assert found.description == "new"
    assert len(registry) == 1


def test_dead_owner_is_taken_over_and_its_release_removes_nothing(
    registry: Registry[Owner],
) -> None:
    dead, heir = Owner("1"), Owner("2")
    registry.claim(make(dead))
    dead.is_live = False
    assert registry.claim(make(heir)) is None
    assert registry.release_all(dead) == []
    found = registry.find("default", "a::b")
    assert found is not None
    assert found.owner is heir


def test_the_same_id_lives_in_several_namespaces(registry: Registry[Owner]) -> None:
    registry.claim(make(Owner("1")))
    registry.claim(make(Owner("2"), namespace="other"))
    assert registry.namespaces_of("a::b") == ["default", "other"]
    assert registry.find("third", "a::b") is None


def test_release_of_a_function_that_is_not_mine_does_nothing(
    registry: Registry[Owner],
) -> None:
    mine, other = Owner("1"), Owner("2")
    registry.claim(make(mine, namespace="n"))
    assert registry.release("n", "a::b", other) is None
    assert registry.release("n", "nope", mine) is None
    registry.claim(make(mine, "c::d", namespace="n"))
    assert registry.release("n", "a::b", mine) is not None
    assert [f.function_id for f in registry.owned_by(mine)] == ["c::d"]
    registry.release_all(mine)
    assert len(registry) == 0
    assert registry.owned_by(mine) == []


@pytest.mark.parametrize(
    ("function_id", "namespace", "is_local", "refused"),
    [
        ("engine::x", "default", False, True),
        ("engine::x", "default", True, False),
        ("engine::x", "other", True, True),
        ("engine::queue::enqueue", "default", False, False),
        ("engine::queue::enqueue", "other", False, True),
        ("plain", "default", False, False),
    ],
)
def test_engine_ids_belong_to_the_engine(
    registry: Registry[Owner],
    function_id: str,
    namespace: str,
    is_local: bool,
    refused: bool,
) -> None:
    owner = Owner("1", is_local=is_local)
    answer = registry.claim(make(owner, function_id, namespace))
    assert (answer == Conflict("")) is refused


def test_reserved_ids_are_refused_to_links_until_given_free(
    registry: Registry[Owner],
) -> None:
    link, local = Owner("1"), Owner("2", is_local=True)
    registry.reserve({"state::get": "state"})
    assert registry.claim(make(link, "state::get")) == Conflict("")
    assert registry.claim(make(link, "state::get", "other")) is None
    assert registry.claim(make(local, "state::get")) is None
    registry.release_all(local)
    registry.unreserve(["state::get", "never reserved"])
    assert registry.claim(make(link, "state::get")) is None


def test_a_connected_queue_provider_takes_the_bundled_ids_and_gives_them_back(
    registry: Registry[Owner],
) -> None:
    bundled, standalone = Owner("1", is_local=True), Owner("2")
    registry.claim(make(bundled, "engine::queue::enqueue"))
    assert registry.claim(make(standalone, "engine::queue::enqueue")) is None
    found = registry.find("default", "engine::queue::enqueue")
    assert found is not None
    assert found.owner is standalone
    registry.release_all(standalone)
    found = registry.find("default", "engine::queue::enqueue")
    assert found is not None
    assert found.owner is bundled


def test_a_shadowed_bundled_provider_that_leaves_does_not_come_back(
    registry: Registry[Owner],
) -> None:
    bundled, standalone = Owner("1", is_local=True), Owner("2")
    registry.claim(make(bundled, "queue::define"))
    registry.claim(make(standalone, "queue::define"))
    assert [f.owner for f in registry.release_all(bundled)] == [bundled]
    registry.release_all(standalone)
    assert registry.find("default", "queue::define") is None
    assert list(registry) == []


def test_two_links_do_not_shadow_each_other(registry: Registry[Owner]) -> None:
    registry.claim(make(Owner("1"), "queue::define"))
    assert registry.claim(make(Owner("2"), "queue::define")) == Conflict("1")


def test_a_bundled_provider_that_starts_later_waits_for_the_ids(
    registry: Registry[Owner],
) -> None:
    bundled, standalone = Owner("1", is_local=True), Owner("2")
    registry.claim(make(standalone, "queue::define"))
    assert registry.claim(make(bundled, "queue::define")) is None
    assert registry.claim(make(bundled, "queue::define")) is None
    second = Owner("3", is_local=True)
    assert registry.claim(make(second, "queue::define")) == Conflict("1")
    found = registry.find("default", "queue::define")
    assert found is not None
    assert found.owner is standalone
    registry.release_all(standalone)
    found = registry.find("default", "queue::define")
    assert found is not None
    assert found.owner is bundled
    registry.release_all(bundled)
    assert registry.find("default", "queue::define") is None


def test_the_weight_of_an_owner_follows_what_is_its(registry: Registry[Owner]) -> None:
    first, second = Owner("1"), Owner("2")
    for weight in (5, 3):
        registry.claim(attrs.evolve(make(first), weight=weight))
    registry.claim(make(first, "a::c"))
    assert registry.weight_of(first) == 4
    registry.release("default", "a::c", first)
    assert registry.weight_of(first) == 3
    first.is_live = False
    registry.claim(attrs.evolve(make(second), weight=7))
    assert (registry.weight_of(first), registry.weight_of(second)) == (0, 7)
    registry.release_all(second)
    assert registry.weight_of(second) == 0
