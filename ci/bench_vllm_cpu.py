"""Our kernels against vLLM's own on this CPU: two servers, the same load by turns, the ratio of the times.

    python ci/bench_vllm_cpu.py [--model DIR] [--alone DIR] [--rounds 3] [--limit 1.5]

Both servers run vLLM with the same arguments and environment; one has a plan, the other none. vLLM alone refuses FP8 on
a CPU: `--model FP8 --alone BF16` then compares our FP8 with the checkpoint that it does serve. The load is `vllm bench
serve` with random prompts, each round with a seed of its own, so that no cache of an earlier round helps. A round goes
to one server and then to the other, in turning order. Of several rounds the least counts, since what else the machine
does only adds; the servers' own CPU seconds are shown beside it, which such things hardly touch. Exit code 1 where the
quotient of the times exceeds the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from glm_rocm.engines import get_engine
from glm_rocm.engines.base import ServeOptions
from glm_rocm.engines.vllm.command import LAUNCHER
from glm_rocm.plan import Plan, make_plan
from glm_rocm.pocket import checkpoint_path
from glm_rocm.target import parse_target

NAME = "bench"
METRICS = {
    "duration": "seconds in all",
    "mean_ttft_ms": "ms to the first token",
    "mean_tpot_ms": "ms per later token",
    "cpu": "CPU seconds of the server",
}
START_SECONDS = 900


@dataclass(frozen=True)
class Load:
    """One shape of traffic."""

    concurrency: int
    requests: int
    prompt: int
    answer: int

    def __str__(self) -> str:
        return f"{self.requests} requests of {self.prompt}+{self.answer} tokens, {self.concurrency} at once"


LOADS = (Load(1, 6, 128, 48), Load(8, 24, 256, 32))


class Server:
    """A vLLM server in a process group of its own."""

    def __init__(self, label: str, plan: Plan, options: ServeOptions, log: Path) -> None:
        engine = get_engine("vllm")
        self.label = label
        self.options = options
        self.log = log
        environment = {name: value for name, value in os.environ.items() if name != "GLM_ROCM_PLAN"}
        self.process = subprocess.Popen(
            engine.command(plan, options),
            env=environment | engine.environment(plan, options),
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.options.port}"

    def cpu_seconds(self) -> float:
        """CPU time of all processes of the group so far."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            if int(fields[2]) == self.process.pid:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def wait(self) -> None:
        """Until a completion succeeds."""
        body = json.dumps({"model": NAME, "prompt": "a", "max_tokens": 64, "ignore_eos": True}).encode()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"error: the server `{self.label}` ended\n\nhint: see {self.log}")
            try:
                request = urllib.request.Request(
                    f"{self.url}/v1/completions", body, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request, timeout=60):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.3)
        sys.exit(f"error: the server `{self.label}` was not ready after {START_SECONDS} s\n\nhint: see {self.log}")

    def stop(self) -> None:
        """End the whole group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def measure(self, model: str, load: Load, seed: int, folder: Path) -> dict[str, float]:
        """One run of `vllm bench serve`."""
        result = folder / f"{self.label}-{load.concurrency}-{seed}.json"
        command = [
            *(sys.executable, "-m", LAUNCHER, "bench", "serve", "--backend", "openai"),
            *("--base-url", self.url, "--model", NAME, "--tokenizer", model),
            *("--dataset-name", "random", "--ignore-eos", "--temperature", "0", "--seed", str(seed)),
            *("--random-input-len", str(load.prompt), "--random-output-len", str(load.answer)),
            *("--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)),
            *("--save-result", "--result-filename", str(result), "--disable-tqdm"),
        ]
        quiet = {name: value for name, value in os.environ.items() if name != "GLM_ROCM_PLAN"}
        before = self.cpu_seconds()
        done = subprocess.run(command, env=quiet | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(
                f"error: `vllm bench serve` failed: {done.stderr.strip().splitlines()[-1:]}\n\nhint: see {self.log}"
            )
        measured = json.loads(result.read_text())
        if measured["completed"] != load.requests:
            sys.exit(f"error: {measured['completed']} of {load.requests} requests succeeded\n\nhint: see {self.log}")
        measured["cpu"] = self.cpu_seconds() - before
        return {metric: float(measured[metric]) for metric in METRICS}


def compare(servers: list[Server], model: str, load: Load, rounds: int, folder: Path) -> float:
    """Measure one load by turns, print the least values and their ratios, and give the ratio of the durations."""
    measured: dict[str, list[dict[str, float]]] = {server.label: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 else servers[::-1]:
            measured[server.label].append(server.measure(model, load, 1 + number, folder))
    print(load)
    ratios = {}
    for metric, meaning in METRICS.items():
        stock, ours = (min(run[metric] for run in measured[server.label]) for server in servers)
        ratios[metric] = ours / stock
        print(f"  {meaning:>25}  vLLM {stock:9.2f}   ours {ours:9.2f}   ratio {ratios[metric]:.2f}")
    return ratios["duration"]


def plan_of(model: str) -> Plan:
    """The plan of either server on this CPU."""
    engine = get_engine("vllm")
    return make_plan(model, parse_target("cpu"), engine="vllm", ops=engine.ops, context=1024, max_seqs=16)


def main() -> int:
    """Start both servers, measure, compare, stop both."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--model", default=str(checkpoint_path()), help="checkpoint folder (the pocket GLM)")
    ask.add_argument("--alone", help="checkpoint folder that vLLM alone serves, where it refuses --model")
    ask.add_argument("--rounds", type=int, default=3)
    ask.add_argument("--limit", type=float, default=1.5, help="largest ratio of times that is good enough")
    ask.add_argument("--port", type=int, default=18160, help="first of two ports")
    ask.add_argument("--compiled", action="store_true", help="let vLLM alone compile its model (minutes at start)")
    asked = ask.parse_args()

    plan = plan_of(asked.model)
    before = plan_of(asked.alone) if asked.alone else plan
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # ends the servers on its way
    with tempfile.TemporaryDirectory(prefix="glm-rocm-bench-") as name:
        folder = Path(name)
        (folder / "plan.json").write_text(plan.to_json(), encoding="utf-8")
        alone = ServeOptions(port=asked.port, served_name=NAME, extra=("--no-enforce-eager",) * asked.compiled)
        ours = ServeOptions(port=asked.port + 1, served_name=NAME, plan_file=str(folder / "plan.json"))
        servers: list[Server] = []
        try:
            for label, planned, options in (("vllm", before, alone), ("ours", plan, ours)):
                log = Path(tempfile.gettempdir()) / f"glm-rocm-bench-{label}.log"
                servers.append(Server(label, planned, options, log))
                servers[-1].wait()
            worst = max(compare(servers, asked.model, load, asked.rounds, folder) for load in LOADS)
        finally:
            for server in servers:
                server.stop()
    print(f"worst ratio {worst:.2f}, limit {asked.limit}")
    return 0 if worst <= asked.limit else 1


if __name__ == "__main__":
    sys.exit(main())
