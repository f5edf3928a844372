"""The command line: `hpcompat convert`, `hpcompat show` and `hpcompat versions`, also as `python -m hpcompat`.

    hpcompat convert sweep.yaml --to optuna -o space.py
    hpcompat show sweep.yaml

The result goes to the standard output, everything else to the standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import ChainMap
from collections.abc import Sequence
from typing import Any

from hpcompat import __version__, translators
from hpcompat.cli.commands import convert, show, show_versions
from hpcompat.cli.inputs import InputNotFoundError
from hpcompat.errors import HpcompatError
from hpcompat.translators import wandb
from hpcompat.translators.dialect import BUILT_IN, DIALECTS
from hpcompat.translators.ray import forms as ray

SUCCESS, INVALID_SPACE, INVALID_USAGE, INTERRUPTED, OUTPUT_CLOSED = 0, 1, 2, 130, 141
_EXIT_CODES = "exit codes: 0 success; 1 the space cannot be read or converted; 2 wrong usage, or file not found"
_OPTION_HINTS = {  # hints of the library that name Python arguments, with the options of the command line instead
    translators.ENCODE: "use --encode",
    translators.RANDOM: "use --method random",
    translators.STEP_OR_RANDOM: "give it a step, or use --method random",
    wandb.VARY_OR_RANDOM: "add a parameter that varies, or use --method random",
    wandb.METRIC: "--metric eval_loss, say",
    ray.NAME_SEARCHER: "use --searcher optuna for OptunaSearch, or leave it out for Ray's own sampling",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv`, or the arguments of the process, and return the exit code."""
    parser = _build_parser()
    arguments = parser.parse_args(argv)
    if error_message := _find_unused_option(arguments):
        parser.error(error_message)
    file = "the standard input" if arguments.file == "-" else arguments.file
    try:
        text, notes = arguments.run(arguments)
    except InputNotFoundError as error:
        return _fail(str(error), INVALID_USAGE)
    except HpcompatError as error:
        return _fail(f"{file}: {_format_error(error)}", INVALID_SPACE)
    except OSError as error:
        return _fail(f"cannot read {file}: {error.strerror or error}", INVALID_USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    for note in notes:
        _log(note)
    return _write(text, arguments.output)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hpcompat",
        description="Search spaces of Optuna, Ray Tune, SigOpt and W&B: read one, write another.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"hpcompat {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    parser_of_convert = commands.add_parser(
        "convert",
        help="write a space for another system",
        description="Write a space for another system, as code or data that runs as it stands. Exact, or "
        "refused with the reason; what is left behind is listed on the standard error.",
        epilog=f"example: hpcompat convert sweep.yaml --to optuna -o space.py. {_EXIT_CODES}",
    )
    parser_of_convert.set_defaults(run=convert)
    _add_input(parser_of_convert)
    add = parser_of_convert.add_argument
    _add_format(parser_of_convert, "--to", "json", "python", required=True, help="what to write")
    add("--encode", action="store_true", help="encode what the system cannot represent exactly")
    add(
        "--searcher",
        nargs="?",
        const=True,
        choices=("optuna",),
        help="Ray: for a search algorithm, not Ray's own sampling; --searcher optuna: for OptunaSearch",
    )
    add("--method", choices=("random", "bayes", "grid"), help="W&B: instead of the sweep's (default: random)")
    add("--metric", metavar="NAME", help="W&B: instead of the sweep's")
    add("--goal", choices=("minimize", "maximize"), help="W&B: instead of the sweep's (default: minimize)")
    add("-o", "--output", metavar="FILE", default="-", help="write to FILE, and replace what it holds")
    parser_of_show = commands.add_parser(
        "show",
        help="show a space, and what each system can express of it",
        description="Show a space, how each system represents each parameter, and why: native (a form of "
        "its own), equivalent (the same values by the same distribution), encoded (with --encode), or refused.",
        epilog=_EXIT_CODES,
    )
    parser_of_show.set_defaults(run=show, output="-")
    _add_input(parser_of_show)
    _add_format(parser_of_show, "--to", help="one system alone")
    parser_of_versions = commands.add_parser(
        "versions",
        help="list the installed versions of the systems, and the tested ones",
        description="List the installed version of each system, and the versions that hpcompat is tested with.",
    )
    parser_of_versions.set_defaults(run=show_versions, output="-", file="-")
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a .yaml or .json file, - for the standard input, or an object in Python code as path.py:NAME or "
        "module:NAME: a SearchSpace, a sweep, a list of SigOpt parameters, a dict of Ray domains, a function "
        "of a trial, a Study, …",
    )
    _add_format(parser, "--from", "json", dest="source", help="the format of FILE (default: detected)")


def _add_format(parser: argparse.ArgumentParser, option: str, *others: str, help: str, **settings: Any) -> None:
    """Add an option that takes a dialect or one of the others. A built-in one is found without looking for packages."""
    choices = ChainMap(dict.fromkeys(others), DIALECTS)  # type: ignore[arg-type]
    names = ", ".join((*BUILT_IN, *others))
    text = f"{help}: {names}, or the name of a dialect that a package adds"
    parser.add_argument(option, metavar="FORMAT", choices=choices, help=text, **settings)


def _find_unused_option(arguments: argparse.Namespace) -> str | None:
    if arguments.run is not convert:
        return None
    for name in ("method", "metric", "goal"):
        if getattr(arguments, name) is not None and arguments.to != "wandb":
            return f"--{name} goes with --to wandb"
    if arguments.searcher and "ray" not in (arguments.to, arguments.source):
        return "--searcher goes with --to ray or --from ray"
    return None


def _format_error(error: HpcompatError) -> str:
    issues = [issue._replace(hint=_OPTION_HINTS.get(issue.hint, issue.hint)) for issue in error.issues]
    return str(HpcompatError(error.message, issues))


def _log(message: str) -> None:
    if sys.stderr is not None:
        print(f"hpcompat: {message}", file=sys.stderr)


def _fail(message: str, exit_code: int) -> int:
    _log(message)
    return exit_code


def _write(text: str, output: str) -> int:
    """Write to a file or the standard output, in UTF-8 whatever the locale, and return the exit code."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        if output == "-":
            _write_stdout(data)
        else:
            with open(output, "wb") as file:
                file.write(data)
    except BrokenPipeError:
        # keep the interpreter from flushing into the closed pipe when it exits, which would print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except OSError as error:
        name = "the standard output" if output == "-" else output
        return _fail(f"cannot write {name}: {error.strerror or error}", INVALID_USAGE)
    return SUCCESS


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError("it is closed")
    sys.stdout.flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode())
    sys.stdout.flush()
