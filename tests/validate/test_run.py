"""The whole command: levels, resuming, baseline, exit codes, bad input."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.cli import main
from glm_rocm.errors import EngineError, TargetError, UsageError
from glm_rocm.validate import ops, run
from glm_rocm.validate.machine import machine
from glm_rocm.validate.results import Report
from glm_rocm.validate.run import Wishes, validate
from glm_rocm.validate.server import Server, ask, verdict
from glm_rocm.validate.started import started
from glm_rocm.validate.sweep import FULL, narrowed


def test_sweep_has_what_bugs_of_the_field_needed() -> None:
    assert set(range(1, 18)) <= set(FULL)
    assert {31, 32, 33, 255, 256, 257, 1024, 4095, 8191, 8192} <= set(FULL)


def test_cut_keeps_the_remainder_of_a_block() -> None:
    assert narrowed(10944, 256) % 128 == 10944 % 128
    assert narrowed(192, 256) == 192
    assert narrowed(5120, 0) == 5120


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = Wishes(target="cpu", levels=("ops",), quick=True, out=tmp_path)
    monkeypatch.setattr(run, "fingerprint", lambda *arguments: "sources that stay as they are")
    ran = []
    real = ops.OpCase.run

    def counted(self: ops.OpCase, *arguments: Any, **options: Any) -> Any:
        if len(ran) == 40:
            raise KeyboardInterrupt
        ran.append(self.key)
        return real(self, *arguments, **options)

    monkeypatch.setattr(ops.OpCase, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        validate(wishes)
    with (tmp_path / run.KEPT).open("a") as file:
        file.write('{"level": "ops", "half a li')
    monkeypatch.setattr(ops.OpCase, "run", real)
    report = validate(wishes)
    assert report.passed
    again = [case.key for case in report.cases]
    assert len(again) == len(set(again)) > 40
    lines = (tmp_path / run.KEPT).read_text().count("\n")
    assert validate(wishes).cases == report.cases
    assert (tmp_path / run.KEPT).read_text().count("\n") == lines, "nothing ran a third time"


def test_cases_of_another_model_are_not_taken_over(tmp_path: Path) -> None:
    run.Book(tmp_path, "one")._append({"finished": "ops"})
    assert run.Book(tmp_path, "one").finished("ops")
    assert not run.Book(tmp_path, "two").finished("ops")


def test_unknown_level_is_refused() -> None:
    with pytest.raises(UsageError, match="--level kernels"):
        validate(Wishes(levels=("kernels",)))


def test_a_server_that_does_not_start_is_an_error_with_its_last_words() -> None:
    with pytest.raises(EngineError, match=r"did not become ready: no folder `nothing`"), started("nothing"):
        pytest.fail("there is no such model")


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_with_our_plug_in_and_alone_agrees_with_the_reference() -> None:
    report = validate(Wishes(target="cpu", levels=("server",), quick=True, stock=True))
    assert report.passed, [case.sentence() for case in report.failures]
    assert [case.op for case in report.cases] == ["kernels", "server", "stock server"]
    with_plug_in, alone = ([one.measured for one in case.checks] for case in report.cases[1:])
    assert with_plug_in != alone, "the stock server runs our kernels"


FAULTY_ADAPTER = """
import importlib.abc
import importlib.util
import sys

ADAPTER = "glm_rocm.engines.vllm.attention"


