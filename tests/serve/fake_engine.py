"""A small HTTP server with the outer manners of a serving engine, and with each of their bad habits on request."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--start-delay", type=float, default=0.0)
    parser.add_argument("--say", action="append", default=[])
    parser.add_argument("--exit-with", type=int, help="end before listening")
    parser.add_argument("--die-after", type=float, help="end this long after the first answer")
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--busy", type=int, default=0, help="answer 503 to this many requests first")
    parser.add_argument("--request-takes", type=float, default=0.0, help="for prompts longer than one character")
    parser.add_argument("--never-answer", action="store_true")
    parser.add_argument("--workers-after", type=float, help="as a router: count two workers so long after the start")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument(
        "--worker-pids", type=Path, help="start two workers that ignore SIGTERM, one in its own session"
    )
    return parser.parse_args()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        late = time.monotonic() - began < (options.workers_after or 0)
        self.reply(503 if late else 200, {"status": "ready", "healthy_workers": 1 if late else 2})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = os.environ.get("VLLM_API_KEY")
        if options.never_answer:
            time.sleep(600)
        if options.busy > 0:
            options.busy -= 1
            self.reply(503, {"error": {"message": "loading"}})
        elif key and self.headers.get("Authorization") != f"Bearer {key}":
            self.reply(401, {"error": "Unauthorized"})
        elif options.status != 200:
            self.reply(options.status, {"error": {"message": f"the model `{body['model']}` does not exist"}})
        else:
            print(f"asked {time.monotonic() - began:.1f} s after the start", flush=True)
            if len(body["prompt"]) > 1:
                print("request began", flush=True)
                time.sleep(options.request_takes)
            self.reply(200, {"choices": [{"text": body["prompt"].upper()}]})
            if options.die_after is not None:
                threading.Timer(options.die_after, die).start()

    def reply(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def die() -> None:
    print("RuntimeError: HIP error: out of memory", flush=True)
    os._exit(7)


options = arguments()
began = time.monotonic()
if options.worker_pids:
    workers = [subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=own) for own in (False, True)]
    options.worker_pids.write_text(" ".join(str(worker.pid) for worker in workers))
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a real engine may lose it while it starts
for line in options.say:
    print(line, flush=True)
time.sleep(options.start_delay)
if options.exit_with is not None:
    sys.exit(options.exit_with)
server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
server.daemon_threads = False  # server_close() then waits for the requests in flight
signal.signal(
    signal.SIGTERM,
    signal.SIG_IGN if options.ignore_sigterm else lambda *_: threading.Thread(target=server.shutdown).start(),
)
server.serve_forever(poll_interval=0.05)
server.server_close()
print("engine left in order", flush=True)
