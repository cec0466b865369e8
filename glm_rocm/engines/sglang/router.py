"""`python -m glm_rocm.engines.sglang.router ...`: sglang_router with its own command line, and nothing of SGLang.

The router itself is a compiled library. Its own launcher imports SGLang, and with it torch, for the traces of a
stand-in that is written in Python (sglang-router 0.3.2): half a minute and as much memory as a server for nothing.

The key that requests must have comes from the environment, as it does for the servers. Whoever reaches a router may add
servers to it and take others out, unless a key is set for that too: the servers of a group never change, so it gets one
that nobody is told.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys

from glm_rocm.engines.sglang.command import KEY_VARIABLE

KEEPER = "group"


def main(arguments: list[str]) -> int:
    """Route until SIGTERM, which lets what is in flight end."""
    from sglang_router.router import Router
    from sglang_router.router_args import RouterArgs

    parser = argparse.ArgumentParser(prog="router", allow_abbrev=False)
    RouterArgs.add_cli_args(parser, use_router_prefix=False)
    options = RouterArgs.from_cli_args(parser.parse_args(arguments), use_router_prefix=False)
    options.api_key = os.environ.get(KEY_VARIABLE)
    options.control_plane_api_keys = [(KEEPER, KEEPER, secrets.token_hex(32), "admin")]
    Router.from_args(options).start()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
