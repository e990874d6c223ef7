"""JSON that is changed in many steps, at the cost of one copy of what changes. Pure.

A step gives a new value, which may share parts with the old one. Copying a container in
each of them takes time by the product of its size and the steps.
"""

from typing import Any, TypeVar, final

JSON = Any
Container = TypeVar("Container", dict[str, JSON], list[JSON])


@final
class GrowingText:
    """Stands for a string that may grow further, until its draft is finished."""

    def __init__(self, *parts: str) -> None:
        self.parts = list(parts)


@final
class Draft:
    """What was made so far; that may be changed in place, and nothing else."""

    def __init__(self) -> None:
        # By identity; kept, so that nothing else gets the same.
        self._made: dict[int, JSON] = {}
        self._texts: list[tuple[dict[str, JSON], str, GrowingText]] = []

    def own(self, container: Container) -> Container:
        """A container to change: itself if it was made here, else a copy."""
        if id(container) in self._made:
            return container
        made = container.copy()
        self._made[id(made)] = made
        return made

    def put(self, target: dict[str, JSON], key: str, value: JSON) -> dict[str, JSON]:
        """An object with a key set."""
        made = self.own(target)
        made[key] = value
        if isinstance(value, GrowingText):
            self._texts.append((made, key, value))
        return made

    def finish(self, value: JSON) -> JSON:
        """A value without growing texts, which are where `put` put them or the value."""
        for made, key, text in self._texts:
            if made.get(key) is text:
                made[key] = "".join(text.parts)
        return "".join(value.parts) if isinstance(value, GrowingText) else value
