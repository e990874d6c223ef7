"""YAML as iii reads it, and the placeholders that may stand in it.

YAML is typed by the 1.2 core schema as the reference engine reads it: ``on`` and ``007``
are strings. Pure.
"""

import math
import re
from typing import Any, Final

import yaml

from iii_trio.errors import ConfigError

PLACEHOLDER: Final = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
"""``${VAR}`` or ``${VAR:default}``; a default may be empty and may contain colons."""


class _CoreLoader(yaml.CSafeLoader):
    """The 1.2 core schema, and no key twice in one mapping."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own protocol

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
for _tag, _pattern, _first in _RESOLVERS:
    _CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _int)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def parse_yaml(text: str) -> Any:  # noqa: ANN401
    """The document of a YAML text; ``None`` if it is empty.

    Raises:
        ConfigError: not YAML, a key twice, or a type outside the core schema, with line
            and column.
    """
    try:
        return yaml.load(text, Loader=_CoreLoader)  # noqa: S506 - a CSafeLoader
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError(f"{where}{exc.problem or exc.context}") from exc
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise ConfigError(f"not YAML: {exc}") from exc
