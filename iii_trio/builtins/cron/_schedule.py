"""When a cron expression fires in a time zone. Pure: asked for times, it never looks.

The calendar and the clock changes of time zones are CronSim's: it gets five fields
(with six it errs at clock changes) and gives minutes; seconds and years are applied here.
A time of day that a clock change skips fires once, right after the gap; one that comes
twice fires the first time. Expressions that run every so many minutes or hours follow
real time.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from iii_trio.builtins.cron._grammar import CronError, CronFields, parse

LAST_YEAR: Final = 2100
"""After it nothing fires: the reference's grammar ends there."""

_AHEAD: Final = 8
"""Times worked out at once and remembered; enough to share, few enough to be cheap."""

_SECOND: Final = timedelta(seconds=1)


@final
class Schedule:
    """A parsed expression in a time zone.

    Args:
        expression: five, six or seven fields, or a shorthand.
        timezone: an IANA name.

    Raises:
        CronError: either says nothing.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self.expression = expression
        self.timezone = timezone
        try:
            self._fields = parse(expression)
        except CronError as exc:
            raise CronError(f"Invalid cron expression '{expression}': {exc}") from exc
        self._zone = UTC if timezone == "UTC" else _zone(timezone)
        # What comes after the moment asked for: many triggers ask the same.
        self._asked: datetime | None = None
        self._times: list[datetime] = []

    @property
    def note(self) -> str:
        """Which days a numeric weekday means, or ``""``."""
        return self._fields.note

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time to fire strictly after a moment, in UTC, whole seconds.

        Args:
            moment: aware.

        Returns:
            ``None`` if it never fires again.
        """
        times = self.times_after(moment, 1)
        return times[0] if times else None

    def times_after(self, moment: datetime, count: int) -> list[datetime]:
        """The next ``count`` times to fire after a moment; fewer if it ends before."""
        if count > _AHEAD:
            return list(islice(self._after(moment), count))
        if self._asked is None or moment < self._asked:
            self._look_ahead(moment)
        first = bisect_right(self._times, moment)
        if first + count > len(self._times) and len(self._times) == _AHEAD:
            self._look_ahead(moment)
            first = 0
        return self._times[first : first + count]

    def _look_ahead(self, moment: datetime) -> None:
        self._times = list(islice(self._after(moment), _AHEAD))
        self._asked = moment  # last: at the ends of the calendar the above raises

    def _after(self, moment: datetime) -> Iterator[datetime]:
        for minute in self._minutes(moment):
            start = minute.astimezone(UTC)
            for second in self._fields.seconds:
                time = start + second * _SECOND
                # Also drops what a clock change maps to a time that has passed.
                if time > moment:
                    yield time

    def _minutes(self, moment: datetime) -> Iterator[datetime]:
        """Minutes that match, beginning with that of ``moment``."""
        local = moment.astimezone(self._zone).replace(second=0, microsecond=0)
        start = (local.astimezone(UTC) - _SECOND).astimezone(self._zone)
        years = self._fields.years
        while True:
            jump = None
            for minute in _simulate(self._fields, start):
                if minute.year > LAST_YEAR:
                    return
                if years is None or minute.year in years:
                    yield minute
                    continue
                jump = next((year for year in years if year > minute.year), None)
                break
            if jump is None:
                return
            start = datetime(jump, 1, 1, tzinfo=self._zone) - _SECOND


def _simulate(fields: CronFields, start: datetime) -> Iterator[datetime]:
    """Minutes strictly after ``start``, years left out of account."""
    text = (fields.minute, fields.hour, fields.day, fields.month, fields.weekday)
    try:
        simulation = CronSim(" ".join(text), start)
    except CronSimError:
        # The grammar is checked before: it is a day that no month has.
        return iter(())
    if fields.both_days:
        simulation.day_and = True
    return simulation


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as exc:
        # ZoneInfo looks names up as files: also directories and bad paths end here.
        raise CronError(f"Invalid timezone '{name}': no such time zone") from exc
