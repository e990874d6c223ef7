"""When expressions fire: the grammars, the numberings, the edges of clock changes."""

from datetime import UTC, datetime

import pytest

from iii_trio.builtins.cron._grammar import CronError, parse
from iii_trio.builtins.cron._schedule import Schedule

NOW = datetime(2026, 11, 22, 22, 50, tzinfo=UTC)  # a Sunday


def times(
    expression: str, timezone: str = "UTC", *, after: datetime = NOW, count: int = 1
) -> list[str]:
    found = Schedule(expression, timezone).times_after(after, count)
    return [time.strftime("%Y-%m-%d %H:%M:%S") for time in found]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("* * * * * *", "2026-11-22 22:50:01"),
        ("*/20 * * * * *", "2026-11-22 22:50:20"),
        ("7/20 * * * * *", "2026-11-22 22:50:07"),
        ("10-40/15 * * * * *", "2026-11-22 22:50:10"),
        ("0 0 9 * * 1", "2026-11-29 09:00:00"),  # 1 is Sunday
        ("0 0 9 * * 0", "2026-11-29 09:00:00"),  # and so is 0
        ("0 0 9 * * 2", "2026-11-23 09:00:00"),
        ("0 0 9 * * 7", "2026-11-28 09:00:00"),
        ("0 0 9 * * TUES-thursday", "2026-11-24 09:00:00"),
        ("0 0 0 13 * fri", "2027-08-13 00:00:00"),  # both days must match
        ("0 0 0 ? jan ?", "2027-01-01 00:00:00"),
        ("0 0 0 1 1 * 2030", "2030-01-01 00:00:00"),
        ("0 0 0 1 1 * 2000-2100/40", "2040-01-01 00:00:00"),
        ("0 0 0 29 feb wed", "2040-02-29 00:00:00"),
        ("  0   0 0 1\t1 * ", "2027-01-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
        ("@monthly", "2026-12-01 00:00:00"),
        ("@weekly", "2026-11-29 00:00:00"),
        ("@daily", "2026-11-23 00:00:00"),
        ("@hourly", "2026-11-22 23:00:00"),
        ("* * * * *", "2026-11-22 22:51:00"),
        ("0 9 * * 0", "2026-11-29 09:00:00"),
        ("0 9 * * 7", "2026-11-29 09:00:00"),
        ("0 9 * * 1", "2026-11-23 09:00:00"),
        ("0 0 13 * fri", "2026-11-27 00:00:00"),  # either day matches
        ("0 0 */2 * mon", "2026-11-23 00:00:00"),  # unless one begins with a star
        ("0 0 1-31/2 * tue", "2026-11-23 00:00:00"),
    ],
)
def test_the_first_time_of_an_expression(expression: str, first: str) -> None:
    assert times(expression) == [first]


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 30 2 *",
        "0 0 0 30 2 *",
        "0 0 0 31 4,6,9,11 * *",
        "0 0 0 1 1 * 1999",
        "0 0 0 30 2 * 2030-2100",
    ],
)
def test_dates_that_never_come_parse_and_never_fire(expression: str) -> None:
    assert times(expression) == []


