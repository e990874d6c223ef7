"""The route table: which trigger serves a method and a path (pure).

A pattern is checked, and compared with the routes that exist, before the table is
touched. Literal segments win over parameters, parameters over a final catch-all, with
backtracking. Paths are never percent-decoded for matching, and values of parameters are
raw. Source: the http trigger, routing table.

Nothing here knows requests, workers or status codes.
"""

from typing import Final, Generic, TypeVar

import attrs

from iii_trio.errors import RegistrationError

T = TypeVar("T")

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
"""Methods that are served, in the order of ``Allow``."""

_VALID_FORMS: Final = (
    "valid segments are literal text, :name, {name}, and {*rest} as the last one"
)


@attrs.frozen
class Pattern:
    """A checked path pattern.

    Attributes:
        text: as it was registered, verbatim.
        shape: its segments; a parameter is `PARAMETER`, a final catch-all `REST`.
        names: names of the parameters, in order.
    """

    text: str
    shape: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def is_literal(self) -> bool:
        """Whether it has no parameters."""
        return not self.names


PARAMETER: Final = "{}"
"""Stands for a parameter in a shape; no literal segment can have braces."""

REST: Final = "{*}"
"""Stands for a catch-all in a shape."""


@attrs.frozen
class Route(Generic[T]):
    """One route: what serves requests of a method and a pattern."""

    method: str
    pattern: Pattern
    trigger_id: str
    target: T


@attrs.frozen
class Match(Generic[T]):
    """The route of a request, and the raw values of its parameters."""

    route: Route[T]
    path_params: dict[str, str]


def _refuse(text: str, segment: str, why: str) -> RegistrationError:
    return RegistrationError(
        f"api_path '{text}': segment '{segment}' {why}; {_VALID_FORMS}"
    )


def _parameter_name(text: str, segment: str) -> str | None:
    """Give the name when the segment is a parameter or catch-all, else ``None``."""
    if segment.startswith("*"):
        raise _refuse(text, segment, "starts with '*'")
    if segment.startswith(":"):
        name = segment[1:]
    elif segment.startswith("{") and segment.endswith("}"):
        name = segment[1:-1].removeprefix("*")
    elif "{" in segment or "}" in segment:
        raise _refuse(text, segment, "has a brace that is not around the whole segment")
    else:
        return None
    if not name:
        raise _refuse(text, segment, "has no parameter name")
    if any(character in name for character in "*{}"):
        raise _refuse(text, segment, "has '*', '{' or '}' in its parameter name")
    return name


def parse_pattern(text: str) -> Pattern:
    """Check a path pattern. A leading slash is optional; ``""`` is the root.

    Raises:
        RegistrationError: a segment that cannot be matched; the text names the pattern,
            the segment and the valid forms.
    """
    segments = text.removeprefix("/").split("/")
    shape: list[str] = []
    names: list[str] = []
    for position, segment in enumerate(segments):
        name = _parameter_name(text, segment)
        if name is None:
            shape.append(segment)
            continue
        names.append(name)
        if not segment.startswith("{*"):
            shape.append(PARAMETER)
        elif position == len(segments) - 1:
            shape.append(REST)
        else:
            raise _refuse(text, segment, "is a catch-all that is not the last segment")
    return Pattern(text, tuple(shape), tuple(names))


@attrs.define(eq=False)
class _Node(Generic[T]):
    """The routes of one method that share their first segments."""

    literals: "dict[str, _Node[T]]" = attrs.field(factory=dict)
    parameter: "_Node[T] | None" = None
    rest: Route[T] | None = None
    leaf: Route[T] | None = None

    def child(self, part: str) -> "_Node[T]":
        """Give the node below for one part of a shape, made if it is missing."""
        if part != PARAMETER:
            return self.literals.setdefault(part, _Node())
        if self.parameter is None:
            self.parameter = _Node()
        return self.parameter


def _insert(root: _Node[T], route: Route[T]) -> None:
    node = root
    for part in route.pattern.shape:
        if part == REST:
            node.rest = route
            return
        node = node.child(part)
    node.leaf = route


def _matched(route: Route[T], values: tuple[str, ...]) -> Match[T]:
    return Match(route, dict(zip(route.pattern.names, values, strict=True)))


def _search(root: _Node[T], path: str) -> Match[T] | None:
    """Find the best route: the ways still open are on a stack, the best on top.

    An item is a node reached after so many segments, or a catch-all ready to be taken.
    """
    segments = path.removeprefix("/").split("/")
    ways: list[tuple[_Node[T], int, tuple[str, ...]] | Match[T]] = [(root, 0, ())]
    # Every node is visited at most once, so that no pattern makes a search explode.
    while ways:
        way = ways.pop()
        if isinstance(way, Match):
            return way
        node, depth, values = way
        if depth == len(segments):
            if node.leaf is not None:
                return _matched(node.leaf, values)
            continue
        segment = segments[depth]
        if node.rest is not None and (remainder := "/".join(segments[depth:])):
            ways.append(_matched(node.rest, (*values, remainder)))
        if node.parameter is not None and segment:
            ways.append((node.parameter, depth + 1, (*values, segment)))
        if (literal := node.literals.get(segment)) is not None:
            ways.append((literal, depth + 1, values))
    return None


