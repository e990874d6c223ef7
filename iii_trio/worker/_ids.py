"""Ids that public SDKs accept: UUIDs, and cheap ones that look like them."""

import random
import uuid
from collections.abc import Callable
from itertools import count


def uuid_maker(rng: random.Random) -> Callable[[], str]:
    """Make random UUIDs out of ``rng``."""
    return lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4))


def call_id_maker(rng: random.Random) -> Callable[[], str]:
    """Make UUID-shaped ids that are unique on one connection: random head, counter."""
    head = str(uuid.UUID(int=rng.getrandbits(128), version=4))[:24]
    numbers = count()
    return lambda: f"{head}{next(numbers):012x}"
