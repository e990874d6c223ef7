"""Names, namespaces and ids: defaults, cleaning, refusals."""

import pytest

from iii_trio import protocol

HEX = "0D9f2a445be54b6e9a4f4f3d0c1f6a00"
HYPHENATED = "0d9f2a44-5be5-4b6e-9a4f-4f3d0c1f6a00"


@pytest.mark.parametrize(
    "text",
    [HYPHENATED, HYPHENATED.upper(), HEX, f"urn:uuid:{HYPHENATED}", f"{{{HEX}}}"],
)
def test_every_spelling_of_a_uuid_that_sdks_use_is_accepted(text: str) -> None:
    assert protocol.is_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        HEX[:-1],
        HEX + "0",
        f"{{{HEX}",
        f"{HEX}}}",
        HYPHENATED + "\n",
        HYPHENATED.replace("d", "g"),
        f"urn:uu\u0131d:{HYPHENATED}",
        HYPHENATED.replace("0", "\u0660"),
    ],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    assert not protocol.is_uuid(text)


@pytest.mark.parametrize(
    ("namespace", "blank"),
    [(None, False), ("", True), (" \t", True), ("default", False)],
)
def test_a_namespace_is_blank_only_when_named_and_empty(
    namespace: str | None, blank: bool
) -> None:
    assert protocol.is_blank(namespace) is blank


@pytest.mark.parametrize(
    ("label", "clean"),
    [
        (None, None),
        ("", None),
        (" \x00\n ", None),
        ("  my worker ", "my worker"),
        ("a\x1b[31mb\u202ec\u2028d", "a[31mbcd"),
        ("caf\udce9", "caf"),
        ("x" * 300, "x" * protocol.MAX_LABEL_CHARACTERS),
        ("\x00" * 300 + "x", "x"),
    ],
)
def test_labels_are_cleaned_for_display(label: str | None, clean: str | None) -> None:
    assert protocol.clean_label(label) == clean


@pytest.mark.parametrize(
    ("function_id", "named", "chosen"),
    [
        ("math::add", None, "own"),
        ("math::add", "other", "other"),
        ("engine::workers::list", None, "default"),
        ("configuration::get", None, "default"),
        ("engine::workers::list", "other", "other"),
        ("engines::x", None, "own"),
    ],
)
def test_a_call_goes_to_the_callers_namespace_unless_it_names_one(
    function_id: str, named: str | None, chosen: str
) -> None:
    assert protocol.namespace_for_call(function_id, named, "own") == chosen


@pytest.mark.parametrize(
    ("function_id", "internal"),
    [
        ("engine::workers::list", True),
        ("engine::queue::enqueue", False),
        ("math::add", False),
        ("engine", False),
    ],
)
def test_listings_hide_engine_functions_except_those_of_queues(
    function_id: str, internal: bool
) -> None:
    assert protocol.is_internal(function_id) is internal


@pytest.mark.parametrize("url", ["ws://a", "wss://a.b:1/c?d=e", "ws://[::1]:49134"])
def test_urls_of_engines(url: str) -> None:
    protocol.check_engine_url(url)


@pytest.mark.parametrize("url", ["", "a", "http://a", "ws://", "ws://a:0", "ws://a:x"])
def test_what_is_no_url_of_an_engine(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        protocol.check_engine_url(url)
