import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_trio._yaml import parse_yaml
from iii_trio.app import _config
from iii_trio.app._adapters import OtherEngine
from iii_trio.app._config import AppConfig, ListenerConfig, parse_config
from iii_trio.app._load import expand, parse_text
from iii_trio.app._structure import structure
from iii_trio.errors import ConfigError
from iii_trio.net import EngineLimits


@attrs.frozen(kw_only=True)
class Hook:
    function_id: str
    priority: int = 0


@attrs.frozen(kw_only=True)
class WebConfig:
    port: int = 3111
    ratio: float = 1.0
    verbose: bool = False
    host: str | None = None
    hooks: tuple[Hook, ...] = ()


@attrs.frozen(kw_only=True)
class StoreConfig:
    volatile: bool = False


@attrs.frozen(kw_only=True)
class Row:
    name: str
    aliases: tuple[str, ...]
    config_class: type[Any]
    stores: tuple[str, ...] = ()
    bridges: bool = False
    always: bool = False
    unnamed_block: dict[str, Any] = attrs.field(factory=dict)


KNOWN = (
    Row(name="iii-http", aliases=("http",), config_class=WebConfig),
    Row(
        name="iii-state",
        aliases=("state",),
        config_class=StoreConfig,
        stores=("state",),
    ),
)


def parse(text: str, **environ: str) -> AppConfig:
    return parse_config(parse_text(text, environ), KNOWN, environ)


def refused(text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, **environ)
    return caught.value


# --- macros


def test_set_variable_replaces_the_macro_and_its_default() -> None:
    assert expand("a: ${P:1}", {"P": "7"}) == "a: 7"


def test_exported_but_empty_variable_counts_as_set() -> None:
    assert expand("[${P:1}]", {"P": ""}) == "[]"


def test_default_may_be_empty_and_may_hold_colons() -> None:
    assert expand("${U:ws://h:1}|${E:}", {}) == "ws://h:1|"


def test_result_of_a_macro_is_typed_by_yaml() -> None:
    assert parse_text("p: ${P:3111}", {}) == {"p": 3111}


def test_unset_variables_without_default_are_named_with_their_lines() -> None:
    with pytest.raises(ConfigError, match=r"A \(line 1\), B \(line 3\)"):
        expand("x: ${A}\n\n# ${B}\n", {})


def test_version_default_becomes_our_version() -> None:
    assert expand("${V:__III_ENGINE_VERSION__}", {})[0].isdigit()


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_macros_is_unchanged(text: str) -> None:
    assert expand(text, {}) == text


