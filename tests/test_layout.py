"""The tree keeps the house rules that no linter checks."""

import ast
import functools
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "iii_trio"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400

# Started tasks belong to a nursery that is open in plain sight.
QUIET_PLACES = {"__init__", "__aenter__", "__enter__", "__attrs_post_init__"}
TASK_STARTERS = ("start_soon", "nursery.start", "open_nursery", "spawn_system_task")

BROAD = {
    "iii_trio/app/_supervise.py": "a crashed builtin is restarted",
    "iii_trio/engine/_watch.py": "the border to the host's listeners of events",
    "iii_trio/net/": "the fault border of the pump",
    "iii_trio/worker/_serve.py": "the border to the user's handlers",
}


def name_of(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imports_of(path: pathlib.Path) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def package_of(path: pathlib.Path) -> str:
    """The first package below ``iii_trio``, or the module itself."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def every_module(*, pattern: str = "*") -> pytest.MarkDecorator:
    paths = [path for path in MODULES if path.match(pattern)]
    return pytest.mark.parametrize("path", paths, ids=name_of)


@every_module()
def test_a_file_has_at_most_400_lines(path: pathlib.Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@every_module()
def test_imports_are_absolute_and_respect_privacy(path: pathlib.Path) -> None:
    for node in imports_of(path):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("iii_trio.") for alias in node.names)
            continue
        assert node.level == 0, "a relative import"
        parts = (node.module or "").split(".")
        if parts[0] != "iii_trio":
            continue
        assert len(parts) > 1, "an import from iii_trio itself"
        private = any(part.startswith("_") for part in parts[2:])
        assert not private or parts[1] == package_of(path), ast.unparse(node)


@every_module()
def test_imports_stand_at_the_top(path: pathlib.Path) -> None:
    """The plugin must cost nothing, the CLI only what it uses: they say so there."""
    if path.name in {"pytest_plugin.py", "__main__.py"} or path.match("app/_cli.py"):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [
                n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)
            ]
            assert not inner, f"{node.name} imports {ast.unparse(inner[0])}"
        if isinstance(node, ast.If):
            assert "TYPE_CHECKING" not in ast.unparse(node.test)


@every_module()
def test_no_task_is_started_where_nobody_expects_it(path: pathlib.Path) -> None:
    for function in ast.walk(tree_of(path)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        decorators = {ast.unparse(one) for one in function.decorator_list}
        if function.name not in QUIET_PLACES and "property" not in decorators:
            continue
        calls = [
            ast.unparse(node.func)
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
        ]
        started = [call for call in calls if call.endswith(TASK_STARTERS)]
        assert not started, f"{function.name} starts a task"


@every_module()
def test_every_module_says_what_lives_in_it(path: pathlib.Path) -> None:
    assert ast.get_docstring(tree_of(path))


@every_module()
def test_everything_is_caught_only_at_the_borders(path: pathlib.Path) -> None:
    if any(name_of(path).startswith(place) for place in BROAD):
        return
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            reraises = any(isinstance(n, ast.Raise) for n in ast.walk(node))
            broad = ast.unparse(node.type) in {"Exception", "BaseException"}
            assert not broad or reraises, f"line {node.lineno}"


@every_module(pattern="__init__.py")
def test_a_package_lists_its_names_literally(path: pathlib.Path) -> None:
    for node in tree_of(path).body:
        match node:
            case ast.Assign(
                targets=[ast.Name(id="__all__")], value=ast.List() as value
            ):
                assert all(isinstance(one, ast.Constant) for one in value.elts)
                return
            case _:
                pass
    defined = [
        node
        for node in tree_of(path).body
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]
    assert not defined, "names without __all__"


def test_tests_have_no_real_sleeps_and_no_patches() -> None:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        assert "time." + "sleep(" not in text, path
        assert "mock." + "patch" not in text, path
