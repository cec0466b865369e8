"""Children: vLLM is imported in processes of its own, since it changes the one that it is in (environment, torch)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glm_rocm.engines.base import PLAN_VARIABLE
from glm_rocm.plan import Plan, make_plan
from glm_rocm.pocket import checkpoint_path
from glm_rocm.target import parse_target

CHILDREN = Path(__file__).with_name("children")
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
}
RESULT = "RESULT "
"""What a child prints before the JSON that it answers with; vLLM writes to the same streams."""

Run = Callable[..., subprocess.CompletedProcess[str]]
Child = Callable[..., Any]


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a Python process: `run("-c", "...", plan=PATH, env={...}, stdin=TEXT)`."""

    def run_python(
        *arguments: str, plan: Path | None = None, env: dict[str, str] | None = None, stdin: str | None = None
    ) -> Any:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("VLLM_", "GLM_ROCM_"))}
        environment |= ENVIRONMENT | ({PLAN_VARIABLE: str(plan)} if plan else {}) | (env or {})
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    return run_python


@pytest.fixture(scope="session")
def child(run: Run) -> Child:
    """Run `children/NAME.py` and return what it answers; a child that fails fails the test with what it said."""

    def run_child(name: str, *arguments: str, **options: Any) -> Any:
        done = run(str(CHILDREN / f"{name}.py"), *arguments, **options)
        answers = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads(answers[-1].removeprefix(RESULT))

    return run_child


@pytest.fixture(scope="session")
def plan_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the plan of a model to a file: `plan_for(model, target="cpu", dtype="float32", mtp=1)`."""

    def write(model: str | None = None, *, target: str = "cpu", **wishes: Any) -> Path:
        path = tmp_path_factory.mktemp("plan") / "plan.json"
        path.write_text(planned(model, target=target, **wishes).to_json(), encoding="utf-8")
        return path

    return write


def planned(model: str | None = None, *, target: str = "cpu", **wishes: Any) -> Plan:
    """A plan for vLLM; the pocket GLM unless a model is named."""
    from glm_rocm.engines import get_engine

    engine = get_engine("vllm")
    return make_plan(model or str(checkpoint_path()), parse_target(target), engine="vllm", ops=engine.ops, **wishes)


@pytest.fixture(scope="session")
def make() -> Callable[..., Plan]:
    """`planned`, for tests that want the plan itself."""
    return planned