# --- YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("007", "007"),
        ("-01", "-01"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("0x10", 16),
        ("0o17", 15),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("Null", None),
        ('"5"', "5"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    parsed = parse_yaml(f"k: {text}")["k"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(parse_yaml("k: .NaN")["k"])


def test_empty_value_is_null() -> None:
    assert parse_yaml("k:") == {"k": None}


def test_key_that_appears_twice_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"line 3, column 1: key 'a' appears twice"):
        parse_yaml("a: 1\nb: 2\na: 3\n")


def test_duplicate_in_a_nested_mapping_is_refused_too() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        parse_yaml("w: [{a: 1,\n a: 2}]")


def test_bad_yaml_is_refused_with_line_and_column() -> None:
    with pytest.raises(ConfigError, match="line 3, column"):
        parse_yaml("a: 1\nb: [\n")


def test_python_tags_are_refused() -> None:
    with pytest.raises(ConfigError, match="line 1"):
        parse_yaml("a: !!python/object:os.system {}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("!!bool maybe", "'maybe' cannot be read as !!bool"),
        ("!!int ''", "'' cannot be read as !!int"),
        ("!!float x", "'x' cannot be read as !!float"),
        ("9" * 5000, "cannot be read as !!int"),
        ("!!timestamp x", "!!timestamp is not supported: a value is a text"),
        ("!!timestamp 2001-01-01", "!!timestamp is not supported"),
        ("!!binary aGk=", "!!binary is not supported"),
        ("!!set {a}", "!!set is not supported"),
        ("!!omap [a: 1]", "!!omap is not supported"),
        ("!mine a", "!mine is not supported"),
    ],
)
def test_a_value_that_json_has_not_is_refused_with_its_line(
    text: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(f"a: 1\nb: {text}\n")
    assert str(caught.value).startswith("line 2, column 4: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("!!float 12", 12.0),
        ("!!bool true", True),
        ("!!null ''", None),
        ("!!seq [a]", ["a"]),
        ("!!map {a: b}", {"a": "b"}),
        ("2001-01-01", "2001-01-01"),
    ],
)
def test_a_tag_may_say_what_json_has(text: str, value: object) -> None:
    parsed = parse_yaml(f"k: {text}")["k"]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize("text", ["1: a", "true: a", "[a]: b", "~: x"])
def test_keys_that_are_no_strings_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_yaml(text)


def test_a_mapping_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a mapping node"):
        parse_yaml("a: !!map x")


def test_control_characters_are_refused() -> None:
    with pytest.raises(ConfigError):
        parse_yaml("a: \x01")


# --- top level


@pytest.mark.parametrize("text", ["", "{}", "workers: []", "# nothing\n"])
def test_minimal_files_give_one_default_listener(text: str) -> None:
    (entry,) = parse(text).entries
    assert entry.kind == "iii-worker-manager"
    assert entry.config == ListenerConfig()
    assert (entry.config.port, entry.config.host) == (49134, None)
    assert entry.config.handshake_timeout == 10.0


@pytest.mark.parametrize("section", ["workers", "modules"])
def test_null_section_is_refused(section: str) -> None:
    assert refused(f"{section}:").path == section


def test_modules_come_after_workers() -> None:
    config = parse("modules: [{name: http}]\nworkers: [{name: state}]")
    kinds = [entry.kind for entry in config.entries]
    assert kinds == ["iii-state", "iii-http", "iii-worker-manager"]


def test_unknown_top_level_key_is_refused_with_the_nearest() -> None:
    error = refused("wokers: []")
    assert error.path == "wokers"
    assert "did you mean 'workers'?" in str(error)


@pytest.mark.parametrize("text", ["- a", "5", "text", "true"])
def test_document_must_be_a_mapping(text: str) -> None:
    assert "expected a mapping at the top" in str(refused(text))


def test_grace_is_read_in_milliseconds() -> None:
    assert parse("{}").registration_namespace_grace == 5.0
    text = "registration_namespace_grace_ms: 250"
    assert parse(text).registration_namespace_grace == 0.25


def test_grace_of_the_environment_wins() -> None:
    config = parse("registration_namespace_grace_ms: 1", III_NAMESPACE_GRACE_MS="20")
    assert config.registration_namespace_grace == 0.02


@pytest.mark.parametrize(
    "value", ["-1", "soon", "1.5", "true", "86400001", "9" * 400, "0x" + "f" * 5000]
)
def test_bad_grace_is_refused(value: str) -> None:
    text = f"registration_namespace_grace_ms: {value}"
    assert refused(text).path == "registration_namespace_grace_ms"
    assert refused("{}", III_NAMESPACE_GRACE_MS=value).path == "III_NAMESPACE_GRACE_MS"


def test_a_number_with_thousands_of_digits_is_refused_wherever_it_stands() -> None:
    huge = "0x" + "f" * 5000
    assert "far too large" in str(refused(f"workers: [{{name: {huge}}}]"))
    assert "III_" in str(refused("{}", III_NAMESPACE_GRACE_MS="9" * 5000))


# --- entries


def test_config_block_is_structured() -> None:
    (entry, _) = parse(
        "workers: [{name: http, config: {port: 0, ratio: 2, hooks: [{function_id: a}]}}]"
    ).entries
    assert entry.config == WebConfig(port=0, ratio=2.0, hooks=(Hook(function_id="a"),))


@pytest.mark.parametrize("name", ["http", "iii-http"])
def test_old_and_new_names_are_the_same_worker(name: str) -> None:
    entry = parse(f"workers: [{{name: {name}}}]").entries[0]
    assert (entry.key, entry.kind) == ("iii-http", "iii-http")


@pytest.mark.parametrize(
    ("entry", "path", "message"),
    [
        ("{name: http, config: {prot: 1}}", "config.prot", "did you mean 'port'?"),
        ("{name: http, config: {port: '80'}}", "config.port", "expected an integer"),
        ("{name: http, config: {port: true}}", "config.port", "expected an integer"),
        ("{name: http, config: {port: 1.5}}", "config.port", "expected an integer"),
        ("{name: http, config: {verbose: 1}}", "config.verbose", "true or false"),
        ("{name: http, config: {ratio: x}}", "config.ratio", "expected a number"),
        ("{name: http, config: {host: 5}}", "config.host", "expected a string"),
        ("{name: http, config: [1]}", "config", "expected a mapping, got a list"),
        (
            "{name: http, config: {hooks: [{function_id: a}, {}]}}",
            "config.hooks[1].function_id",
            "is required",
        ),
        (
            "{name: http, config: {hooks: [{function_id: a, prio: 1}]}}",
            "config.hooks[0].prio",
            "did you mean 'priority'?",
        ),
        ("{name: htpp}", "name", "unknown worker 'htpp' (did you mean 'http'?)"),
        ("{name: 5}", "name", "expected a worker's name"),
        ("{}", "name", "expected a worker's name"),
        ("{name: {}}", "name", "got a mapping"),
        ("{name: http, confg: {}}", "confg", "did you mean 'config'?"),
        ("{name: http, image: x/y}", "image", "takes no image"),
        ("{name: iii-crom}", "name", "unknown worker 'iii-crom'"),
        ("5", "", "expected a mapping, got 5"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(
    entry: str, path: str, message: str
) -> None:
    error = refused(f"workers: [{{name: state}}, {entry}]")
    assert error.path == f"workers[1].{path}".rstrip(".")
    assert message in str(error)


@pytest.mark.parametrize(
    ("first", "second"), [("http", "iii-http"), ("state", "state"), ("telemetry",) * 2]
)
def test_two_entries_of_one_worker_are_refused_one_line_a_pair(
    first: str, second: str
) -> None:
    error = refused(f"workers: [{{name: {first}}}, {{name: {second}}}]")
    head, pair = str(error).splitlines()
    assert head == "Duplicate worker configurations:"
    assert pair == f"  {first} (workers[0]) and {second} (workers[1])"


def test_quickstart_template_entries_are_skipped_with_one_note_each() -> None:
    config = parse(
        "workers: [{name: iii-engine-functions}, {name: telemetry, config: {a: 1}}]"
    )
    assert [entry.kind for entry in config.entries] == ["iii-worker-manager"]
    assert len(config.notes) == 2
    assert "'telemetry' needs no entry, skipped: nothing about" in config.notes[1]


@pytest.mark.parametrize(
    "entry",
    [
        "{name: math, image: ghcr.io/x/math}",
        "{name: math, worker_path: ./math}",
        "{name: acme/math}",
        "{name: 'math@1.2'}",
    ],
)
def test_workers_from_elsewhere_are_skipped_with_a_note(entry: str) -> None:
    config = parse(f"workers: [{entry}]")
    assert len(config.entries) == 1
    assert "start it yourself" in config.notes[0]


def test_a_worker_that_always_runs_starts_first_named_or_not() -> None:
    basic = Row(
        name="basic",
        aliases=(),
        config_class=StoreConfig,
        stores=("basic",),
        always=True,
    )
    known = (*KNOWN, basic)
    for entries in ([{"name": "http"}], [{"name": "http"}, {"name": "basic"}]):
        config = parse_config({"workers": entries}, known)
        kinds = [entry.kind for entry in config.entries]
        assert kinds == ["basic", "iii-http", "iii-worker-manager"]
        assert config.entries[0].backend == "sqlite"
        assert config.notes == ()


def test_default_document_parses() -> None:
    names = ["iii-queue", "iii-cron", "iii-pubsub", "iii-stream"]
    rows = [Row(name=name, aliases=(), config_class=StoreConfig) for name in names]
    config = parse_config(_config.DEFAULT_DOCUMENT, (*KNOWN, *rows))
    kinds = [entry.kind for entry in config.entries]
    assert kinds == ["iii-http", "iii-state", *names, "iii-worker-manager"]


# --- workers that always run


LASTING = Row(
    name="iii-lasting",
    aliases=("lasting",),
    config_class=StoreConfig,
    always=True,
    unnamed_block={"volatile": True},
)


def test_a_worker_that_always_runs_is_added_with_its_block() -> None:
    config = parse_config({"workers": [{"name": "http"}]}, (*KNOWN, LASTING))
    kinds = [entry.kind for entry in config.entries]
    assert kinds == ["iii-lasting", "iii-http", "iii-worker-manager"]
    assert config.entries[0].config == StoreConfig(volatile=True)


def test_a_worker_that_always_runs_may_be_configured() -> None:
    config = parse_config({"workers": [{"name": "lasting"}]}, (*KNOWN, LASTING))
    [entry, _listener] = config.entries
    assert (entry.kind, entry.config) == ("iii-lasting", StoreConfig())


# --- listeners


def test_several_listeners_have_keys_of_their_own_and_come_last() -> None:
    config = parse(
        "workers: [{name: iii-worker-manager, config: {port: 0}},"
        "{name: iii-worker-manager, config: {port: 1, host: 0.0.0.0}}, {name: http}]"
    )
    keys = [entry.key for entry in config.entries]
    assert keys == ["iii-http", "iii-worker-manager", "iii-worker-manager#1"]
    assert config.entries[2].config == ListenerConfig(port=1, host="0.0.0.0")


@pytest.mark.parametrize("key", ["port: 65536", "port: -1", "handshake_timeout_ms: 0"])
def test_listener_numbers_out_of_range_are_refused(key: str) -> None:
    error = refused(f"workers: [{{name: iii-worker-manager, config: {{{key}}}}}]")
    assert error.path == "workers[0].config"
    assert f"{key.partition(':')[0]} must be" in str(error)


# --- adapters


@pytest.mark.parametrize(
    ("adapter", "backend"),
    [
        ("~", "sqlite"),
        ("{name: kv}", "sqlite"),
        ("{name: builtin, config: ~}", "sqlite"),
        ("{name: kv, config: {store_method: file_based}}", "sqlite"),
        ("{name: kv, config: {store_method: in_memory}}", "memory"),
        ("{name: kv, config: {save_interval_ms: 10}}", "sqlite"),
        ("{name: memory}", "memory"),
        ("{name: sqlite}", "sqlite"),
        ("{name: fs}", "sqlite"),
        ("{name: fs, config: {directory: ./config}}", "sqlite"),
    ],
)
def test_adapters_choose_where_data_rests(adapter: str, backend: str) -> None:
    text = f"workers: [{{name: state, config: {{adapter: {adapter}}}}}]"
    assert parse(text).entries[0].backend == backend


def test_bare_state_entry_is_durable() -> None:
    assert parse("workers: [{name: state}]").entries[0].backend == "sqlite"


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ("", "ws://localhost:49134"),
        (", config: {bridge_url: 'wss://a:1'}", "wss://a:1"),
    ],
)
def test_another_engine_may_keep_the_data(settings: str, url: str) -> None:
    text = (
        f"workers: [{{name: state, config: {{adapter: {{name: bridge{settings}}}}}}}]"
    )
    rows = [attrs.evolve(row, bridges=True) for row in KNOWN]
    [entry, _] = parse_config(parse_text(text, {}), rows, {}).entries
    assert entry.backend == OtherEngine(url)


@pytest.mark.parametrize("settings", ["{bridge_url: a}", "{bridge_url: 5}", "{x: 1}"])
def test_another_engine_has_to_have_a_url(settings: str) -> None:
    adapter = f"{{name: bridge, config: {settings}}}"
    text = f"workers: [{{name: state, config: {{adapter: {adapter}}}}}]"
    rows = [attrs.evolve(row, bridges=True) for row in KNOWN]
    with pytest.raises(ConfigError) as caught:
        parse_config(parse_text(text, {}), rows, {})
    assert caught.value.path.startswith("workers[0].config.adapter.config")


def test_worker_without_data_has_no_backend_and_no_adapter() -> None:
    assert parse("workers: [{name: http}]").entries[0].backend is None
    error = refused("workers: [{name: http, config: {adapter: {name: kv}}}]")
    assert error.path == "workers[0].config.adapter"


def test_file_path_of_the_reference_is_ignored_with_a_note() -> None:
    config = parse(
        "workers: [{name: state, config: {adapter: {name: kv, config: "
        "{store_method: file_based, file_path: ./data/state_store.db}}}}]"
    )
    assert "file_path: ignored" in config.notes[0]


def test_directory_of_the_reference_is_ignored_with_a_note() -> None:
    adapter = "{name: fs, config: {directory: ./settings}}"
    config = parse(f"workers: [{{name: state, config: {{adapter: {adapter}}}}}]")
    assert "directory: ignored" in config.notes[0]


@pytest.mark.parametrize(
    ("adapter", "path", "message"),
    [
        ("{name: redis}", ".name", "not available in this version"),
        ("{name: redis}", ".name", "; available: 'sqlite', 'memory'"),
        ("{name: bridge}", ".name", "not available in this version"),
        ("{name: memry}", ".name", "did you mean 'memory'?"),
        ("{nam: kv}", ".nam", "did you mean 'name'?"),
        ("{name: kv, config: {store: x}}", ".config.store", "store_method"),
        ("{name: kv, config: {store_method: x}}", ".config.store_method", "in_memory"),
        ("{name: memory, config: {x: 1}}", ".config.x", "unknown key"),
        ("kv", "", "expected a mapping"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    adapter: str, path: str, message: str
) -> None:
    error = refused(f"workers: [{{name: state, config: {{adapter: {adapter}}}}}]")
    assert error.path == f"workers[0].config.adapter{path}"
    assert message in str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["workers", "modules", "name", "config", "port", "x"]),
                inner
                | st.sampled_from(["http", "state", "queue", "iii-worker-manager"]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_document_is_a_configuration_or_a_config_error(document: object) -> None:
    try:
        config = parse_config(document, KNOWN)
    except ConfigError:
        return
    assert config.entries[-1].kind == "iii-worker-manager"


def test_validator_messages_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"^c: port must be 0 to 65535"):
        structure({"port": 70000}, ListenerConfig, "c")


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(ConfigError, match=r"\.\.\.$"):
        structure({"port": "x" * 500}, ListenerConfig, "c")


def test_limits_of_all_workers_stand_at_the_top() -> None:
    config = parse_config(
        {"limits": {"pending_calls_per_worker": 5, "json_depth": 9}}, ()
    )
    assert config.limits == EngineLimits(pending_calls_per_worker=5, json_depth=9)
    assert parse_config({}, ()).limits == EngineLimits()


@pytest.mark.parametrize(
    ("limits", "path"),
    [
        ([], "limits"),
        ({"pending_call_per_worker": 5}, "limits.pending_call_per_worker"),
        ({"outboxes_bytes": 5}, "limits"),
    ],
)
def test_limits_that_cannot_be_are_named(limits: object, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"limits": limits}, ())
    assert caught.value.path == path
