"""How long it can take to check a value against a schema, before one is checked. Pure.

A reference is a few letters and stands for a schema that has references of its own: a
kilobyte can mean a million schemas. So what is looked at for one value is counted, with
what stands behind references, from the bottom up. Nothing is validated here.

The validator remembers of a schema that leads back to itself what it found, and looks at
it once for each value; but not to tell what is wrong: then one that refers to itself
twice doubles at each level of the value.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import Any, Final, final
from urllib.parse import unquote, urldefrag, urljoin

from iii_trio.builtins.configuration._circles import circles

JSON = Any

MAX_STEPS: Final = 100_000
"""Schemas that may be looked at for one value, those behind references included; looking
at one takes some 20 to 300 ns."""

AGAIN: Final = 5
"""How often the validator goes through a schema whose ``unevaluatedProperties`` or
``unevaluatedItems`` depend on it; measured: 3 to 4.4 times per level."""

_TOO_MANY: Final = f"it has more than {MAX_STEPS} schemas"

_BASE: Final = "json-schema:///"
_STANDARD: Final = ("http://json-schema.org/", "https://json-schema.org/")

_BRANCHES: Final = frozenset({"anyOf", "oneOf"})
_UNEVALUATED: Final = frozenset({"unevaluatedProperties", "unevaluatedItems"})


class TooLargeError(ValueError):
    """More than `MAX_STEPS`, or without an end."""


class _For(Enum):
    """What schemas inside of one are for: the same value, or one that is in it."""

    HERE = "here"
    ITEM = "item"
    MEMBER = "member"


class _How(Enum):
    """Which of the schemas of a keyword are looked at for one value."""

    EACH = "each"
    ONE = "one, of all keywords that are for the same"
    REFERENCE = "one that it may mean"


_KEYWORDS: Final[Mapping[str, tuple[_For, _How]]] = {
    **dict.fromkeys(
        ("allOf", "anyOf", "oneOf", "not", "if", "then", "else"), (_For.HERE, _How.EACH)
    ),
    **dict.fromkeys(("dependentSchemas", "dependencies"), (_For.HERE, _How.EACH)),
    **dict.fromkeys(
        ("$ref", "$dynamicRef", "$recursiveRef"), (_For.HERE, _How.REFERENCE)
    ),
    **dict.fromkeys(("items", "prefixItems", "additionalItems"), (_For.ITEM, _How.ONE)),
    **dict.fromkeys(("unevaluatedItems", "contains"), (_For.ITEM, _How.EACH)),
    **dict.fromkeys(("properties", "additionalProperties"), (_For.MEMBER, _How.ONE)),
    **dict.fromkeys(
        ("patternProperties", "unevaluatedProperties", "propertyNames"),
        (_For.MEMBER, _How.EACH),
    ),
}

_BY_NAME: Final = frozenset(
    {"dependentSchemas", "dependencies", "properties", "patternProperties"}
)
"""Keywords whose object is none of their schemas, but has them by name."""

_ONE: Final[JSON] = {}
"""A schema that counts as one."""

# Of several schemas the one that takes most counts: where only one is looked at.
_Group = tuple[_For, list[JSON]]
_Place = tuple[int, int]


@final
class Steps:
    """Counts for one schema.

    Args:
        schema: any JSON.

    Attributes:
        unknown: references that lead nowhere in it, nor to a standard schema.
        branches: a failure can be as many as there are branches (``anyOf``, ``oneOf``).
    """

    def __init__(self, schema: JSON) -> None:
        self.unknown: list[str] = []
        self.branches = False
        self._schema = schema if isinstance(schema, dict) else {}
        self._named = _Names(schema)
        self._groups: dict[int, list[_Group]] = {}
        self._by_depth: dict[tuple[int, bool], int] = {}

    def check(self) -> None:
        """Look at the schemas for one value, wherever they stand; first, and once.

        Raises:
            TooLargeError: they are too many, or refer to themselves in several ways.
        """
        count = _Count(self._groups_of, {})
        found, left, size = {id(self._schema)}, [self._schema], 0
        while left:
            schema = left.pop()
            count.of(schema, 0)
            for _, schemas in self._groups_of(schema):
                size += len(schemas)
                new = [one for one in schemas if id(one) not in found]
                found.update(map(id, new))
                left += (one for one in new if not _is_leaf(one))
            if size > MAX_STEPS:
                raise TooLargeError(_TOO_MANY)
        self._named = _Names({})  # all were followed

    def at(self, depth: int, *, telling: bool = False) -> int:
        """How many schemas can be looked at for one of the innermost values.

        Those for the values around it count, too.

        Args:
            depth: how deep the value nests.
            telling: also to tell what is wrong with it.

        Returns:
            At most one more than `MAX_STEPS`.
        """
        if (depth, telling) not in self._by_depth:
            parts = {} if telling else self._parts
            try:
                most = _Count(self._groups_of, parts).of(self._schema, depth)
            except TooLargeError:
                most = MAX_STEPS + 1
            self._by_depth[depth, telling] = most
        return self._by_depth[depth, telling]

    @cached_property
    def _parts(self) -> dict[int, int]:
        return circles(
            self._schema,
            lambda schema: [one for _, of in self._groups_of(schema) for one in of],
        )

    def _groups_of(self, schema: JSON) -> list[_Group]:
        groups = self._groups.get(id(schema))
        if groups is None:
            groups = self._groups[id(schema)] = [*self._read(schema)]
            self.branches |= not _BRANCHES.isdisjoint(schema)
        return groups

    def _read(self, schema: Mapping[str, JSON]) -> Iterator[_Group]:
        alternatives: dict[_For, list[JSON]] = {}
        for key in _KEYWORDS.keys() & schema.keys():
            what_for, how = _KEYWORDS[key]
            if how is _How.REFERENCE:
                schemas = self._targets(schema, key)
            else:
                schemas = _schemas(_within(key, schema[key]))
            if how is _How.EACH:
                yield from ((what_for, [one]) for one in schemas)
            elif how is _How.ONE:
                alternatives.setdefault(what_for, []).extend(schemas)
            elif schemas:
                yield what_for, schemas
        yield from ((what_for, of) for what_for, of in alternatives.items() if of)

    def _targets(self, schema: Mapping[str, JSON], key: str) -> list[JSON]:
        reference = schema[key]
        if not isinstance(reference, str):
            return []
        found = self._named.meant(reference, schema, dynamic=key != "$ref")
        if not found and not self._named.uri(reference, schema).startswith(_STANDARD):
            self.unknown.append(reference)
        return _schemas(found)


@final
class _Count:
    """Counts from the bottom up, each schema once for each depth below it.

    Args:
        groups_of: what is in a schema.
        parts: by schema; what leads back to a schema from an inner value counts once if
            both have the same.
    """

    def __init__(
        self,
        groups_of: Callable[[JSON], list[_Group]],
        parts: Mapping[int, int],
    ) -> None:
        self._groups_of = groups_of
        self._parts = parts
        self._counts: dict[_Place, int] = {}
        # From the outermost on, each with how many schemas are in it.
        self._under_way: dict[_Place, int] = {}
        self._circles: dict[_Place, int] = {}  # how long one is that begins here
        self._left: list[tuple[JSON, int]] = []  # Python's own stack is too short
        self._budget = MAX_STEPS

    def of(self, schema: JSON, depth: int) -> int:
        """Count for one of the innermost values, ``depth`` below, and those around it.

        Raises:
            TooLargeError: too much, for the value or for being counted.
        """
        self._left.append((schema, depth))
        while self._left:
            one, below = self._left[-1]
            place = id(one), below
            if place in self._counts:
                self._left.pop()
            elif place in self._under_way:
                del self._under_way[place]
                self._counts[place] = self._sum(one, below)
            else:
                self._begin(one, below)
        return self._counts[id(schema), depth]

    def _inner(
        self, schema: JSON, depth: int
    ) -> Iterator[tuple[_For, list[tuple[JSON, _Place]]]]:
        """The groups of a schema that count at a depth, each schema with its place."""
        for what_for, schemas in self._groups_of(schema):
            below = depth if what_for is _For.HERE else depth - 1
            if below >= 0:
                counted = (
                    schemas
                    if below == depth
                    else self._without_circles(schema, schemas)
                )
                yield what_for, [(one, (id(one), below)) for one in counted]

    def _without_circles(self, schema: JSON, inside: list[JSON]) -> list[JSON]:
        part = self._parts.get(id(schema))
        if part is None:
            return inside
        return [_ONE if self._parts[id(one)] == part else one for one in inside]

    def _begin(self, schema: JSON, depth: int) -> None:
        """Have what is in a schema counted before it."""
        circles, inner = list[_Place](), 0
        self._under_way[id(schema), depth] = inner
        for _, schemas in self._inner(schema, depth):
            inner += len(schemas)
            self._budget -= len(schemas)
            if self._budget < 0:
                raise TooLargeError(_TOO_MANY)
            for one, place in schemas:
                if _is_leaf(one):
                    self._counts[place] = 1
                elif place in self._under_way:
                    circles.append(place)
                elif place not in self._counts:
                    self._left.append((one, place[1]))
        self._under_way[id(schema), depth] = inner
        for place in circles:
            self._allow_circle(place)

    def _allow_circle(self, begin: _Place) -> None:
        """Let references lead back to a schema if that is all they do.

        The validator goes every way round a circle once, and those can be many.
        """
        around = reversed(self._under_way.items())
        place, length = None, 0
        while place != begin:
            place, inner = next(around)
            length += 1
            if inner > 1:
                raise TooLargeError("it refers to itself for the same value")
        self._circles[begin] = length

    def _sum(self, schema: JSON, depth: int) -> int:
        counts = self._counts
        sums = dict.fromkeys(_For, 0)
        for what_for, schemas in self._inner(schema, depth):
            sums[what_for] += max(
                counts.get(place) or self._circles[place] for _, place in schemas
            )
        again = 1 if _UNEVALUATED.isdisjoint(schema) else AGAIN
        count = 1 + again * sums[_For.HERE] + max(sums[_For.ITEM], sums[_For.MEMBER])
        if count > MAX_STEPS:
            raise TooLargeError(
                f"more than {MAX_STEPS} schemas are looked at for one value, with those "
                "that it refers to"
            )
        return count


@final
class _Names:
    """What the schemas in one document are called."""

    def __init__(self, document: JSON) -> None:
        root = document if isinstance(document, dict) else {}
        self._id = "id" if "draft-04" in str(root.get("$schema")) else "$id"
        self._root = document
        # By URI, with or without a fragment; a name may be given twice.
        self._named: dict[str, list[JSON]] = {_BASE: [document]}
        self._dynamic: dict[str, list[JSON]] = {}
        self._bases: dict[int, str] = {}  # what the names in a schema are relative to
        left = [(document, _BASE)]
        while left:
            value, base = left.pop()
            if isinstance(value, dict):
                base = self._name(value, base)
                left += ((one, base) for one in value.values())
            elif isinstance(value, list):
                left += ((one, base) for one in value)

    def _name(self, schema: Mapping[str, JSON], base: str) -> str:
        name = schema.get(self._id)
        if isinstance(name, str):
            uri, anchor = urldefrag(urljoin(base, name))
            if anchor:
                self._named.setdefault(f"{base}#{anchor}", []).append(schema)
            else:
                base = uri
                self._named.setdefault(base, []).append(schema)
        self._bases[id(schema)] = base
        for key in ("$anchor", "$dynamicAnchor"):
            given = schema.get(key)
            if isinstance(given, str):
                self._named.setdefault(f"{base}#{given}", []).append(schema)
                if key == "$dynamicAnchor":
                    self._dynamic.setdefault(given, []).append(schema)
        if schema.get("$recursiveAnchor") is True:
            self._dynamic.setdefault("", []).append(schema)
        return base

    def uri(self, reference: str, schema: Mapping[str, JSON]) -> str:
        """Of the document that a reference of a schema leads to."""
        base = self._bases[id(schema)]
        uri, _ = urldefrag(reference)
        return urljoin(base, uri) if uri else base

    def meant(
        self, reference: str, schema: Mapping[str, JSON], *, dynamic: bool
    ) -> list[JSON]:
        """All that a reference of a schema may mean."""
        uri = self.uri(reference, schema)
        fragment = unquote(urldefrag(reference).fragment)
        if fragment.startswith("/"):
            steps = fragment.split("/")[1:]
            roots = self._named.get(uri, [])
            # Beside a reference an id is none in old drafts.
            found = _followed(roots, steps) or _followed([self._root], steps)
        else:
            found = self._named.get(f"{uri}#{fragment}" if fragment else uri, [])
        return [*found, *self._dynamic.get(fragment, ())] if dynamic else found


def _schemas(values: JSON) -> list[JSON]:
    """Those that are schemas with something in them."""
    found = values if isinstance(values, list) else ()
    return [one for one in found if isinstance(one, dict) and one]


def _is_leaf(schema: Mapping[str, JSON]) -> bool:
    return _KEYWORDS.keys().isdisjoint(schema)


def _within(key: str, value: JSON) -> JSON:
    if isinstance(value, dict):
        return [*value.values()] if key in _BY_NAME else [value]
    return value


def _followed(roots: Iterable[JSON], steps: list[str]) -> list[JSON]:
    """What a JSON pointer leads to in each of some values, where it does."""
    found = list(roots)
    for raw in steps:
        step = raw.replace("~1", "/").replace("~0", "~")
        found = [inner for value in found for inner in _child(value, step)]
    return found


def _child(value: JSON, step: str) -> list[JSON]:
    if isinstance(value, dict) and step in value:
        return [value[step]]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return [value[int(step)]]
    return []
