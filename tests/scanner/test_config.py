"""Settings: sources, strengths, bounds, messages, hash."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import feeds
from scanner.config import (
    ScanConfig,
    config_hash,
    effective,
    from_effective,
    json_schema,
    known_keys,
    load,
)
from scanner.config_source import nearest
from scanner.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch):
    """Settings of the developer's shell must not reach the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("SCANNER_") and "__" in name]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write_text


def problems(path=None, **overrides):
    with pytest.raises(ConfigError) as caught:
        load(path, {key.replace("__", "."): value for key, value in overrides.items()})
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def test_defaults_are_the_documented_ones():
    config = load()
    assert config == ScanConfig()
    assert (config.engine.tick_ms, config.engine.scan_ms) == (100, 1000)
    assert (config.engine.listings_capacity, config.engine.top_k) == (16_384, 50)
    assert (config.engine.device, config.engine.threads) == ("auto", 0)
    scoring = config.scoring
    assert (scoring.p_on, scoring.p_off) == (1e-4, 1e-2)
    assert (scoring.off_after_s, scoring.score_hold_s) == (60, 300)
    assert (scoring.group_members_min, scoring.group_window_s) == (8, 60)
    alerts = config.alerts
    assert (alerts.update_every_s, alerts.score_step, alerts.open_max) == (10, 0.5, 10_000)
    assert alerts.rules == "scoring-1"
    assert (config.checkpoint.start, config.checkpoint.save_file) == ("cold", None)
    assert (config.record.segment_mb, config.record.compact, config.view.rows) == (256, True, 20)


def test_defaults_keep_their_own_bounds():
    assert ScanConfig.model_validate(effective(ScanConfig())) == ScanConfig()


def test_file_is_stronger_than_default_environment_than_file_option_than_environment(
    write, monkeypatch
):
    path = write("[engine]\ntick_ms = 200\ntop_k = 60\nthreads = 3\n")
    monkeypatch.setenv("SCANNER_ENGINE__TOP_K", "70")
    monkeypatch.setenv("SCANNER_ENGINE__THREADS", "4")
    config = load(path, {"engine.threads": 5, "engine.device": None})
    assert config.engine.tick_ms == 200
    assert config.engine.top_k == 70
    assert config.engine.threads == 5
    assert config.engine.device == "auto"


def test_venues_of_the_file_replace_the_default_and_take_variables(write, monkeypatch):
    path = write('[venues.deribit]\nunderlyings = ["SOL"]\nbook = "window"\n')
    monkeypatch.setenv("SCANNER_VENUES__DERIBIT__UNDERLYINGS", "BTC, SOL")
    monkeypatch.setenv("SCANNER_VENUES__DERIBIT__ENABLED", "false")
    venue = load(path).venues["deribit"]
    assert venue.underlyings == ("BTC", "SOL")
    assert venue.book == "window"
    assert venue.enabled is False


@pytest.mark.parametrize(
    ("asked", "rounded"), [(1, 128), (128, 128), (129, 256), (2_097_024, 2_097_024)]
)
def test_capacity_is_rounded_up_to_blocks(asked, rounded):
    assert load(None, {"engine.listings_capacity": asked}).engine.listings_capacity == rounded


def test_capacity_stays_below_21_bits():
    assert problems(engine__listings_capacity=2_097_025) == [
        "option engine.listings_capacity was 2097025, expected at most 2097024"
    ]


def test_windows_of_a_maintenance_are_times_of_the_day(write):
    path = write('[venues.bybit]\nmaintenance = ["06:00-06:30", "23:50-00:10"]\n')
    assert load(path).venues["bybit"].maintenance == ("06:00-06:30", "23:50-00:10")
    assert problems(write('[venues.bybit]\nmaintenance = ["06:00-25:30"]\n')) == [
        "config.toml: venues.bybit.maintenance was '06:00-25:30', expected HH:MM-HH:MM"
    ]


def test_addresses_keys_and_windows_change_no_hash_but_a_login_does():
    where = {
        "venues.deribit.key_file": "/run/key", "venues.deribit.proxy": "direct",
        "venues.deribit.maintenance": "06:00-06:30", "network.proxy": "http://proxy:1",
    }  # fmt: skip
    assert config_hash(load(None, where)) == config_hash(load())
    assert config_hash(load(None, {"venues.deribit.authenticated": True})) != config_hash(load())


