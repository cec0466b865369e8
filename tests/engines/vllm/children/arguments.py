"""Read a command line as `vllm serve` does."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
validate_parsed_serve_args(arguments)
plain = {name: value for name, value in vars(arguments).items() if isinstance(value, (str, int, float, bool))}
print("RESULT " + json.dumps(plain))
