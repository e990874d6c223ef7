"""YAML as iii reads it, and the placeholders that may stand in it.

YAML is typed by the 1.2 core schema as the reference engine reads it: ``on`` and ``007``
are strings. Pure.
"""

import math
import re
from collections.abc import Callable
from reprlib import repr as shortened
from typing import Any, ClassVar, Final, NoReturn

import yaml

from iii_trio.errors import ConfigError

PLACEHOLDER: Final = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
"""``${VAR}`` or ``${VAR:default}``; a default may be empty and may contain colons."""

_TAG: Final = "tag:yaml.org,2002:"
"""What ``!!`` stands for."""


class _CoreLoader(yaml.CSafeLoader):
    """The 1.2 core schema, no other types, and no key twice in one mapping."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own protocol
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    problem = f"keys are strings, not {key!r}"
                    raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
                if key in seen:
                    problem = f"key {key!r} appears twice in one mapping"
                    raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _int(loader: _CoreLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text, base)


def _float(loader: _CoreLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    if text == ".nan":
        return math.nan
    return float(text.replace(".inf", "inf"))


def _checked(construct: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make of a construction one that tells where the text does not fit its tag."""

    def checked(loader: _CoreLoader, node: yaml.ScalarNode) -> object:
        try:
            return construct(loader, node)
        except (KeyError, ValueError) as exc:
            problem = f"{shortened(node.value)} cannot be read as {_short(node.tag)}"
            raise yaml.MarkedYAMLError(None, None, problem, node.start_mark) from exc

    return checked


def _refuse(_loader: _CoreLoader, node: yaml.Node) -> NoReturn:
    problem = (
        f"{_short(node.tag)} is not supported: a value is a text, a number, a boolean, "
        "null, a list or a mapping"
    )
    raise yaml.MarkedYAMLError(None, None, problem, node.start_mark)


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!", 1)


_RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    (
        "float",
        (
            r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        list("-+.0123456789"),
    ),
)
for _name, _pattern, _first in _RESOLVERS:
    _CoreLoader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern})$"), _first
    )
_CONSTRUCTORS: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = (
    ("null", _CoreLoader.construct_yaml_null),
    ("bool", _checked(_CoreLoader.construct_yaml_bool)),
    ("int", _checked(_int)),
    ("float", _checked(_float)),
    ("str", _CoreLoader.construct_yaml_str),
    ("seq", _CoreLoader.construct_yaml_seq),
    ("map", _CoreLoader.construct_yaml_map),
)
for _name, _construct in _CONSTRUCTORS:
    _CoreLoader.add_constructor(_TAG + _name, _construct)
_CoreLoader.add_constructor(None, _refuse)


def parse_yaml(text: str) -> Any:  # noqa: ANN401
    """The document of a YAML text; ``None`` if it is empty.

    Raises:
        ConfigError: not YAML, a key twice, a type outside the core schema, or a text
            that does not fit its type, with line and column.
    """
    try:
        return yaml.load(text, Loader=_CoreLoader)  # noqa: S506 - a CSafeLoader
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}{exc.problem or exc.context}") from exc
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise ConfigError(f"not YAML: {exc}") from exc
