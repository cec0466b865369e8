"""The table of GLM's SGLang flags against the argument parsers that are installed."""

from __future__ import annotations

import argparse
from functools import cache

import pytest

from glm_rocm.engines.sglang.flags import FLAGS, ROUTER_FLAGS, Flag, translate


@cache
def servers_parser() -> argparse.ArgumentParser:
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser(allow_abbrev=False)
    ServerArgs.add_cli_args(parser)
    return parser


@cache
def routers_parser() -> argparse.ArgumentParser:
    from sglang_router.router_args import RouterArgs

    parser = argparse.ArgumentParser(allow_abbrev=False)
    RouterArgs.add_cli_args(parser, use_router_prefix=False)
    return parser


def names(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_what_the_server_is_said_to_have_it_has(flag: Flag) -> None:
    now = flag.now.partition("=")[0]
    assert (now in names(servers_parser())) == (flag.fate != "dropped")
    if flag.fate == "dropped":
        assert flag.name not in names(servers_parser())


@pytest.mark.parametrize("flag", ROUTER_FLAGS, ids=lambda flag: flag.name)
def test_what_the_router_is_said_to_have_it_has(flag: Flag) -> None:
    assert flag.now in names(routers_parser())


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.effect == "pass"], ids=lambda flag: flag.name)
def test_the_server_parses_what_is_passed_on_to_it(flag: Flag) -> None:
    words = [flag.name, *flag.values[:1]]
    passed = translate(["serve", *words]).engine
    servers_parser().parse_args(["--model-path", "x", *passed])


@pytest.mark.parametrize(
    "flag", [flag for flag in FLAGS if flag.effect not in ("pass", "refuse")], ids=lambda f: f.name
)
def test_the_server_takes_the_readmes_values_as_well(flag: Flag) -> None:
    for value in flag.values:
        servers_parser().parse_args(["--model-path", "x", flag.now, value])


def test_the_layouts_that_the_plan_names_are_parsers_of_the_server() -> None:
    parser = next(action for action in servers_parser()._actions if "--tool-call-parser" in action.option_strings)
    assert {"glm", "glm45", "glm47"} <= set(parser.choices or ())