def test_unknown_key_names_file_key_and_nearest(write):
    assert problems(write("[engine]\ntik_ms = 5\n")) == [
        "config.toml: engine.tik_ms is not a known key; did you mean engine.tick_ms?"
    ]


def test_unknown_key_of_another_section_is_found_there(write):
    assert problems(write("tick_ms = 5\n")) == [
        "config.toml: tick_ms is not a known key; did you mean engine.tick_ms?"
    ]


def test_unknown_key_near_nothing_has_no_hint(write):
    assert problems(write("[engine]\nzzzzzz = 5\n")) == [
        "config.toml: engine.zzzzzz is not a known key"
    ]


def test_unknown_key_of_a_venue_is_compared_with_venue_settings(write):
    (problem,) = problems(write("[venues.deribit]\nundrlyings = []\n"))
    assert problem.endswith("not a known key; did you mean venues.deribit.underlyings?")


def test_value_of_an_unknown_key_is_not_repeated_for_it_may_be_a_secret(write):
    (problem,) = problems(write('[venues.deribit]\npassword = "hush"\n'))
    assert problem.startswith("config.toml: venues.deribit.password is not a known key")
    assert "hush" not in problem


def test_unknown_venue_names_the_nearest(write):
    assert problems(write("[venues.deribt]\n")) == [
        "config.toml: venues.deribt is not a known venue; did you mean deribit?"
    ]


@pytest.fixture
def odd_venue(tmp_path, monkeypatch):
    """A venue "odd" whose module says that it is experimental; importing it would fail."""
    folder = tmp_path / "more" / "venues" / "odd"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(
        '"""Odd."""\n\nimport nowhere\n\nEXPERIMENTAL: bool = True\n'
    )
    monkeypatch.setattr(feeds, "__path__", [*feeds.__path__, str(tmp_path / "more")])


@pytest.mark.usefixtures("odd_venue")
def test_experimental_venue_is_refused_until_its_table_says_so(write):
    (problem,) = problems(write("[venues.odd]\n"))
    assert problem == (
        "config.toml: venues.odd is experimental: written from documentation alone, never seen "
        "live; expected experimental = true in [venues.odd]"
    )
    assert load(write("[venues.odd]\nexperimental = true\n")).venues["odd"].experimental
    assert problems(write("[venues.odd]\nexperimental = false\n"))
    assert not load(write("[venues.odd]\nenabled = false\n")).venues["odd"].enabled


def test_depth_is_refused_where_there_are_no_tiers_or_no_books(write):
    said = "[venues.coincall]\nexperimental = true\ndepth_listings = 5\n"
    (problem,) = problems(write(said))
    assert problem == (
        "config.toml: venues.coincall.depth_listings was given, and the venue has no best prices "
        "but those of whole books"
    )
    (problem,) = problems(write('[venues.okx]\nbook = "none"\ndepth_listings = 5\n'))
    assert "book = none, expected delta or window" in problem
    assert load(write("[venues.okx]\ndepth_listings = 5\n")).venues["okx"].depth_listings == 5


@pytest.mark.usefixtures("odd_venue")
def test_recording_of_an_experimental_venue_replays_without_another_word(write):
    recorded = load(write("[venues.odd]\nexperimental = true\n"))
    assert "odd" in from_effective(effective(recorded, identity_only=True), {}).venues


def test_word_for_experimental_venues_changes_no_alert(write):
    text = "[venues.deribit]\n"
    assert config_hash(load(write(text))) == config_hash(
        load(write(text + "experimental = true\n"))
    )


def test_unknown_variable_names_the_nearest(monkeypatch):
    monkeypatch.setenv("SCANNER_ENGINE__TIK_MS", "5")
    assert problems() == ["SCANNER_ENGINE__TIK_MS is not a known key; did you mean engine.tick_ms?"]


def test_variable_of_an_unknown_section_is_an_error(monkeypatch):
    monkeypatch.setenv("SCANNER_ENGIN__TICK_MS", "5")
    assert problems() == [
        "SCANNER_ENGIN__TICK_MS names no known section; did you mean SCANNER_ENGINE__TICK_MS?"
    ]


