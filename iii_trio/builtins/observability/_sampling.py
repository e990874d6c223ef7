"""Which traces are begun. Pure: time and ids are arguments."""

from fnmatch import fnmatchcase
from typing import Any, Final, final

from iii_trio.builtins.observability._config import Settings

JSON = Any

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
        self._per_second = None if limit is None else limit.max_traces_per_second
        self._tokens = self._burst = max(1.0, self._per_second or 0.0)
        self._filled_at: float | None = None

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
        return self._by_ratio(self.ratio(name), trace_id) and self._has_token(now)

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

    def _has_token(self, now: float) -> bool:
        """Take one of the tokens that grow with time, if there is a limit."""
        if self._per_second is None:
            return True
        if self._filled_at is not None:
            grown = max(0.0, now - self._filled_at) * self._per_second
            self._tokens = min(self._burst, self._tokens + grown)
        self._filled_at = now
        if self._per_second == 0 or self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
