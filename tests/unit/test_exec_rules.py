"""Watch patterns, and output cut into lines."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.builtins.exec._output import MAX_LINE, Lines
from iii_trio.builtins.exec._patterns import parse_pattern

BASE = Path("/base")


@pytest.mark.parametrize(
    ("text", "directory", "recursive", "extensions"),
    [
        ("src/**/*.ts", "/base/src", True, {"ts"}),
        ("src/**/*.{ts,js}", "/base/src", True, {"ts", "js"}),
        ("src/**/*.{ts, js}", "/base/src", True, {"ts", "js"}),
        ("*.py", "/base", False, {"py"}),
        ("**/*.py", "/base", True, {"py"}),
        ("./src/*.py", "/base/src", False, {"py"}),
        ("/abs/lib/**/*.c", "/abs/lib", True, {"c"}),
        ("/*.c", "/", False, {"c"}),
        ("src/ab*.test.ts", "/base/src", False, {"ts"}),
        ("src/main.ts", "/base/src", False, {"ts"}),
        ("src/**/*", "/base/src", True, set()),
        ("src/**", "/base/src", True, set()),
        ("src/*.*", "/base/src", False, set()),
    ],
)
def test_a_pattern_is_a_directory_and_extensions(
    text: str, directory: str, recursive: bool, extensions: set[str]
) -> None:
    pattern = parse_pattern(text, BASE)
    assert pattern.directory == Path(directory)
    assert pattern.recursive is recursive
    assert set(pattern.extensions) == extensions


@pytest.mark.parametrize(
    ("text", "path", "matches"),
    [
        ("src/**/*.ts", "src/a.ts", True),
        ("src/**/*.ts", "src/x/y/a.ts", True),
        ("src/**/*.ts", "a.ts", False),
        ("src/**/*.ts", "src/a.js", False),
        ("src/*.ts", "src/a.ts", True),
        ("src/*.ts", "src/x/a.ts", False),
        ("src/main.ts", "src/other.ts", True),  # the name does not count
        ("src/**/*", "src/Makefile", False),
        ("src/**/*", "src/.env", False),
        ("src/**/*", "src/a.txt", True),
    ],
)
def test_which_files_count(text: str, path: str, matches: bool) -> None:
    assert parse_pattern(text, BASE).matches(BASE / path) is matches


def test_lines_lose_what_moves_a_terminal() -> None:
    lines = Lines()
    colored = b"\x1b[1;31mred\x1b[0m\ttab\r\n\x1b]0;title\x07bell\x07 \xff\xc3"
    assert lines.feed(colored) == ["red\ttab"]
    assert lines.end() == ["bell \ufffd\ufffd"]
    assert lines.end() == []


def test_a_long_line_comes_in_pieces() -> None:
    lines = Lines()
    pieces = lines.feed(b"x" * (2 * MAX_LINE + 5))
    assert [len(piece) for piece in pieces] == [MAX_LINE, MAX_LINE]
    assert lines.feed(b"\ny") == ["xxxxx"]
    assert lines.end() == ["y"]


@given(st.lists(st.text("ab\n"), max_size=8))
def test_pieces_give_the_same_lines_as_the_whole(pieces: list[str]) -> None:
    lines = Lines()
    seen = [line for piece in pieces for line in lines.feed(piece.encode())]
    whole = "".join(pieces)
    assert "\n".join([*seen, *(lines.end() or [""])]) == whole
