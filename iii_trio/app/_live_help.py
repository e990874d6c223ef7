"""What a function takes, as its worker described it, as a table on the terminal.

Everything shown was written by somebody else: it is printed as plain text, without
markup and control characters.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from iii_trio.app._terminal import printable

JSON = Any

_REFERENCES: Final = 8
"""References that are followed one after another; a circle ends here."""


def show(function_id: str, described: JSON, console: Console | None = None) -> None:
    """Print the description and the fields of a function.

    Args:
        function_id: as it was asked for.
        described: the answer of ``engine::functions::info``.
        console: default: stdout.
    """
    console = console or Console(highlight=False)
    known = described if isinstance(described, dict) else {}
    console.print(
        Text(f"Usage: iii-trio trigger {printable(function_id)} [KEY=VALUE]...")
    )
    description = known.get("description")
    if isinstance(description, str) and description.strip():
        console.print()
        console.print(Text(printable(description)))
    rows = list(fields(known.get("request_schema")))
    console.print()
    if not rows:
        console.print(Text("Its worker published no fields of the payload."))
        return
    table = Table("Field", "Type", "Required", "Description", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def fields(schema: JSON) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, whether required, and description of each property of a JSON Schema."""
    schema = _resolved(schema)
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict):
        return
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, value in schema["properties"].items():
        field = value if isinstance(value, dict) else {}
        yield (
            printable(name),
            printable(type_of(field)),
            "yes" if name in needed else "no",
            printable(str(field.get("description") or "")),
        )


def _resolved(schema: JSON) -> JSON:
    """The schema that a local ``$ref`` at the root points to."""
    root = schema
    for _ in range(_REFERENCES):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        schema = root
        for name in reference[2:].split("/"):
            schema = schema.get(name) if isinstance(schema, dict) else None
    return schema


def type_of(field: Mapping[str, JSON]) -> str:
    """The type of a property in a few words, such as ``string | null``."""
    kind = field.get("type")
    if isinstance(kind, str):
        return kind
    if isinstance(kind, list):
        return " | ".join(map(str, kind))
    for key in ("anyOf", "oneOf"):
        if isinstance(field.get(key), list):
            choices = [c for c in field[key] if isinstance(c, dict)]
            return " | ".join(dict.fromkeys(map(type_of, choices))) or "any"
    reference = field.get("$ref")
    if isinstance(reference, str):
        return reference.rpartition("/")[2]
    if isinstance(field.get("enum"), list):
        return "enum"
    return "any"
