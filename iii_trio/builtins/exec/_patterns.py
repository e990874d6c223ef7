"""Which changed files a watch pattern is about. Pure.

A pattern is a directory, the text before its first star, and the file extensions at its
end: ``src/**/*.{ts,js}``. The name of a file does not count, as in the reference engine.
"""

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Pattern:
    """A parsed pattern.

    Attributes:
        text: as it was written.
        directory: absolute.
        recursive: whether files in directories below it count.
        extensions: without dots; empty: any. Files without one never count.
    """

    text: str
    directory: Path
    recursive: bool
    extensions: frozenset[str]

    def matches(self, path: Path) -> bool:
        """Whether a change of that file counts."""
        extension = path.suffix[1:]
        if not extension or (self.extensions and extension not in self.extensions):
            return False
        if self.recursive:
            return self.directory in path.parents
        return self.directory == path.parent


def parse_pattern(text: str, base: Path) -> Pattern:
    """Parse a pattern.

    Args:
        text: the pattern.
        base: absolute; where relative patterns begin.
    """
    before_star, star, _ = text.partition("*")
    directory, _, _ = before_star.rpartition("/")
    if before_star.startswith("/") and not directory:
        directory = "/"
    _, _, name = text.rpartition("/")
    _, _, extension = name.rpartition(".") if "." in name else ("", "", "")
    names = extension.removeprefix("{").removesuffix("}").split(",")
    return Pattern(
        text=text,
        directory=Path(base, directory),
        recursive=bool(star) and "**" in text,
        extensions=frozenset(filter(None, map(str.strip, names))) - {"*"},
    )
