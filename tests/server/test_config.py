"""Configuration: every variable in one place, and the folder that everything lives in."""

import os
import re
from pathlib import Path

import platformdirs
import pytest
from pydantic import ValidationError

from darkroom.config import Config
from darkroom.paths import LONGEST_SOCKET_PATH, DataDir, data_dir

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DARKROOM_"):
            monkeypatch.delenv(name)


def test_every_variable_is_in_the_readme_with_its_default() -> None:
    rows = re.findall(r"^\| (`DARKROOM_.+?) \| (.*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: default for names, default in rows for name in re.findall(r"`DARKROOM_(\w+)`", names)}
    assert documented.keys() == {name.upper() for name in Config.model_fields}
    for name in ("queue_length", "require_sandbox", "model_memory_mb", "fetch", "soft_wait", "keep_days"):
        value = Config.model_fields[name].default
        shown = str(value).lower() if isinstance(value, bool) else f"{value:g}"
        assert documented[name.upper()] == f"`{shown}`"


def test_hosts_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_ALLOWED_HOSTS", "a.example, b.example,")
    assert Config().allowed_hosts == ("a.example", "b.example")


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "PORT", "HOST", "DATA_DIR", "ALLOWED_HOSTS"):
        monkeypatch.setenv(f"DARKROOM_{name}", "")
    config = Config()
    assert (config.token, config.port, config.host, config.data_dir) == (None, 1349, "127.0.0.1", None)
    assert data_dir().root == Path(platformdirs.user_data_dir("darkroom", appauthor=False))


def test_the_token_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_TOKEN", "long-random-value")
    assert "long-random-value" not in repr(Config())


@pytest.mark.parametrize(("name", "value"), [("PORT", "65536"), ("WORKERS", "0"), ("KEEP_DAYS", "-1")])
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DARKROOM_{name}", value)
    with pytest.raises(ValidationError):
        Config()


def test_the_folder_is_the_one_chosen_else_the_variable_s_else_the_platform_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert data_dir().root == Path(platformdirs.user_data_dir("darkroom", appauthor=False))
    monkeypatch.setenv("DARKROOM_DATA_DIR", "~/pictures")
    assert data_dir().root == Path.home() / "pictures"
    assert data_dir(tmp_path).root == tmp_path


def test_a_relative_folder_is_meant_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_dir("data").root == tmp_path / "data"


def test_the_socket_s_path_is_short_enough_for_every_kernel(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / ("ü" * 60)):
        where = DataDir(folder)
        where.create()
        assert len(os.fsencode(where.socket)) <= LONGEST_SOCKET_PATH
        assert where.socket.parent.stat().st_mode & 0o077 == 0
    assert DataDir(tmp_path / ("ü" * 60)).socket != DataDir(tmp_path / ("ö" * 60)).socket
