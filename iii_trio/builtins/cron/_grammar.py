"""What a cron expression says: fields of text become sets of numbers. Pure.

Two grammars. Six or seven fields (seconds first, optional year last) are those of the
reference engine: 1 is Sunday, both day fields must match. Five fields are standard cron:
0 and 7 are Sunday, and of two restricted day fields either matches. Nothing here knows a
calendar.
"""

from collections.abc import Mapping
from typing import Final

import attrs

SHORTHANDS: Final = {
    "@yearly": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * SUN",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
"""All that the reference takes; ``@annually`` and ``@midnight`` are not among them."""

DAY_NAMES: Final = (
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
)
_MONTH_NAMES: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_LONGER_SHORT_NAMES: Final = {"tues": 2, "thurs": 4}


class CronError(ValueError):
    """An expression or a time zone that says nothing."""


def _named(names: tuple[str, ...], first: int) -> dict[str, int]:
    """Numbers by lower-case name, whole and of three letters."""
    numbers = {name.lower(): first + at for at, name in enumerate(names)}
    return numbers | {name[:3]: number for name, number in numbers.items()}


@attrs.frozen(kw_only=True)
class _Kind:
    """What a field may hold."""

    title: str
    low: int
    high: int
    names: Mapping[str, int] = attrs.field(factory=dict)
    question_mark: bool = False

    def number(self, text: str) -> int:
        """The number of a name or of digits.

        Raises:
            CronError: neither, or out of range.
        """
        number = self.names.get(text.lower())
        if number is None:
            if not (text.isascii() and text.isdigit()):
                raise CronError(f"{self.title}: {text!r} is no number or name")
            # Longer ones are out of any range, and slow to convert.
            number = int(text) if len(text) <= 9 else -1
        if not self.low <= number <= self.high:
            raise CronError(
                f"{self.title}: {text} is not within {self.low} to {self.high}"
            )
        return number

    def values(self, text: str) -> frozenset[int]:
        """The numbers of a whole field: a list of points, ranges and steps."""
        found: set[int] = set()
        for item in text.split(","):
            found.update(self._item(item))
        return frozenset(found)

    def _item(self, text: str) -> range:
        span, slash, step_text = text.partition("/")
        step = 1
        if slash:
            step = self._step(step_text)
        if span == "*" or (span == "?" and self.question_mark):
            return range(self._first, self.high + 1, step)
        first_text, dash, last_text = span.partition("-")
        first = self._lifted(self.number(first_text))
        if dash:
            last = self._lifted(self.number(last_text))
            if last < first:
                raise CronError(f"{self.title}: the range {span} ends before it begins")
            return range(first, last + 1, step)
        if slash and span.lower() in self.names:
            raise CronError(f"{self.title}: the name {span} cannot take a step")
        return range(first, (self.high if slash else first) + 1, step)

    def _step(self, text: str) -> int:
        if not (text.isascii() and text.isdigit()) or len(text) > 9:
            raise CronError(f"{self.title}: {text!r} is no step")
        step = int(text)
        if not 0 < step <= self.high:
            raise CronError(f"{self.title}: a step is 1 to {self.high}, not {text}")
        return step

    @property
    def _first(self) -> int:
        return self._lifted(self.low)

    def _lifted(self, number: int) -> int:
        return number


class _WeekdayFromOne(_Kind):
    """Sunday is 1; 0 is another way to write it."""

    def _lifted(self, number: int) -> int:
        return number or 1


_SECOND: Final = _Kind(title="second", low=0, high=59)
_MINUTE: Final = _Kind(title="minute", low=0, high=59)
_HOUR: Final = _Kind(title="hour", low=0, high=23)
_DAY: Final = _Kind(title="day of month", low=1, high=31)
_DAY_OR_ANY: Final = attrs.evolve(_DAY, question_mark=True)
_MONTH: Final = _Kind(title="month", low=1, high=12, names=_named(_MONTH_NAMES, 1))
_YEAR: Final = _Kind(title="year", low=1970, high=2100)
_WEEKDAY: Final = _Kind(
    title="day of week",
    low=0,
    high=7,
    names=_named(DAY_NAMES, 0) | _LONGER_SHORT_NAMES,
)
_WEEKDAY_FROM_ONE: Final = _WeekdayFromOne(
    title="day of week",
    low=0,
    high=7,
    names={name: 1 + number for name, number in _WEEKDAY.names.items()},
    question_mark=True,
)


@attrs.frozen(kw_only=True)
class CronFields:
    """A parsed expression.

    Attributes:
        seconds: of a minute, ascending.
        minute: numbers with commas, after a ``*`` or ``*/n`` that it began with.
        hour: likewise.
        day: likewise; only numbers in the grammar with seconds.
        month: numbers with commas.
        weekday: as ``day``; 0 and 7 are Sunday.
        both_days: whether day and weekday must both match, whatever their text.
        years: allowed ones, ascending; ``None``: any.
        note: which days a weekday written in numbers means, or ``""``.
    """

    seconds: tuple[int, ...]
    minute: str
    hour: str
    day: str
    month: str
    weekday: str
    both_days: bool
    years: tuple[int, ...] | None
    note: str


def parse(expression: str) -> CronFields:
    """Parse an expression; surrounding and repeated spaces do not matter.

    Raises:
        CronError: it fits neither grammar.
    """
    text = expression.strip()
    if text.startswith("@") and text not in SHORTHANDS:
        raise CronError(f"unknown shorthand; known ones are {', '.join(SHORTHANDS)}")
    fields = SHORTHANDS.get(text, text).split()
    if len(fields) == 5:
        return _parse_standard(fields)
    if len(fields) in {6, 7}:
        return _parse_with_seconds(fields)
    raise CronError(f"expected 5, 6 or 7 fields, found {len(fields)}")


def _parse_standard(fields: list[str]) -> CronFields:
    minute, hour, day, month, weekday = fields
    days = _WEEKDAY.values(weekday)
    return CronFields(
        seconds=(0,),
        minute=_written(minute, _MINUTE.values(minute)),
        hour=_written(hour, _HOUR.values(hour)),
        day=_written(day, _DAY.values(day)),
        month=_joined(_MONTH.values(month), 12),
        weekday=_written(weekday, days),
        both_days=False,
        years=None,
        note=_note(weekday, {day % 7 for day in days}),
    )


def _parse_with_seconds(fields: list[str]) -> CronFields:
    second, minute, hour, day, month, weekday = fields[:6]
    days = {number - 1 for number in _WEEKDAY_FROM_ONE.values(weekday)}
    years = sorted(_YEAR.values(fields[6])) if len(fields) == 7 else None
    return CronFields(
        seconds=tuple(sorted(_SECOND.values(second))),
        minute=_written(minute, _MINUTE.values(minute)),
        hour=_written(hour, _HOUR.values(hour)),
        day=_joined(_DAY_OR_ANY.values(day), 31),
        month=_joined(_MONTH.values(month), 12),
        weekday=_joined(days, 7),
        both_days=True,
        years=tuple(years) if years is not None else None,
        note=_note(weekday, days),
    )


def _written(text: str, numbers: frozenset[int]) -> str:
    """Numbers for CronSim, whose view of ranges with steps is not quite ours.

    A star at the beginning says more than its numbers: both days must match, or minutes
    and hours follow real time at clock changes.
    """
    first = text.partition(",")[0]
    joined = ",".join(map(str, sorted(numbers)))
    if not first.startswith("*"):
        return joined
    return first if text == first else f"{first},{joined}"


def _joined(numbers: frozenset[int] | set[int], possible: int) -> str:
    """Numbers for CronSim, where a star at the beginning says no more than they do."""
    if len(numbers) == possible:
        return "*"  # quicker to read
    return ",".join(map(str, sorted(numbers)))


def _note(text: str, days: set[int]) -> str:
    """What numeric weekdays mean: people expect different numberings."""
    points = text.replace("-", ",").split(",")
    if not any(point[:1].isdigit() for point in points):
        return ""
    return f"day of week {text} means " + ", ".join(DAY_NAMES[d] for d in sorted(days))
