"""Which traces are begun. Pure: time and ids are arguments."""

from fnmatch import fnmatchcase
from math import inf
from typing import Any, Final, final

from iii_trio.builtins.observability._config import Settings

JSON = Any

TRACES_PER_SECOND: Final = 100.0
"""Traces that the engine begins unless the configuration says otherwise: one for each of
17,000 requests a second would cost a quarter of them."""

_LARGEST: Final = 1 << 64


@final
class Sampler:
    """Decides by the configuration, and always the same way for one trace id.

    Args:
        settings: the rules.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sampling = settings.sampling
        limit = settings.sampling.rate_limit
        self._per_second = TRACES_PER_SECOND
        if limit is not None:
            self._per_second = limit.max_traces_per_second
        # A limit below one a second still lets one begin now and then.
        self._burst = max(1.0, self._per_second) if self._per_second else 0.0
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._no_room_until = -inf

    def wants(
        self, name: str, trace_id: str, parent_sampled: bool | None, now: float
    ) -> bool:
        """Whether a span is recorded.

        Args:
            name: of the span.
            trace_id: 32 hex digits.
            parent_sampled: what the caller decided; ``None`` for a new trace.
            now: seconds.
        """
        if parent_sampled is not None and self._sampling.parent_based:
            return parent_sampled
        wanted = self._by_ratio(self.ratio(name), trace_id) and self.has_room(now)
        self._tokens -= wanted
        return wanted

    def has_room(self, now: float) -> bool:
        """Whether the limit lets one more trace begin.

        Args:
            now: seconds.
        """
        if self._filled_at is not None:
            if self._filled_at <= now < self._no_room_until:
                return False  # nearly always, where there are many
            grown = max(0.0, now - self._filled_at) * self._per_second
            self._tokens = min(self._burst, self._tokens + grown)
        self._filled_at = now
        if self._tokens >= 1.0:
            return True
        if self._per_second:
            self._no_room_until = now + (1.0 - self._tokens) / self._per_second
        return False

    def ratio(self, name: str) -> float:
        """The part of the traces that is wanted for spans of a name."""
        service = self._settings.service_name
        for rule in self._sampling.rules:
            if fnmatchcase(name, rule.operation or "*") and fnmatchcase(
                service, rule.service or "*"
            ):
                return rule.rate
        return self.default_ratio

    @property
    def default_ratio(self) -> float:
        """The part of the traces that is wanted where no rule fits."""
        default = self._sampling.default
        return self._settings.sampling_ratio if default is None else default

    def row(self) -> JSON:
        """The rules as ``engine::sampling::rules`` shows them."""
        return {
            "default_ratio": self.default_ratio,
            "rules": [
                {
                    "operation": rule.operation,
                    "service": rule.service,
                    "rate": rule.rate,
                }
                for rule in self._sampling.rules
            ],
            "parent_based": self._sampling.parent_based,
        }

    @staticmethod
    def _by_ratio(ratio: float, trace_id: str) -> bool:
        return ratio >= 1.0 or int(trace_id[16:], 16) < ratio * _LARGEST
