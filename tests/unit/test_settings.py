"""Settings from the environment: all of it, or no start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.errors import SettingsError
from service.settings import ZOO, Settings, from_environment


def test_without_any_variable_the_zoo_is_served() -> None:
    settings = from_environment({})
    assert settings.models == (ZOO,)
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "cpu")
    assert settings.lanes >= 1
    assert settings.decode_threads >= 1


def test_the_zoo_is_where_packages_are_shipped(zoo: Path) -> None:
    assert zoo == ZOO


def test_every_setting_is_a_variable() -> None:
    values = {
        "host": "::1",
        "port": "0",
        "models": os.pathsep.join(["one", "more/two"]),
        "device": "cuda",
        "lanes": "3",
        "default_deadline_ms": "12.5",
        "log_level": "debug",
    }
    settings = from_environment({f"OFFRAMP_{name.upper()}": text for name, text in values.items()})
    assert settings.model_dump(include=set(values)) == {
        "host": "::1",
        "port": 0,
        "models": (Path("one"), Path("more/two")),
        "device": "cuda",
        "lanes": 3,
        "default_deadline_ms": 12.5,
        "log_level": "debug",
    }


def test_other_people_s_variables_are_none_of_ours() -> None:
    assert from_environment({"PATH": "/bin", "LANES": "7", "OFFRAMP_DATA": "/data"}) == from_environment({})


@pytest.mark.parametrize("name", ["OFFRAMP_LANE", "OFFRAMP_", "OFFRAMP_MODEL_CONFIG"])
def test_an_unknown_variable_stops_the_start(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is no setting; docs/settings\.md"):
        from_environment({name: "1"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", ""),
        ("LANES", "0"),
        ("LANES", "1.5"),
        ("DEVICE", "tpu"),
        ("MAX_BATCH_ROWS", "1025"),
        ("DEFAULT_DEADLINE_MS", "0"),
        ("DEFAULT_DEADLINE_MS", "nan"),
        ("DEFAULT_DEADLINE_MS", "inf"),
        ("DRAIN_S", "-1"),
        ("DRAIN_S", "inf"),
        ("LOG_LEVEL", "loud"),
        ("MODELS", ""),
        ("MODELS", os.pathsep),
    ],
)
def test_a_bad_value_stops_the_start_by_name_and_value(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        from_environment({f"OFFRAMP_{name}": text})
    assert caught.value.detail.startswith(f"OFFRAMP_{name}=")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"OFFRAMP_LANES='0'.*; OFFRAMP_SPEED is no setting"):
        from_environment({"OFFRAMP_LANES": "0", "OFFRAMP_SPEED": "high"})


def test_an_empty_part_of_the_models_is_not_the_working_directory() -> None:
    assert from_environment({"OFFRAMP_MODELS": f"one{os.pathsep}"}).models == (Path("one"),)


@pytest.mark.parametrize(("option", "port"), [(9000, 9000), (None, 7000)])
def test_the_command_line_wins_where_it_says_something(option: int | None, port: int) -> None:
    assert from_environment({"OFFRAMP_PORT": "7000"}, port=option).port == port


def test_folders_of_the_command_line_are_taken_as_they_are(tmp_path: Path) -> None:
    assert from_environment({"OFFRAMP_MODELS": "one"}, models=[tmp_path, "two"]).models == (tmp_path, Path("two"))


@pytest.mark.parametrize("overrides", [{"port": "any"}, {"speed": 1}])
def test_the_command_line_is_checked_as_well(overrides: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        from_environment({}, **overrides)


def test_settings_don_t_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
