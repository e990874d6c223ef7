"""The `cron` trigger type and the functions that show when it fires."""

from iii_trio.builtins.cron._config import CronAdapterConfig, CronConfig
from iii_trio.builtins.cron._jobs import CronStatistics
from iii_trio.builtins.cron._worker import CronHandle, serve_cron

__all__ = [
    "CronAdapterConfig",
    "CronConfig",
    "CronHandle",
    "CronStatistics",
    "serve_cron",
]