def test_variables_that_are_no_settings_are_left_alone(monkeypatch):
    monkeypatch.setenv("SCANNER_PORT_8080_TCP", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("SCANNER_TRACEBACK", "0")
    assert load() == ScanConfig()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[engine]\ntick_ms = 9", "engine.tick_ms was 9, expected at least 10"),
        ("[engine]\ntick_ms = 60001", "engine.tick_ms was 60001, expected at most 60000"),
        ("[engine]\ntick_ms = 1.5", "engine.tick_ms was 1.5, expected a whole number"),
        ("[engine]\ntick_ms = 'x'", "engine.tick_ms was 'x', expected a whole number"),
        ("[engine]\ndevice = 'gpu'", "engine.device was 'gpu', expected 'auto', 'cpu' or 'cuda'"),
        ("engine = 3", "engine was 3, expected a table of settings"),
        ("venues = 3", "venues was 3, expected a table of settings"),
        ("[scoring]\np_on = 0", "scoring.p_on was 0, expected more than 0.0"),
        ("[scoring]\np_on = 1.0", "scoring.p_on was 1.0, expected less than 1.0"),
        ("[scoring]\noff_after_s = nan", "scoring.off_after_s was nan, expected a finite number"),
        ("[scoring]\noff_after_s = 'long'", "scoring.off_after_s was 'long', expected a number"),
        ("[record]\ncompact = 'maybe'", "record.compact was 'maybe', expected true or false"),
        (
            "[engine]\nscan_ms = 150",
            "engine.scan_ms was 150, expected a multiple of tick_ms = 100",
        ),
        (
            "[scoring]\np_on = 0.5",
            "scoring.p_off was 0.01, expected more than p_on = 0.5",
        ),
        (
            "[limits]\nconnect_backoff_s = 61",
            "limits.connect_backoff_max_s was 60.0, expected at least connect_backoff_s = 61.0",
        ),
        (
            "[venues.deribit]\nws_url = 'http://x'",
            r"venues.deribit.ws_url was 'http://x', expected text that matches ^wss?://\S+$",
        ),
        (
            "[venues.deribit]\nunderlyings = []",
            "venues.deribit.underlyings was [], expected at least 1 items",
        ),
        ("[view]\nrows = 0", "view.rows was 0, expected at least 1"),
        ("[checkpoint]\nsave_file = 3", "checkpoint.save_file was 3, expected a path"),
    ],
)
def test_wrong_value_names_key_value_and_expectation(write, text, problem):
    assert problems(write(text)) == [f"config.toml: {problem}"]


def test_all_problems_are_listed_at_once(write):
    found = problems(write("[engine]\ntick_ms = 1\ntop_k = 0\n[venues.nowhere]\n"))
    assert found == [
        "config.toml: venues.nowhere is not a known venue",
        "config.toml: engine.tick_ms was 1, expected at least 10",
        "config.toml: engine.top_k was 0, expected at least 1",
    ]


def test_wrong_variable_is_named_as_the_source(write, monkeypatch):
    monkeypatch.setenv("SCANNER_ENGINE__TICK_MS", "5")
    assert problems(write("[engine]\ntick_ms = 100")) == [
        "SCANNER_ENGINE__TICK_MS was '5', expected at least 10"
    ]


def test_long_value_is_cut_in_the_message(write):
    (problem,) = problems(write(f'[engine]\ndevice = "{"x" * 5000}"'))
    assert len(problem) < 200


def test_missing_file_is_one_line(tmp_path):
    (problem,) = problems(tmp_path / "none.toml")
    assert problem.endswith("none.toml: No such file or directory, expected a TOML file")


def test_broken_toml_names_file_and_line(write):
    (problem,) = problems(write("[engine]\ntick_ms = = 3"))
    assert "config.toml" in problem
    assert "line 2" in problem


