"""Run an engine as a supervised child: ready only when a completion succeeds, drained on SIGTERM, never left behind.

Nothing here prints. What happens is handed to a callback as an event.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from glm_rocm.errors import EngineError
from glm_rocm.serve import guard
from glm_rocm.serve.endpoint import Answer, Refusal, complete, healthy_workers
from glm_rocm.serve.events import Event, Line, Phase, Ready, Started, Stopped, Stopping
from glm_rocm.serve.launch import Launch, check_port
from glm_rocm.serve.log import EngineLog
from glm_rocm.serve.postmortem import last_error

_TICK_S = 0.1
_KEPT_LINES = 2000
_WORKERS_S = 2.0
"""Between two looks at a router that does not count all of its servers yet: it logs each as an error."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """One run of one engine. `run()` blocks in the main thread until a signal stops it or the engine dies."""

    def __init__(self, launch: Launch, report: Callable[[Event], None]) -> None:
        self.launch = launch
        self.report = report
        self.signals: list[int] = []
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.kept: deque[str] = deque(maxlen=_KEPT_LINES)
        self.phases = list(launch.phases)
        self.answer: Answer | Refusal | None = None

    def run(self) -> None:
        """Start, wait until ready, watch, stop. Returns after an asked-for stop; nothing is left running in any case.

        Raises:
            UsageError: the port is taken; the engine was not started.
            EngineError: the engine did not start, refuses requests, or died; with its last error line.
        """
        check_port(self.launch.endpoint.host, self.launch.endpoint.port)
        with self._signals_counted(), self._guarded_engine() as process:
            probing = threading.Thread(target=self._probe, args=(process,), daemon=True)
            probing.start()
            self._wait_until_ready(process)
            while not self.signals:
                self._tick(process)
            self._drain(process)

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        deadline = self.started + self.launch.limits.start
        while self.answer is None and not self.signals:
            self._tick(process)
            if time.monotonic() > deadline:
                raise EngineError(
                    f"`{self.launch.engine}` answered no request within {self.launch.limits.start:.0f} s; "
                    f"its last line: `{self._last_line()}`",
                    hint=f"read `{self.launch.log}`, or allow more with `--start-timeout`",
                )
        if isinstance(self.answer, Refusal):
            raise EngineError(
                f"`{self.launch.engine}` is up and refuses a completion request: {self.answer.reason}",
                hint=f"read `{self.launch.log}`; a key is given by `GLM_ROCM_API_KEY`, a name by `--served-model-name`",
            )
        if self.answer is not None:
            self.phases.clear()
            self.report(Ready(self._age()))

    def _drain(self, process: subprocess.Popen[str]) -> None:
        began = time.monotonic()
        ready = isinstance(self.answer, Answer)
        self.report(Stopping(signal.Signals(self.signals[0]).name, self.launch.limits.drain if ready else 0.0))
        process.terminate()
        while process.poll() is None:
            # An engine that is still starting has nothing to drain, and vLLM 0.32 loses a SIGTERM that comes then.
            if not ready or len(self.signals) > 1:
                process.send_signal(signal.SIGQUIT)
            self._take_lines()
            time.sleep(_TICK_S)
        self._take_last_lines()
        self.report(Stopped(time.monotonic() - began))

    def _tick(self, process: subprocess.Popen[str]) -> None:
        """Wait a moment, hand on what the engine said, and raise when it is gone."""
        try:
            code = process.wait(_TICK_S)
        except subprocess.TimeoutExpired:
            self._take_lines()
            return
        self._take_last_lines()
        if self.signals:
            return
        cause = last_error(self.kept)
        raise EngineError(
            f"`{self.launch.engine}` ended with exit status {code} after {self._age():.0f} s: {cause.sentence}",
            hint=cause.hint or f"read `{self.launch.log}`; check the installation with `glm-rocm doctor`",
        )

    def _take_lines(self) -> None:
        while not self.lines.empty():
            text = self.lines.get()
            self.kept.append(text)
            self.report(Line(text))
            for position, (mark, name) in enumerate(self.phases):
                if mark in text:
                    del self.phases[: position + 1]
                    self.report(Phase(name, self._age()))
                    break

    def _take_last_lines(self) -> None:
        self.reader.join(timeout=2)
        self._take_lines()

    def _probe(self, process: subprocess.Popen[str]) -> None:
        endpoint, limits, workers = self.launch.endpoint, self.launch.limits, self.launch.workers
        while process.poll() is None and self.answer is None:
            if workers and healthy_workers(endpoint, timeout=limits.probe) < workers:
                time.sleep(_WORKERS_S)
                continue
            self.answer = complete(endpoint, timeout=limits.probe)
            time.sleep(0.5)

    def _age(self) -> float:
        return time.monotonic() - self.started

    def _last_line(self) -> str:
        return self.kept[-1] if self.kept else "none"

    @contextmanager
    def _guarded_engine(self) -> Iterator[subprocess.Popen[str]]:
        """The guard with the engine below it; gone, with all that descends from it, when the block is left."""
        launch = self.launch
        log = EngineLog(launch.log)
        watched, held = os.pipe()
        patience = launch.limits.drain + launch.limits.grace
        command = [sys.executable, "-I", guard.__file__, str(watched), str(patience), "--", *launch.command]
        try:
            process = subprocess.Popen(
                command,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[watched],
                start_new_session=True,  # a terminal's Ctrl-C reaches this process alone, which then drains
                encoding="utf-8",
                errors="replace",
            )
        finally:
            os.close(watched)
        self.started = time.monotonic()
        self.reader = threading.Thread(target=self._read, args=(process, log), daemon=True)
        self.reader.start()
        try:
            self.report(Started(process.pid, launch.log))
            yield process
        finally:
            os.close(held)
            self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            process.wait()
        # The guard leaves nothing behind unless it was killed itself: then its session holds what is left.
        guard.end(guard.session_members(process.pid), signal.SIGKILL)
        self.reader.join(timeout=2)

    def _read(self, process: subprocess.Popen[str], log: EngineLog) -> None:
        assert process.stdout is not None
        with process.stdout, closing(log):
            for text in process.stdout:
                log.write(text)
                self.lines.put(text.rstrip())

    @contextmanager
    def _signals_counted(self) -> Iterator[None]:
        def count(signum: int, frame: object) -> None:
            self.signals.append(signum)

        # One that is ignored stays ignored: `nohup` and shells' background jobs mean it.
        heeded = [number for number in _STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, count) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