class Plant(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != ADAPTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sound = spec.loader.exec_module

        def faulty(module):
            sound(module)
            forward = module.GlmAttention.forward

            def twice_the_scale(self, *arguments, **options):
                scale, self.scale = self.scale, self.scale * 2
                try:
                    return forward(self, *arguments, **options)
                finally:
                    self.scale = scale

            module.GlmAttention.forward = twice_the_scale

        spec.loader.exec_module = faulty
        return spec


sys.meta_path.insert(0, Plant())
"""


@pytest.mark.vllm
@pytest.mark.slow
def test_a_fault_of_the_adapter_is_laid_to_the_plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTY_ADAPTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    report = validate(Wishes(target="cpu", levels=("server",), quick=True, stock=True))
    kernels, served, alone = report.cases
    assert (kernels.passed, served.passed, alone.passed) == (True, False, True)
    assert served.notes[0].endswith("the difference lies in the plug-in")


def test_a_card_that_is_neither_here_nor_emulated_is_refused() -> None:
    with pytest.raises(TargetError, match="cannot be emulated"):
        machine("h100")


def test_words_of_a_card_are_emulated_where_it_is_not() -> None:
    assert machine("mi300x").emulate == machine("gfx942").emulate == "gfx942"
    assert machine("cpu").emulate == ""


def test_command_writes_both_reports_and_exits_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["validate", "--target", "cpu", "--quick", "--level", "block"]
    assert main([*words, "--out", "out", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["passed"]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["cases"] == record["cases"]
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!DOCTYPE html>")
    for case in record["cases"]:  # a baseline that was a hundred times better
        for one in case["checks"]:
            one["measured"] /= 100
    (tmp_path / "better.json").write_text(json.dumps(record))
    assert main([*words, "--baseline", "better.json"]) == 1
    assert "worse than the baseline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("no-such-model",), "no folder `no-such-model`"),
        (("--target", "gfx1"), "unknown accelerator"),
        (("--level", "ops,all"), "--level all"),
        (("--baseline", "missing.json"), "no validation report"),
        (("--tp", "5"), "TP 5"),
        (("--url", "http://127.0.0.1:1", "--stock"), "`--stock` with `--url`"),
    ],
)
def test_bad_input_is_exit_code_2_with_a_hint(
    words: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *words]) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert "\n\nhint: " in told.err
    assert told.out == ""


class Answers(BaseHTTPRequestHandler):
    """A server that echoes log-probabilities of -0.5, or whatever `body` is."""

    body: Any = None

    def do_GET(self) -> None:
        self._send({"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        count = len(asked["prompt"]) + 1
        top = [None, *({f"token_id:{number}": -0.1, "token_id:3": -9.0} for number in range(1, count))]
        self._send(self.body or {"choices": [{"logprobs": {"token_logprobs": [None] + [-0.5] * (count - 1),
                                                          "top_logprobs": top}}]})  # fmt: skip

    def _send(self, record: Any) -> None:
        data = json.dumps(record).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    made = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_echo_is_the_prompt_s_part_with_the_best_guesses(server: str) -> None:
    for url in (server, f"{server}/v1", server.removeprefix("http://")):
        echo = ask(url, None, [5, 6, 7, 8])
        assert echo.logprobs == (-0.5,) * 3
        assert echo.best == (1, 2, 3)


def test_a_server_without_logprobs_is_named(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "body", {"choices": [{"logprobs": None}]})
    with pytest.raises(EngineError, match="no log-probabilities"):
        ask(server, None, [1, 2])


def test_nobody_at_the_address_is_named() -> None:
    with pytest.raises(EngineError, match="no log-probabilities"):
        ask("http://127.0.0.1:9", None, [1, 2])


def test_a_server_that_guesses_is_found_and_the_kernels_are_cleared(server: str) -> None:
    report = validate(Wishes(target="cpu", levels=("server",), quick=True, server=Server(server)))
    assert not report.passed
    kernels, served = report.cases
    assert kernels.passed
    assert not served.passed
    assert "engine or the plug-in" in served.notes[0]


def test_verdict_tells_engine_plug_in_and_kernels_apart() -> None:
    from glm_rocm.validate.results import check

    good, bad = (check("server.logprob", 0),), (check("server.logprob", 1),)
    assert "our kernels" in verdict(bad, bad, ())
    assert verdict(good, good, ()) == "the server agrees with the reference"
    assert verdict(good, bad, good).endswith("lies in the plug-in")
    assert verdict(good, bad, bad).endswith("engine or its checkpoint")


def test_a_baseline_of_another_target_is_refused(tmp_path: Path) -> None:
    made = Report("pocket-glm", "gfx942", "emulated", ("ops",), "2026-01-01T00:00:00", {})
    (tmp_path / "report.json").write_text(made.to_json())
    with pytest.raises(UsageError, match="pocket-glm on gfx942; one of pocket-glm on cpu"):
        validate(Wishes(target="cpu", baseline=tmp_path / "report.json"))
