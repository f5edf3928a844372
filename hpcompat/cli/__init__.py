"""The command line: `hpcompat convert` and `hpcompat show`, also as `python -m hpcompat`.

    hpcompat convert sweep.yaml --to optuna -o space.py
    hpcompat show sweep.yaml

Exit codes: 0 done; 1 the space cannot be read or converted; 2 the command is wrong, or a file cannot
be opened or written; 130 interrupted; 141 whoever read the output has gone. What was asked for goes to
the standard output, everything else to the standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from hpcompat import __version__
from hpcompat.cli import convert, show
from hpcompat.cli.given import SOURCES, NothingThere
from hpcompat.errors import HpcompatError
from hpcompat.translators import ray, translation, wandb

DONE, NO_SPACE, USAGE, INTERRUPTED, NO_READER = 0, 1, 2, 130, 141
_FILE = (
    "a .yaml or .json file, - for the standard input, or an object in Python code as path.py:NAME or "
    "module:NAME: a SearchSpace, a sweep, a list of SigOpt parameters, a dict of Ray domains, a function "
    "of a trial, a Study, …"
)
_CODES = "exit codes: 0 done; 1 the space cannot be read or converted; 2 wrong usage, or no such file"
_HERE = {  # the library's ways out that name arguments, in the words of the command line
    translation.ENCODE: "--encode lets it travel",
    translation.RANDOM: "use --method random",
    translation.STEP_OR_RANDOM: "give it a step, or use --method random",
    wandb.VARY_OR_RANDOM: "add a parameter that varies, or use --method random",
    wandb.METRIC: "--metric eval_loss, say",
    ray.NAME_SEARCHER: "use --searcher optuna for OptunaSearch, or leave it out for Ray's own sampling",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Wrong options end in SystemExit(2), as argparse has it."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if wrong := arguments.wrong(arguments):
        parser.error(wrong)
    file = "the standard input" if arguments.file == "-" else arguments.file
    try:
        text, remarks = arguments.run(arguments)
    except NothingThere as error:
        return _fail(str(error), USAGE)
    except HpcompatError as error:
        return _fail(f"{file}: {_message(error)}", NO_SPACE)
    except OSError as error:
        return _fail(f"cannot read {file}: {error.strerror or error}", USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    for remark in remarks:
        _say(remark)
    return _write(text, arguments.output)


# -- options ----------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hpcompat",
        description="Search spaces of Optuna, Ray Tune, SigOpt and W&B: read one, write another.",
        epilog=_CODES,
    )
    parser.add_argument("--version", action="version", version=f"hpcompat {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_convert(
        commands.add_parser(
            "convert",
            help="write a space for another system",
            description="Write a space for another system, as code or data that runs as it stands. Exact, or "
            "refused with the reason; what is left behind is said on the standard error.",
            epilog=f"example: hpcompat convert sweep.yaml --to optuna -o space.py. {_CODES}",
        )
    )
    _add_show(
        commands.add_parser(
            "show",
            help="show a space, and what each system can express of it",
            description="Show a space, how each parameter travels to each system, and why: native (a form of "
            "its own), equivalent (the same values by the same law), encoded (with --encode), or refused.",
            epilog=_CODES,
        )
    )
    return parser


def _add_convert(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(run=convert.run, wrong=_wrong)
    add("file", metavar="FILE", help=_FILE)
    add("--to", required=True, choices=convert.TARGETS, help="what to write")
    add("--from", dest="source", choices=SOURCES, help="whose space FILE holds (default: recognised)")
    add("--encode", action="store_true", help="let travel, encoded, what the system has no form for")
    add(
        "--searcher",
        nargs="?",
        const=True,
        choices=("optuna",),
        help="Ray: for a search algorithm, not Ray's own sampling; --searcher optuna: for OptunaSearch",
    )
    add("--method", choices=("random", "bayes", "grid"), help="W&B: over the sweep's (else random)")
    add("--metric", metavar="NAME", help="W&B: over the sweep's")
    add("--goal", choices=("minimize", "maximize"), help="W&B: over the sweep's (else minimize)")
    add("-o", "--output", metavar="FILE", default="-", help="write there, over what is there")


def _wrong(arguments: argparse.Namespace) -> str | None:
    """An option that would not do anything."""
    for name in ("method", "metric", "goal"):
        if getattr(arguments, name) is not None and arguments.to != "wandb":
            return f"--{name} goes with --to wandb"
    if arguments.searcher and "ray" not in (arguments.to, arguments.source):
        return "--searcher goes with --to ray or --from ray"
    return None


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=show.run, wrong=lambda arguments: None, output="-")
    parser.add_argument("file", metavar="FILE", help=_FILE)
    parser.add_argument("--to", choices=SOURCES[:-1], help="one system alone")
    parser.add_argument("--from", dest="source", choices=SOURCES, help="whose space FILE holds")


# -- what is said, what is written --------------------------------------------------------------------


def _message(error: HpcompatError) -> str:
    return str(
        HpcompatError(error.message, [issue._replace(hint=_HERE.get(issue.hint, issue.hint)) for issue in error.issues])
    )


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(f"hpcompat: {text}", file=sys.stderr)


def _fail(text: str, code: int) -> int:
    _say(text)
    return code


def _write(text: str, output: str) -> int:
    """Write to a file or the standard output, always in UTF-8: what reads it next expects nothing else."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        if output == "-":
            _print(data)
        else:
            with open(output, "wb") as file:
                file.write(data)
    except BrokenPipeError:
        # nobody is left to read: keep the interpreter from flushing into the pipe on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except OSError as error:
        name = "the standard output" if output == "-" else output
        return _fail(f"cannot write {name}: {error.strerror or error}", USAGE)
    return DONE


def _print(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError("it is closed")
    sys.stdout.flush()
    if hasattr(sys.stdout, "buffer"):
        sys.stdout.buffer.write(data)
    else:
        sys.stdout.write(data.decode())
    sys.stdout.flush()
