"""Public names: listed in order, documented, and handles closed to subclassing."""

import importlib
import inspect
import pathlib
import pkgutil
import types

import pytest

import iii_trio
from iii_trio._util import NoPublicConstructor

PACKAGES = sorted(
    module.name
    for module in pkgutil.walk_packages(iii_trio.__path__, "iii_trio.")
    if module.ispkg
)
NAMES = sorted(
    (package, name)
    for package in ["iii_trio", "iii_trio.errors", *PACKAGES]
    for name in getattr(importlib.import_module(package), "__all__", ())
)


def sort_key(name: str) -> tuple[int, str]:
    """As ruff sorts: constants, then classes, then the rest."""
    kind = 0 if name.isupper() else 1 if name.lstrip("_")[:1].isupper() else 2
    return kind, name


@pytest.mark.parametrize("package", ["iii_trio", "iii_trio.errors", *PACKAGES])
def test_public_names_exist_once_and_in_order(package: str) -> None:
    module = importlib.import_module(package)
    names = list(getattr(module, "__all__", ()))
    assert names == sorted(set(names), key=sort_key)
    for name in names:
        assert hasattr(module, name), name


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_public_classes_and_functions_are_documented(package: str, name: str) -> None:
    thing = getattr(importlib.import_module(package), name)
    if inspect.isclass(thing) or inspect.isroutine(thing):
        assert inspect.getdoc(thing), name


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_public_handles_are_final_and_made_by_their_open_function(
    package: str, name: str
) -> None:
    thing = getattr(importlib.import_module(package), name)
    if not isinstance(thing, NoPublicConstructor):
        return
    assert getattr(thing, "__final__", False), f"{name} is not final"
    with pytest.raises(TypeError, match="no public constructor"):
        thing()


def test_a_public_name_is_the_same_object_in_every_package() -> None:
    seen: dict[str, object] = {}
    for package, name in NAMES:
        thing = getattr(importlib.import_module(package), name)
        if inspect.isclass(thing) and thing.__module__.startswith("iii_trio"):
            qualified = f"{thing.__module__}.{thing.__qualname__}"
            assert seen.setdefault(qualified, thing) is thing


def test_the_root_package_loads_its_parts_only_when_they_are_used() -> None:
    assert dir(iii_trio) == sorted(iii_trio.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(iii_trio, "nothing")  # noqa: B009 - type checkers see through it


@pytest.mark.parametrize("package", ["iii_trio", "iii_trio.testing"])
def test_a_stub_lists_the_names_of_its_lazy_package(package: str) -> None:
    module = importlib.import_module(package)
    assert isinstance(module, types.ModuleType)
    assert module.__file__ is not None
    stub = pathlib.Path(module.__file__).with_suffix(".pyi")
    if not stub.exists():
        pytest.fail(f"{package} loads lazily and has no stub")
    for name in module.__all__:
        assert name in stub.read_text(), name