def test_bytes_that_are_no_text_are_a_config_error(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff\xfe[engine]")
    (problem,) = problems(path)
    assert "expected a TOML file" in problem


@given(st.binary(max_size=60))
def test_any_bytes_give_settings_or_a_config_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_bytes(content)
    try:
        found = load(path)
    except ConfigError as error:
        found = error
    assert isinstance(found, ScanConfig) or not any("\n" in line for line in found.problems)


@pytest.mark.parametrize(
    "text",
    [
        f"[engine]\ntick_ms = {'9' * 5000}",
        f"[engine]\ntick_ms = 0x{'f' * 9000}",
        f"[engine]\ntick_ms = {'[' * 5000}",
        f"[engine]\n{'k' * 9000} = 1",
        '[engine]\n"two\\nlines" = 1',
        "[engine]\ntick_ms = 1979-05-27T07:32:00Z",
    ],
)
def test_monstrous_value_is_a_short_config_error(write, text):
    (problem,) = problems(write(text))
    assert "config.toml" in problem
    assert len(problem) < 300
    assert "\n" not in problem


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        ScanConfig().engine.tick_ms = 5


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engine.device", "cpu"),
        ("engine.threads", 7),
        ("record.compact", False),
        ("view.rows", 9),
        ("checkpoint.start", "/elsewhere/start.npz"),
        ("checkpoint.save_file", "/elsewhere/end.npz"),
        ("venues.deribit.ws_url", "ws://127.0.0.1:1"),
        ("limits.connect_state_file", "/elsewhere/x"),
    ],
)
def test_hash_ignores_where_a_run_lives(key, value):
    assert config_hash(load(None, {"venues.deribit.enabled": True, key: value})) == config_hash(
        load()
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("engine.tick_ms", 50),
        ("scoring.p_on", 1e-5),
        ("alerts.rules", "scoring-2"),
        ("venues.deribit.underlyings", ["SOL"]),
        ("limits.trade_keys", 4_096),
    ],
)
def test_hash_sees_what_can_change_an_alert(key, value):
    assert config_hash(load(None, {key: value})) != config_hash(load())


def test_hash_does_not_see_how_a_number_was_written(write):
    assert config_hash(load(write("[scoring]\noff_after_s = 3600"))) == config_hash(
        load(write("[scoring]\noff_after_s = 3.6e3"))
    )


def test_hash_is_blake2b_of_canonical_json():
    import hashlib

    values = effective(ScanConfig(), identity_only=True)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert config_hash(ScanConfig()) == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert "record" not in values
    assert "device" not in values["engine"]


def test_settings_survive_json():
    config = load(None, {"venues.deribit.underlyings": ["SOL"], "engine.tick_ms": 50})
    assert ScanConfig.model_validate_json(config.model_dump_json()) == config


def test_schema_accepts_the_defaults_and_refuses_what_load_refuses():
    validator = Draft202012Validator(json_schema())
    values = effective(ScanConfig())
    assert validator.is_valid(values)
    values["engine"]["tick_ms"] = 9
    assert not validator.is_valid(values)
    assert not validator.is_valid({"engine": {"tik_ms": 100}})


def test_every_setting_says_what_it_is():
    schema = json_schema()
    for name, section in schema["$defs"].items():
        assert section["description"], name
        for key, field in section["properties"].items():
            assert field.get("description", "").endswith("."), f"{name}.{key}"


def test_every_number_has_both_bounds():
    for name, section in json_schema()["$defs"].items():
        for key, field in section["properties"].items():
            if field.get("type") in ("integer", "number"):
                low = {"minimum", "exclusiveMinimum", "ge"} & field.keys()
                high = {"maximum", "exclusiveMaximum", "le"} & field.keys()
                assert low, f"{name}.{key} has no lower bound"
                assert high, f"{name}.{key} has no upper bound"


def test_every_key_can_be_listed():
    keys = known_keys()
    assert "engine.tick_ms" in keys
    assert "venues.*.underlyings" in keys
    assert len(set(keys)) == len(keys)


def test_nearest_prefers_the_same_section():
    known = ("venues.*.trades", "limits.trade_keys")
    assert nearest("limits.trads", known) == "; did you mean limits.trade_keys?"


def test_pydantic_is_imported_with_the_configuration_only():
    code = (
        "import sys, scanner, scanner.errors, scanner.config_source, scanner.universe, "
        "scanner.telemetry, scanner.doctor, scanner.__main__; "
        "assert 'pydantic' not in sys.modules; import scanner.config; "
        "assert 'pydantic' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