def test_the_years_end_with_2100() -> None:
    late = datetime(2099, 6, 1, tzinfo=UTC)
    assert times("@yearly", after=late, count=5) == ["2100-01-01 00:00:00"]
    assert times("0 0 1 1 *", after=late, count=20) == ["2100-01-01 00:00:00"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "expected 5, 6 or 7 fields, found 0"),
        ("* * * *", "expected 5, 6 or 7 fields, found 4"),
        ("* * * * * * * *", "expected 5, 6 or 7 fields, found 8"),
        ("60 * * * * *", "second: 60 is not within 0 to 59"),
        ("* * 24 * * *", "hour: 24 is not within 0 to 23"),
        ("* * * 0 * *", "day of month: 0 is not within 1 to 31"),
        ("* * * * * 8", "day of week: 8 is not within 0 to 7"),
        ("* * * * * * 1969", "year: 1969 is not within 1970 to 2100"),
        ("*/0 * * * * *", "second: a step is 1 to 59, not 0"),
        ("*/60 * * * *", "minute: a step is 1 to 59, not 60"),
        ("*/x * * * *", "minute: 'x' is no step"),
        ("5-1 * * * *", "minute: the range 5-1 ends before it begins"),
        ("1,,2 * * * *", "minute: '' is no number or name"),
        ("-1 * * * *", "minute: '' is no number or name"),
        ("+1 * * * *", "minute: '+1' is no number or name"),
        ("\N{ARABIC-INDIC DIGIT ONE} * * * *", "is no number or name"),
        ("9999999999 * * * *", "is not within 0 to 59"),
        ("* * * * * mon/2", "day of week: the name mon cannot take a step"),
        ("* * * * fri-mon", "the range fri-mon ends before it begins"),
        ("? * * * * *", "second: '?' is no number or name"),
        ("* * ? * *", "day of month: '?' is no number or name"),
        ("* * L * *", "day of month: 'L' is no number or name"),
        ("* * * * 5#2", "day of week: '5#2' is no number or name"),
        ("@midnight", "unknown shorthand"),
        ("@annually", "unknown shorthand"),
        ("@reboot", "unknown shorthand"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_reason(
    expression: str, reason: str
) -> None:
    with pytest.raises(CronError) as caught:
        Schedule(expression)
    assert str(caught.value).startswith(f"Invalid cron expression '{expression}': ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "../../etc/passwd", "/etc", "Europe", "UTC\0", "a" * 999],
)
def test_what_is_no_time_zone_is_refused(name: str) -> None:
    with pytest.raises(CronError, match="Invalid timezone"):
        Schedule("* * * * *", name)


@pytest.mark.parametrize(
    ("expression", "note"),
    [
        ("0 0 9 * * 1", "day of week 1 means Sunday"),
        ("0 0 9 * * 2-3", "day of week 2-3 means Monday, Tuesday"),
        ("0 9 * * 1,7", "day of week 1,7 means Sunday, Monday"),
        ("0 9 * * mon", ""),
        ("0 9 * * */2", ""),
        ("0 0 9 * * fri", ""),
    ],
)
def test_a_weekday_in_numbers_says_which_days_it_means(
    expression: str, note: str
) -> None:
    assert parse(expression).note == note


def at(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_a_time_that_is_skipped_fires_once_right_after_the_gap() -> None:
    # 29 March 2026 in Berlin: 02:00 becomes 03:00 at 01:00 UTC.
    after = at(3, 28, 12)
    for expression in ("30 2 * * *", "0 30 2 * * *", "0 0,30 2 * * *"):
        assert times(expression, "Europe/Berlin", after=after) == [
            "2026-03-29 01:00:00"
        ]
    assert times("30 2 * * *", "Europe/Berlin", after=after, count=2)[1] == (
        "2026-03-30 00:30:00"
    )
    assert times("0 0,30 2 * * *", "Europe/Berlin", after=after, count=2)[1] == (
        "2026-03-30 00:00:00"
    )


def test_a_time_that_comes_twice_fires_once() -> None:
    # 25 October 2026 in Berlin: 03:00 becomes 02:00 at 01:00 UTC.
    after = at(10, 24, 12)
    for expression in ("30 2 * * *", "0 30 2 * * *"):
        assert times(expression, "Europe/Berlin", after=after, count=2) == [
            "2026-10-25 00:30:00",
            "2026-10-26 01:30:00",
        ]
    # Also when it is asked for in between.
    between = at(10, 25, 0, 45)
    assert times("0 30 2 * * *", "Europe/Berlin", after=between) == [
        "2026-10-26 01:30:00"
    ]


def test_every_so_many_minutes_follows_real_time_at_clock_changes() -> None:
    spring = times("*/30 * * * *", "Europe/Berlin", after=at(3, 29, 0, 15), count=4)
    assert [time[11:16] for time in spring] == ["00:30", "01:00", "01:30", "02:00"]
    autumn = times("0 */30 * * * *", "Europe/Berlin", after=at(10, 25, 0, 15), count=4)
    assert [time[11:16] for time in autumn] == ["00:30", "01:00", "01:30", "02:00"]


def test_asking_backwards_and_far_ahead_gives_the_same_answers() -> None:
    schedule = Schedule("*/7 * * * * *")
    ahead = schedule.times_after(NOW, 50)
    for place in (40, 3, 11, 0, 49):
        before = ahead[place - 1] if place else NOW
        assert schedule.next_after(before) == ahead[place]


def test_what_cannot_be_answered_leaves_other_answers_alone() -> None:
    schedule = Schedule("0 0 0 * * *")
    schedule.next_after(NOW)
    with pytest.raises(OverflowError):
        schedule.next_after(datetime(1, 1, 1, tzinfo=UTC))
    after = datetime(2000, 1, 1, tzinfo=UTC)
    assert schedule.next_after(after) == datetime(2000, 1, 2, tzinfo=UTC)
