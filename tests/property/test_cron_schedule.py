"""Schedules against plain CronSim where grammars agree, and against a slow scan."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs
from cronsim import CronSim, CronSimError
from hypothesis import example, given
from hypothesis import strategies as st

from iii_trio.builtins.cron._grammar import CronError
from iii_trio.builtins.cron._schedule import Schedule

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # clocks changed at midnight
    "America/Havana",
    "Africa/Casablanca",  # an hour back during Ramadan
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Pacific/Apia",  # lost 30 December 2011
    "Pacific/Auckland",
    "Antarctica/Troll",  # two hours
)
MOMENTS = st.datetimes(
    min_value=datetime(1995, 1, 1),  # noqa: DTZ001
    max_value=datetime(2060, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def items(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    step = st.integers(1, high)
    span = st.tuples(number, number).map(sorted)
    return st.one_of(
        number.map(str),
        step.map(lambda n: f"*/{n}"),
        st.builds(lambda a, n: f"{a}/{n}", number, step),
        span.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        # CronSim takes a-a/n for a/n.
        span.filter(lambda pair: pair[0] < pair[1]).flatmap(
            lambda pair: step.map(lambda n: f"{pair[0]}-{pair[1]}/{n}")
        ),
    )


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    some = st.lists(items(low, high), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.just("*"), some)


STANDARD = st.tuples(
    fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)
).map(" ".join)


@attrs.frozen
class Field:
    """Text of a field, and independently of it what it means."""

    text: str
    numbers: frozenset[int]


def meaning(low: int, high: int) -> st.SearchStrategy[Field]:
    """A field of the grammar with seconds, often a star."""
    every = Field("*", frozenset(range(low, high + 1)))
    number = st.integers(low, high)
    step = st.integers(1, high)
    one = st.one_of(
        number.map(lambda n: Field(str(n), frozenset({n}))),
        step.map(lambda n: Field(f"*/{n}", frozenset(range(low, high + 1, n)))),
        st.builds(
            lambda a, n: Field(f"{a}/{n}", frozenset(range(a, high + 1, n))),
            number,
            step,
        ),
        st.tuples(number, number)
        .map(sorted)
        .map(lambda ab: Field(f"{ab[0]}-{ab[1]}", frozenset(range(ab[0], ab[1] + 1)))),
        st.builds(lambda a, n: Field(f"{a}-{a}/{n}", frozenset({a})), number, step),
    )
    several = st.lists(one, min_size=1, max_size=3).map(
        lambda parts: Field(
            ",".join(part.text for part in parts),
            frozenset().union(*(part.numbers for part in parts)),
        )
    )
    return st.one_of(st.just(every), several)


WITH_SECONDS = st.tuples(
    meaning(0, 59),
    meaning(0, 59),
    meaning(0, 23),
    meaning(1, 31),
    st.just(Field("*", frozenset(range(1, 13)))),
    meaning(1, 7),
)


def plain(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """What CronSim says, in UTC; times that have passed or come twice left out."""
    last = after
    for time in CronSim(expression, after.astimezone(zone)):
        if time.year > 2100:
            return
        time = time.astimezone(UTC)  # noqa: PLW2901
        if time > last:
            last = time
            yield time


@given(STANDARD, st.sampled_from(ZONES), MOMENTS)
@example("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC))
@example("*/30 * * * *", "Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC))
def test_five_fields_are_those_of_plain_cronsim(
    expression: str, zone: str, after: datetime
) -> None:
    try:
        expected = plain(expression, ZoneInfo(zone), after)
        answers = [next(expected, None) for _ in range(5)]
    except CronSimError:  # a day that no month has
        answers = []
    found = Schedule(expression, zone).times_after(after, 5)
    assert found == [answer for answer in answers if answer is not None]


def scan(six: tuple[Field, ...], zone: ZoneInfo, after: datetime) -> list[datetime]:
    """Look at every minute of three days."""
    second, minute, hour, day, month, weekday = (field.numbers for field in six)
    found = []
    start = after.replace(second=0, microsecond=0)
    for number in range(3 * 24 * 60):
        moment = start + timedelta(minutes=number)
        local = moment.astimezone(zone)
        if (
            local.minute in minute
            and local.hour in hour
            and local.day in day
            and local.month in month
            and local.isoweekday() % 7 + 1 in weekday
        ):
            found += [moment.replace(second=at) for at in sorted(second)]
            if len(found) > 100:
                break
    return [moment for moment in found if moment > after]


@given(WITH_SECONDS, MOMENTS)
def test_six_fields_skip_nothing_and_add_nothing(
    six: tuple[Field, ...], after: datetime
) -> None:
    expected = scan(six, ZoneInfo("UTC"), after)[:40]
    expression = " ".join(field.text for field in six)
    found = Schedule(expression).times_after(after, max(len(expected), 1))
    if expected:
        assert found == expected
    elif found:
        seen_until = after.replace(second=0, microsecond=0) + timedelta(days=3)
        assert found[0] >= seen_until


@given(st.data(), st.sampled_from(ZONES), MOMENTS)
def test_steps_of_minutes_follow_real_time_in_every_zone(
    data: st.DataObject, zone: str, after: datetime
) -> None:
    step = data.draw(st.sampled_from([1, 5, 10, 15, 20, 30]))
    changes = data.draw(st.integers(0, 365 * 24))
    after += timedelta(hours=changes)
    expression = f"*/{step} * * * *"
    every = Field("*", frozenset(range(60)))
    steps = Field("", frozenset(range(0, 60, step)))
    six = (Field("0", frozenset({0})), steps, every, every, every, every)
    expected = scan(six, ZoneInfo(zone), after)[:60]
    assert Schedule(expression, zone).times_after(after, 60) == expected


@given(WITH_SECONDS, st.sampled_from(ZONES), MOMENTS)
def test_answers_ascend_and_do_not_depend_on_what_was_asked_before(
    six: tuple[Field, ...], zone: str, after: datetime
) -> None:
    schedule = Schedule(" ".join(field.text for field in six), zone)
    ahead = schedule.times_after(after, 12)
    assert ahead == sorted(set(ahead))
    assert all(time > after and time.second in six[0].numbers for time in ahead)
    asked = after
    for time in ahead:
        assert schedule.next_after(asked) == time
        assert schedule.next_after(time - timedelta(seconds=0.5)) == time
        asked = time


@given(st.text(alphabet="0123456789*/-,? @LW#monSUNdaily", max_size=24))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        schedule = Schedule(text)
    except CronError:
        return
    schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC))
