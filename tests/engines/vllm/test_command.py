"""The command line and the environment that a plan becomes."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import pytest

from glm_rocm.engines import get_engine
from glm_rocm.engines.base import ServeOptions
from glm_rocm.plan import Plan
from glm_rocm.pocket import checkpoint_path

Make = Callable[..., Plan]
ENGINE = get_engine("vllm")
WITH_PLAN = ServeOptions(plan_file="/run/plan.json")


def flags(argv: list[str]) -> dict[str, str | None]:
    """`--name value` pairs; None where no value follows."""
    pairs = zip(argv, [*argv[1:], "--"], strict=True)
    return {name: None if value.startswith("--") else value for name, value in pairs if name.startswith("--")}


def test_the_pocket_glm_on_a_cpu_is_served_by_the_readme_command(make: Make) -> None:
    argv = ENGINE.command(make(mtp=1, context=2048, max_seqs=4), ServeOptions(port=18150))
    assert argv[:5] == [sys.executable, "-m", "glm_rocm.engines.vllm.launcher", "serve", str(checkpoint_path())]
    found = flags(argv)
    assert found["--tool-call-parser"] == "glm45"
    assert found["--reasoning-parser"] == "glm45"
    assert "--enable-auto-tool-choice" in found
    assert "--enforce-eager" in found
    assert found["--host"] == "127.0.0.1"
    assert found["--port"] == "18150"
    assert found["--max-model-len"] == "2048"
    assert found["--max-num-seqs"] == "4"
    assert json.loads(found["--speculative-config"] or "") == {"method": "mtp", "num_speculative_tokens": 1}


def test_the_cache_on_a_cpu_holds_every_request_in_whole_pages(make: Make) -> None:
    plan = make(context=1000, max_seqs=3)
    page = int(flags(ENGINE.command(plan))["--block-size"] or 0)
    given = int(flags(ENGINE.command(plan))["--kv-cache-memory-bytes"] or 0)
    pages = 3 * -(-1000 // page) + 1  # and the one that vLLM keeps empty
    assert given >= pages * page * plan.fit.kv_per_token


@pytest.mark.parametrize(("model", "parser"), [("GLM-4.5-Air", "glm45"), ("GLM-4.6", "glm45"), ("GLM-4.7", "glm47")])
def test_each_release_is_read_by_the_parser_of_its_call_layout(make: Make, model: str, parser: str) -> None:
    found = flags(ENGINE.command(make(f"zai-org/{model}", target="mi300x:8")))
    assert found["--tool-call-parser"] == parser
    assert found["--reasoning-parser"] == "glm45"
    assert found["--tensor-parallel-size"] == "8"


def test_our_attention_is_named_on_a_gpu_with_a_plan_and_not_without(make: Make) -> None:
    plan = make("zai-org/GLM-4.6", target="mi300x:8")
    assert flags(ENGINE.command(plan, WITH_PLAN))["--attention-backend"] == "CUSTOM"
    assert "--attention-backend" not in flags(ENGINE.command(plan))


def test_weights_that_do_not_fit_go_to_host_memory(make: Make) -> None:
    plan = make("zai-org/GLM-4.5", target="h100:8", context=32768, max_seqs=1)
    assert plan.cpu_offload_gib > 0
    assert flags(ENGINE.command(plan))["--cpu-offload-gb"] == str(plan.cpu_offload_gib)


def test_an_fp8_cache_is_asked_for_by_its_flag(make: Make) -> None:
    assert flags(ENGINE.command(make(kv_cache="fp8")))["--kv-cache-dtype"] == "fp8"
    assert "--kv-cache-dtype" not in flags(ENGINE.command(make()))


def test_the_api_key_is_in_the_environment_and_in_no_command_line(make: Make) -> None:
    options = ServeOptions(api_key="s3cret-key")
    assert "s3cret-key" not in shlex.join(ENGINE.command(make(), options))
    assert ENGINE.environment(make(), options)["VLLM_API_KEY"] == "s3cret-key"
    assert "s3cret-key" not in repr(options)


def test_extra_arguments_come_last_so_that_they_win(make: Make) -> None:
    assert ENGINE.command(make(), ServeOptions(extra=("--max-num-seqs", "2")))[-2:] == ["--max-num-seqs", "2"]


def test_without_a_plan_file_the_engine_runs_its_own_kernels(make: Make) -> None:
    assert "GLM_ROCM_PLAN" not in ENGINE.environment(make())
    assert ENGINE.environment(make(), WITH_PLAN)["GLM_ROCM_PLAN"] == "/run/plan.json"


def test_an_allow_list_of_plugins_still_admits_ours(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_PLUGINS", "lora_resolver")
    assert ENGINE.environment(make(), WITH_PLAN)["VLLM_PLUGINS"] == "lora_resolver,glm_rocm"
    monkeypatch.setenv("VLLM_PLUGINS", "glm_rocm")
    assert "VLLM_PLUGINS" not in ENGINE.environment(make(), WITH_PLAN)


def test_a_small_machine_leaves_a_cpu_to_the_api_server(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    added = ENGINE.environment(make())
    assert added["OMP_NUM_THREADS"] == "7"
    assert added["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_a_large_machine_is_bound_by_vllm_itself(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)))
    assert not {"OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING"} & ENGINE.environment(make()).keys()


def test_a_thread_count_that_the_user_set_is_kept(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert ENGINE.environment(make())["OMP_NUM_THREADS"] == "2"


@pytest.mark.slow
def test_vllm_knows_every_flag_that_we_give_it(make: Make, child: Callable[..., Any]) -> None:
    for plan in (make(mtp=1, kv_cache="fp8"), make("zai-org/GLM-4.5", target="h100:8", context=32768, max_seqs=1)):
        argv = ENGINE.command(plan, WITH_PLAN)
        understood = child("arguments", *argv[argv.index("serve") + 1 :])
        assert understood["max_model_len"] == plan.context
        assert understood["enforce_eager"] is ("--enforce-eager" in argv)