@attrs.define(eq=False)
class _MethodTable(Generic[T]):
    """The routes of one method.

    Literal routes are found by path; the others in a tree, which is made at the first
    search after a change, so that a worker that leaves with many routes costs little.
    """

    by_shape: dict[tuple[str, ...], Route[T]] = attrs.field(factory=dict)
    by_path: dict[str, Route[T]] = attrs.field(factory=dict)
    tree: _Node[T] | None = None

    def put(self, route: Route[T]) -> None:
        """Add the route, or replace the one of equal shape."""
        shape = route.pattern.shape
        self.by_shape[shape] = route
        if route.pattern.is_literal:
            self.by_path["/" + "/".join(shape)] = route
        else:
            self.tree = None

    def remove(self, route: Route[T]) -> None:
        """Take the route away."""
        shape = route.pattern.shape
        del self.by_shape[shape]
        if route.pattern.is_literal:
            del self.by_path["/" + "/".join(shape)]
        else:
            self.tree = None

    def find(self, path: str) -> Match[T] | None:
        """Find the route of a raw path. A literal path beats every pattern."""
        if (route := self.by_path.get(path)) is not None:
            return Match(route, {})
        if len(self.by_path) == len(self.by_shape):
            return None
        if self.tree is None:
            self.tree = _Node()
            for route in self.by_shape.values():
                if not route.pattern.is_literal:
                    _insert(self.tree, route)
        return _search(self.tree, path)


class RouteTable(Generic[T]):
    """Routes by method and pattern, owned by triggers.

    Every trigger owns at most one route. Of two triggers with the same method and
    pattern the last one registered owns the route.

    Attributes:
        version: a number that changes whenever a path may match otherwise.
    """

    def __init__(self) -> None:
        self._methods: dict[str, _MethodTable[T]] = {
            method: _MethodTable() for method in METHODS
        }
        self._owned: dict[str, Route[T]] = {}
        self.version = 0

    def __len__(self) -> int:
        return len(self._owned)

    def register(
        self, trigger_id: str, method: str, path: str, target: T
    ) -> Route[T] | None:
        """Give a trigger its route; a route that it had elsewhere goes.

        Args:
            trigger_id: the owner.
            method: in upper case; one outside `METHODS` is accepted and never served.
            path: the pattern, see `parse_pattern`.
            target: what the route leads to; given back by `match`.

        Returns:
            The route of another trigger that this one replaced, if it did.

        Raises:
            RegistrationError: a bad pattern, or a route of the same shape with other
                parameter names; the table is as it was.
        """
        pattern = parse_pattern(path)
        table = self._methods.get(method)
        replaced: Route[T] | None = None
        if table is not None:
            replaced = table.by_shape.get(pattern.shape)
            if replaced is not None and replaced.trigger_id == trigger_id:
                replaced = None
            if replaced is not None and replaced.pattern.names != pattern.names:
                raise _conflict(method, path, replaced)
        self.unregister(trigger_id)
        self.version += 1
        if table is not None:
            route = Route(method, pattern, trigger_id, target)
            if replaced is not None:
                del self._owned[replaced.trigger_id]
            table.put(route)
            self._owned[trigger_id] = route
        return replaced

    def unregister(self, trigger_id: str) -> None:
        """Take a trigger's route away, if it owns one. Nothing comes back in its place."""
        route = self._owned.pop(trigger_id, None)
        if route is not None:
            self.version += 1
            self._methods[route.method].remove(route)

    def match(self, method: str, path: str) -> Match[T] | None:
        """Find the route of a request; HEAD follows GET where it has no own route.

        Args:
            method: of the request, upper case.
            path: of the request, raw, with its leading slash.
        """
        table = self._methods.get(method)
        if table is None:
            return None
        found = table.find(path)
        if found is None and method == "HEAD":
            return self._methods["GET"].find(path)
        return found

    def allowed(self, path: str) -> tuple[str, ...]:
        """List the methods that have a route for the path; GET brings HEAD."""
        found = {
            method
            for method, table in self._methods.items()
            if table.find(path) is not None
        }
        if "GET" in found:
            found.add("HEAD")
        return tuple(method for method in METHODS if method in found)


def _conflict(method: str, path: str, existing: Route[T]) -> RegistrationError:
    return RegistrationError(
        f"Route '{method} {path}' conflicts with already-registered route "
        f"'{method} {existing.pattern.text}': routes with identical structure but "
        "different path-parameter names are not supported"
    )
