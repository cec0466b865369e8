"""What the commands print: data on stdout alone, JSON that is JSON, no colour codes in a pipe, a quick start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_rocm import __version__
from glm_rocm.cli.console import command_to_paste
from glm_rocm.plan import Plan

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_version(cli: Run) -> None:
    assert cli("--version").stdout.strip() == f"glm-rocm {__version__}"


@pytest.mark.parametrize("words", [[], ["--help"], ["serve", "--help"], ["plan", "-h"]], ids=" ".join)
def test_help_is_data_and_well(cli: Run, words: list[str]) -> None:
    done = cli(*words)
    assert done.returncode == 0
    assert "Usage: glm-rocm" in done.stdout
    assert done.stderr == ""


def test_plan_names_target_memory_kernels_and_command(cli: Run) -> None:
    done = cli("plan", "zai-org/GLM-4.5-FP8", "--gpus", "mi300x:8", "--mtp", "1")
    assert done.returncode == 0
    assert done.stderr == ""
    for part in (
        "8 x AMD Instinct MI300X (gfx942",
        "weights",
        "KV cache",
        "attention",
        "moe.experts",
        "--tensor-parallel-size 8",
    ):
        assert part in done.stdout


def test_plan_in_a_pipe_has_no_colour_no_padding_and_fits_the_page(cli: Run) -> None:
    lines = cli("plan", "zai-org/GLM-4.5-Air", "--gpus", "h100:4").stdout.splitlines()
    assert not [line for line in lines if "\x1b" in line]
    assert not [line for line in lines if line != line.rstrip()]
    assert "command of the engine" in "\n".join(lines)
    assert max(map(len, lines)) <= 96


def test_plan_as_json_is_the_plan_itself(cli: Run) -> None:
    done = cli("plan", "GLM-4.6", "--gpus", "mi355x:8", "--json")
    made = Plan.from_json(done.stdout)
    assert (made.model.name, made.target.arch, made.tp) == ("zai-org/GLM-4.6", "gfx950", 8)
    assert done.stderr == ""


def test_serve_dry_run_starts_nothing_and_shows_the_same_plan(cli: Run, tmp_path: Path) -> None:
    done = cli("serve", "GLM-4.6", "--gpus", "mi300x:8", "--dry-run", "--", "--seed", "7")
    assert done.returncode == 0
    assert "--seed 7" in done.stdout
    assert not (tmp_path / "state").exists()


def test_backends_as_json_tells_acceptance_and_evidence(cli: Run) -> None:
    done = cli("backends", "--target", "mi300x:8", "--model", "GLM-4.6-FP8", "--tp", "8", "--json")
    content = json.loads(done.stdout)
    attention = [row for row in content["kernels"] if row["op"] == "attention"]
    assert content["tp"] == 8
    assert attention[-1]["kernel"] == "cpu.attention"
    assert all(row["reasons"] for row in content["kernels"] if not row["accepted"])


def test_flag_defaults_come_from_the_environment_and_flags_win(cli: Run) -> None:
    made = json.loads(cli("plan", "GLM-4.6", "--json", "--tp", "8", GLM_ROCM_TARGET="mi300x:8", GLM_ROCM_TP="4").stdout)
    assert (made["target"]["device"], made["tp"]) == ("mi300x", 8)


def test_variable_that_no_engine_reads_is_translated_with_a_line(cli: Run) -> None:
    done = cli("plan", "pocket", "--target", "cpu", VLLM_ATTENTION_BACKEND="XFORMERS", TORCH_CUDA_ARCH_LIST="9.0+PTX")
    said = " ".join(done.stdout.split())
    assert "VLLM_ATTENTION_BACKEND=XFORMERS is read by no engine any more: translated" in said
    assert "attention runs `cpu.attention`" in said
    assert "TORCH_CUDA_ARCH_LIST=9.0+PTX is passed on" in said


@pytest.mark.parametrize("how", ["flag", "GLM_ROCM_API_KEY", "VLLM_API_KEY"])
def test_api_key_is_never_shown(cli: Run, how: str) -> None:
    flag = ["--api-key", "s3cret-key"] if how == "flag" else []
    variables = {} if how == "flag" else {how: "s3cret-key"}
    for form in ([], ["--json"]):
        done = cli("serve", "pocket", "--target", "cpu", "--dry-run", *flag, *form, **variables)
        assert done.returncode == 0
        assert "s3cret-key" not in done.stdout + done.stderr


def test_doctor_without_hooks_tells_target_packages_and_files(cli: Run) -> None:
    done = cli("doctor", "--no-hooks", "--json")
    content = json.loads(done.stdout)
    names = {finding["name"]: finding for finding in content["findings"]}
    assert done.returncode == (0 if content["healthy"] else 1)
    assert names["accelerator"]["state"] == "good"
    assert names["torch"]["found"].startswith("2.")
    assert {"vllm", "hub cache", "pocket GLM", "C compiler"} <= set(names)


@pytest.mark.parametrize("reader", ["head -c 10", "true"], ids=["in-the-middle", "before-the-first-byte"])
def test_reader_that_goes_away_is_no_error(reader: str) -> None:
    command = f"{sys.executable} -m glm_rocm.cli plan GLM-4.6 --gpus mi300x:8 --json | {reader}"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_planning_imports_no_torch_and_starts_quickly() -> None:
    code = (
        "import sys; from glm_rocm.cli import main; main(['plan', 'GLM-4.6', '--gpus', 'mi300x:8', '--json']);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    began = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    spent = os.times()
    assert done.returncode == 0, done.stderr
    # Processor time, so that a busy machine does not fail the test.
    assert spent.children_user + spent.children_system - began.children_user - began.children_system < 1.0


def test_command_to_paste_survives_a_shell() -> None:
    argv = ["vllm", "serve", "my model", "--speculative-config", '{"method": "mtp"}', "--enforce-eager"]
    text = command_to_paste(argv, {"GLM_ROCM_PLAN": "a b.json", "VLLM_API_KEY": "s3cret-key"})
    assert "s3cret-key" not in text
    show = 'vllm() { for word in "$@"; do printf "%s|" "$word"; done; echo "$GLM_ROCM_PLAN"; }; '
    done = subprocess.run(["bash", "-c", show + text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'serve|my model|--speculative-config|{"method": "mtp"}|--enforce-eager|a b.json'
