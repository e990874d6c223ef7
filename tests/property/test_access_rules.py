"""Generated rules and sessions against a plain model of the protocol's section 8."""

import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from iii_trio.access import INFRASTRUCTURE, parse_rules, session_from
from iii_trio.access._patterns import matches

PARTS = st.sampled_from(["a", "b", "::", "*", "get"])
IDS = st.lists(st.sampled_from(["a", "b", "::", "get"]), max_size=4).map("".join) | (
    st.sampled_from(sorted(INFRASTRUCTURE))
)
PATTERNS = st.lists(PARTS, max_size=5).map("".join)
NAMESPACES = st.sampled_from(["default", "n", "m"])
VALUES = st.sampled_from([True, 1, "a", "ab", None, [1], {"x": True}])
METADATA = st.dictionaries(st.sampled_from(["p", "q"]), VALUES, max_size=2)
GRANTS = IDS | PATTERNS | PATTERNS.map(lambda p: f'match("{p}")')


def as_wanted(value: Any) -> Any:
    """Members of a metadata rule are values, or patterns of text."""
    return f"match('{value}*')" if value == "a" else value


EXPOSED = st.lists(
    PATTERNS.map(lambda p: f'match("{p}")')
    | st.fixed_dictionaries({"match": PATTERNS}, optional={"namespace": NAMESPACES})
    | st.fixed_dictionaries(
        {
            "metadata": st.dictionaries(
                st.sampled_from(["p", "q"]), VALUES.map(as_wanted), min_size=1
            )
        },
        optional={"namespace": NAMESPACES},
    ),
    max_size=3,
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "namespaces": st.dictionaries(NAMESPACES, st.lists(GRANTS, max_size=2)),
        "allowed_functions": st.lists(IDS, max_size=2),
        "forbidden_functions": st.lists(GRANTS, max_size=2),
    },
)


def star(pattern: str, text: str) -> bool:
    """The model: a regular expression."""
    wanted = ".*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(wanted, text, re.DOTALL) is not None


def grant(text: str, function_id: str) -> bool:
    """The model of a grant."""
    if text.startswith('match("'):
        return star(text[7:-2], function_id)
    if text.endswith("*") and function_id.startswith(text[:-1]):
        return True
    return text == function_id


def typed(value: Any) -> str:
    """JSON text: as values of these tests are equal when, and only when, it is."""
    return msgspec.json.encode(value).decode()


def exposed(rule: Any, namespace: str, function_id: str, metadata: Any) -> bool:
    """The model of one entry of ``expose_functions``."""
    if isinstance(rule, str):
        return namespace == "default" and star(rule[7:-2], function_id)
    if namespace != rule.get("namespace", "default"):
        return False
    if "match" in rule:
        return star(rule["match"], function_id)
    if metadata is None:
        return False
    for key, wanted in rule["metadata"].items():
        value = metadata.get(key, ...)
        if isinstance(wanted, str) and wanted.startswith("match("):
            if not (isinstance(value, str) and value.startswith("a")):
                return False
        elif value is ... or typed(wanted) != typed(value):
            return False
    return True


@given(PATTERNS, st.lists(PARTS, max_size=6).map("".join))
def test_patterns_fit_as_the_regular_expression_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == star(pattern, text)


@given(EXPOSED, ANSWERS, NAMESPACES, IDS, st.none() | METADATA)
def test_calls_are_allowed_as_the_model_says(
    expose: list[Any],
    answer: dict[str, Any],
    namespace: str,
    function_id: str,
    metadata: Any,
) -> None:
    rules = parse_rules({"expose_functions": expose})
    session = session_from(rules, msgspec.json.encode(answer))
    if any(grant(one, function_id) for one in answer.get("forbidden_functions", [])):
        allowed = False
    else:
        grants = answer.get("namespaces", {}).get(namespace, [])
        allowed = (
            any(grant(one, function_id) for one in grants)
            or (
                namespace == "default"
                and function_id in answer.get("allowed_functions", [])
            )
            or function_id in INFRASTRUCTURE
            or any(exposed(one, namespace, function_id, metadata) for one in expose)
        )
    refusal = session.refuses_call(namespace, function_id, metadata)
    assert (refusal is None) == allowed
