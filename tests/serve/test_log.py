"""The engine's log stays bounded and survives a disk that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_rocm.serve.log import EngineLog


def test_a_log_that_grows_is_turned_and_two_files_hold_the_end(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "engine.log", limit=1000)
    for number in range(1000):
        log.write(f"line {number}\n")
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine.log", "engine.log.1"]
    kept = (tmp_path / "engine.log.1").read_text() + (tmp_path / "engine.log").read_text()
    assert kept.endswith("line 998\nline 999\n")
    assert len(kept) < 2100


def test_each_line_can_be_read_at_once(tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "engine.log")
    log.write("loading\n")
    assert (tmp_path / "engine.log").read_text() == "loading\n"
    log.close()


def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for text in ("first\n", "second\n", "third\n"):
        log = EngineLog(tmp_path / "engine.log")
        log.write(text)
        log.close()
    assert (tmp_path / "engine.log.1").read_text() == "second\n"
    assert (tmp_path / "engine.log").read_text() == "third\n"


def test_a_full_disk_ends_the_log_and_nothing_else() -> None:
    log = EngineLog(Path("/dev/full"))
    log.write("one\n")
    log.write("two\n")
    log.close()
    assert log.file is None


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        EngineLog(tmp_path / "nowhere/engine.log")
