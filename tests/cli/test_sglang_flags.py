"""The SGLang commands of GLM's README as words of `serve`: planned, passed on or refused."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable

import pytest

from glm_rocm.engines.sglang.flags import translate
from glm_rocm.errors import UsageError
from glm_rocm.plan import Plan

Run = Callable[..., "subprocess.CompletedProcess[str]"]

EAGLE = shlex.split("""
--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4
""")
README_4_5 = [
    *shlex.split("--model-path zai-org/GLM-4.5-Air --tp-size 8 --tool-call-parser glm45 --reasoning-parser glm45"),
    *EAGLE,
    *shlex.split("--mem-fraction-static 0.7 --served-model-name glm-4.5-air --host 0.0.0.0 --port 8000"),
]


def test_the_readmes_command_lands_in_the_plan(cli: Run) -> None:
    done = cli("serve", *README_4_5, "--target", "mi300x:8", "--dry-run", "--json", "--engine", "vllm")
    assert done.stderr == ""
    made = Plan.from_json(done.stdout)
    assert (made.model.name, made.tp, made.mtp, made.memory_fraction) == ("zai-org/GLM-4.5-Air", 8, 3, 0.7)
    told = json.loads(done.stdout)["notes"]
    assert [note for note in told if "`--tp-size 8` is `--tp 8`" in note and "is `--mtp 3`" in note]
    assert [note for note in told if "`--tool-call-parser glm45` is called `--tool-call-parser glm`" in note]


def test_a_flag_and_its_value_may_be_one_word() -> None:
    assert translate(["serve", "--tp-size=4"]).words == ("serve", "--tp", "4")


def test_words_without_a_flag_of_sglang_are_left_alone() -> None:
    words = ("serve", "pocket", "--host", "0.0.0.0", "--mtp", "1", "--json")
    made = translate(words)
    assert (made.words, made.engine, made.notes) == (words, (), ())


def test_the_model_comes_before_every_flag() -> None:
    assert translate(["serve", "--host", "::1", "--model-path", "pocket"]).words[:2] == ("serve", "pocket")


def test_drafting_without_numbers_is_the_readmes() -> None:
    assert translate(["serve", "--speculative-algorithm", "NEXTN"]).words == ("serve", "--mtp", "3")


def test_renamed_flags_are_passed_on_under_their_new_names_and_told() -> None:
    made = translate(["serve", "--cuda-graph-max-bs", "64", "--disable-cuda-graph", "--disable-shared-experts-fusion"])
    assert made.engine == (
        "--cuda-graph-max-bs-decode=64",
        "--cuda-graph-backend-decode=disabled",
        "--disable-shared-experts-fusion",
    )
    assert len(made.notes) == 2


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--tp-size"], "`--tp-size` without a value"),
        (["--tp-size", "--json"], "`--tp-size` without a value"),
        (["--tp-size", "4", "--tp", "8"], "`--tp-size` and `--tp` together"),
        ([*EAGLE, "--mtp=1"], "and `--mtp` together"),
        (["--speculative-num-steps", "3"], "without an algorithm"),
        (["--speculative-algorithm", "NGRAM"], "`--speculative-algorithm NGRAM`"),
        (["--speculative-algorithm", "EAGLE", "--speculative-eagle-topk", "4"], "`--speculative-eagle-topk 4`"),
        (
            ["--speculative-algorithm", "EAGLE", "--speculative-num-draft-tokens", "9"],
            "`--speculative-num-draft-tokens 9`",
        ),
        (["--speculative-algorithm", "EAGLE", "--speculative-num-steps", "three"], "`--speculative-num-steps three`"),
        (["--tool-call-parser", "qwen25"], "`--tool-call-parser qwen25`"),
        (["--reasoning-parser", "deepseek-r1"], "`--reasoning-parser deepseek-r1`"),
        (["--disaggregation-mode", "prefill"], "`--disaggregation-mode prefill`"),
        (["--base-gpu-id", "4"], "`--base-gpu-id 4`"),
        (["--enable-ep-moe"], "which SGLang has dropped"),
    ],
    ids=" ".join,
)
def test_what_means_nothing_for_glm_is_refused_with_the_cure(words: list[str], found: str) -> None:
    with pytest.raises(UsageError) as refused:
        translate(["serve", *words])
    assert found in refused.value.sentence
    assert refused.value.hint


def test_sglangs_own_flags_are_not_for_another_engine(refuses: Run) -> None:
    done = refuses("serve", "pocket", "--engine", "vllm", "--disable-shared-experts-fusion", "--dry-run")
    assert "`--disable-shared-experts-fusion`, a flag of SGLang, for `vllm`" in done.stderr


def test_a_parser_for_another_layout_than_the_models_is_refused(refuses: Run) -> None:
    words = ("serve", "GLM-4.7", "--tool-call-parser", "glm45", "--target", "mi300x:8", "--dry-run")
    assert "a tool-call parser for the layout of `glm45`; `glm47`, in which" in refuses(*words).stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--disaggregate", "prefill=1"], "at least one server of each"),
        (["--disaggregate", "prefill=1,decode=1", "--engine", "vllm"], "with engine `vllm`"),
        (["--disaggregate", "prefill=1,decode=1", "--target", "h100:1"], "a device or more for each"),
        (["--disaggregate", "prefill=1,decode=1", "--port", "65534"], "all of them below 65536"),
        (["--disaggregate", "prefill=1,decode=1", "--", "--base-gpu-id", "2"], "`--base-gpu-id` with `--disaggregate`"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_group_that_cannot_be_is_refused(refuses: Run, words: list[str], found: str) -> None:
    flags = ["--dry-run", *([] if "--engine" in words else ["--engine", "sglang"])]
    assert found in refuses("serve", "pocket", *flags, *words).stderr


def test_a_group_on_gpus_splits_them_as_the_readme_does(cli: Run) -> None:
    words = "serve GLM-4.5-Air --engine sglang --gpus h100:8 --disaggregate prefill=1,decode=1 --dry-run"
    done = cli(*words.split(), "--disaggregation-ib-device", "mlx5_0")
    assert done.stderr == ""
    prefill, decode, router = done.stdout.split("command of the ")[1:]
    assert "--disaggregation-mode prefill --base-gpu-id 0" in " ".join(prefill.split())
    assert "--disaggregation-mode decode --base-gpu-id 4" in " ".join(decode.split())
    assert all(
        "--tp-size 4" in server and "--disaggregation-ib-device=mlx5_0" in server for server in (prefill, decode)
    )
    assert "--prefill http://127.0.0.1:8001 8002 --decode http://127.0.0.1:8003" in router.replace(" \\\n    ", " ")
