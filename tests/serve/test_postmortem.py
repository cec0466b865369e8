"""Which line of a dead engine's output is told to the person."""

from __future__ import annotations

from glm_rocm.serve.postmortem import Cause, last_error

VLLM_DIES = """\
(APIServer pid=11) INFO 11-24 08:00:00 [api_server.py:10] vLLM API server version 0.32.0
(EngineCore pid=12) ERROR 11-24 08:00:01 [core.py:99] EngineCore failed to start.
(EngineCore pid=12) ERROR 11-24 08:00:01 [core.py:99] Traceback (most recent call last):
(EngineCore pid=12) ERROR 11-24 08:00:01 [core.py:99]   File "fp8.py", line 3, in select
(EngineCore pid=12) ERROR 11-24 08:00:01 [core.py:99] ValueError: Unsupported FP8 MoE backend: NONE
(APIServer pid=11) Traceback (most recent call last):
(APIServer pid=11)   File "x.py", line 1
(APIServer pid=11) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
nanobind: leaked 3 instances!
"""


def test_the_cause_is_told_and_not_its_echo_in_the_outer_process() -> None:
    assert last_error(VLLM_DIES.splitlines()).sentence == "`ValueError: Unsupported FP8 MoE backend: NONE`"


CORE_KILLED = """\
(APIServer pid=11) ERROR 11-24 09:41:38 [async_llm.py:906] AsyncLLM output_handler failed.
(APIServer pid=11) ERROR 11-24 09:41:38 [async_llm.py] vllm.v1.engine.exceptions.EngineDeadError: EngineCore has died.
INFO:     Finished server process [11]
 - leaked function "get_operand"
lib/python3.11/multiprocessing/resource_tracker.py:254: UserWarning: resource_tracker: There appear to be 1 leaked
  warnings.warn('resource_tracker: There appear to be %d '
"""


def test_an_echo_is_told_where_it_is_all_there_is() -> None:
    assert last_error(CORE_KILLED.splitlines()).sentence.endswith("EngineDeadError: EngineCore has died.`")


def test_our_own_error_and_hint_go_before_everything_that_follows() -> None:
    lines = [
        "error: vLLM 0.31.0; vLLM ==0.32.* is required",
        "",
        "hint: pip install vllm==0.32.0",
        *VLLM_DIES.splitlines(),
    ]
    assert last_error(lines) == Cause("vLLM 0.31.0; vLLM ==0.32.* is required", "pip install vllm==0.32.0")


def test_argument_errors_of_the_engine_are_found() -> None:
    lines = ["usage: vllm serve [options]", "vllm serve: error: unrecognized arguments: --bogus"]
    assert last_error(lines).sentence == "`vllm serve: error: unrecognized arguments: --bogus`"


def test_dotted_exception_without_message() -> None:
    assert last_error(["torch.cuda.OutOfMemoryError", "bye"]).sentence == "`torch.cuda.OutOfMemoryError`"


def test_without_an_error_the_last_words_are_quoted() -> None:
    assert (
        last_error(["loading", "", "loaded 3 of 9 shards", "  "]).sentence == "its last line is `loaded 3 of 9 shards`"
    )


def test_silence() -> None:
    assert last_error([]) == Cause("it printed nothing", is_error=False)


def test_prose_that_mentions_an_error_class_is_not_a_cause() -> None:
    lines = ["RuntimeError: out of memory", "INFO please see ValueError: docs"]
    assert last_error(lines).sentence == "`RuntimeError: out of memory`"


def test_a_line_of_a_megabyte_is_cut() -> None:
    assert len(last_error(["ValueError: " + "x" * 1_000_000]).sentence) < 400


def test_a_child_that_the_machine_killed_is_told_with_the_likely_reason() -> None:
    lines = [
        "[2026-11-24 17:05:54] Subprocess scheduler_0 (pid=26506) crashed with exit code -9. Triggering SIGQUIT",
        "[2026-11-24 17:05:59] kill_process_tree called: parent_pid=25220, include_parent=True, pid=25220",
    ]
    cause = last_error(lines)
    assert cause.sentence.startswith("`Subprocess scheduler_0 (pid=26506) crashed with exit code -9.")
    assert "memory may have run out" in cause.hint
