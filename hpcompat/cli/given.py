"""What FILE on the command line is: a file, the standard input, or an object in Python code."""

from __future__ import annotations

import ast
import errno
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module, util
from pathlib import Path
from typing import Any

from hpcompat.errors import HpcompatError, Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.translators.define_by_run.builder import takes_no_trial
from hpcompat.translators.detect import as_space, beside
from hpcompat.translators.dialect import DIALECTS, get_dialect
from hpcompat.translators.documents import MAX_BYTES, parse_document, reject_duplicate_keys, reject_size
from hpcompat.translators.parsing import reject
from hpcompat.translators.ray import Searcher, from_ray

SOURCES = (*DIALECTS, "json")


class NothingThere(Exception):
    """FILE names no file, no module, or no object in it."""


@dataclass(frozen=True)
class Given:
    """A space as it was given."""

    space: SearchSpace
    document: Any
    """The data or the object that it was read from."""
    beside: Mapping[str, Any]
    """What stands beside the parameters in a sweep or an experiment: its method, its metric, …"""
    sweep: bool
    text: bool
    """Whether it was read from text rather than from Python code."""


def read(file: str, dialect: str | None = None, *, searcher: Searcher = None) -> Given:
    """The space that FILE holds. Raises `NothingThere`, OSError, and `HpcompatError` for what is no space."""
    with _guests():
        thing, text = _thing(file)
        if isinstance(thing, (str, bytes)):
            thing, text = parse(thing, file), True
        space = _space(thing, dialect, searcher)
        document = _document(thing)
        found, whose = beside(document, dialect)
    return Given(space, document, found, whose == "wandb", text)


@contextmanager
def _guests() -> Iterator[None]:
    """While code of others runs: what it prints is no part of our output, what it changes is put back."""
    path, modules, caching = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, caching
        for name in [name for name in sys.modules if name.endswith(".py") and name not in modules]:
            del sys.modules[name]


def _space(thing: Any, dialect: str | None, searcher: Searcher) -> SearchSpace:
    readers: dict[str | None, Callable[[Any], SearchSpace]] = {
        None: as_space,
        "json": SearchSpace.from_dict,
        "ray": partial(from_ray, searcher=searcher),
    }
    try:
        return readers[dialect](thing) if dialect in readers else get_dialect(str(dialect)).read(thing)
    except SystemExit as error:
        reject(f"it is a function that exits with {error.code!r}", "give one that returns params")


# -- beside the space -------------------------------------------------------------------------------


def _document(thing: Any) -> Any:
    """What a function as transformers' hp_space returns without asking its trial; else the thing itself."""
    if not callable(thing) or isinstance(thing, type):
        return thing
    try:
        return thing() if takes_no_trial(thing) else thing(None)
    except Exception:  # it asks its trial
        return thing


# -- text -------------------------------------------------------------------------------------------


def parse(text: str | bytes, name: str = "") -> Any:
    """The data in a text: JSON, or YAML where the name does not end in .json. Raises `TranslationError`."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            reject(f"it is no text in UTF-8: byte {error.start + 1}: {error.reason}", "save it as UTF-8")
    if not name.lower().endswith(".json"):
        return parse_document(text)
    try:
        return json.loads(text, object_pairs_hook=reject_duplicate_keys)
    except TranslationError:
        raise
    except json.JSONDecodeError as error:
        reject(f"it is no JSON: line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        reject("it is nested too deeply", "flatten it")
    except ValueError:
        reject("it has a number of more digits than Python reads", "give a smaller number")


# -- Python code ------------------------------------------------------------------------------------


def _thing(file: str) -> tuple[Any, bool]:
    """What FILE names, and whether it is text."""
    if file == "-":
        return _bounded(getattr(sys.stdin, "buffer", sys.stdin)), True
    if Path(file).exists():
        if file.endswith(".py"):
            names = ", ".join(_names(file)[:10]) or "none"
            raise NothingThere(f"{file} is Python code: name the space in it as {file}:NAME (its names: {names})")
        return _contents(file), True
    code, _, name = file.rpartition(":")
    if not code or not all(part.isidentifier() for part in name.split(".")):
        raise NothingThere(f"there is no file {file}")
    thing: Any = _from_file(code) if code.endswith(".py") else _from_module(code)
    for part in name.split("."):
        if not hasattr(thing, part):
            raise NothingThere(f"{code} has no {name}")
        thing = getattr(thing, part)
    return thing, False


def _contents(file: str) -> bytes:
    """What is in a file. Raises OSError for a pipe or a device, which may hold back or go on for ever."""
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer lets us in
    with open(descriptor, "rb") as stream:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError("expected a regular file, got a pipe or a device; - is the standard input")
        return _bounded(stream)  # type: ignore[return-value]


def _bounded(stream: Any) -> str | bytes:
    """What a stream holds, where that is no more than a search space can be."""
    text: str | bytes = stream.read(MAX_BYTES + 1)
    return text if len(text) <= MAX_BYTES else reject_size()


def _names(file: str) -> list[str]:
    """The names that a Python file gives to objects, without running it."""
    try:
        body = ast.parse(_contents(file)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    assigned = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return [*functions, *(target.id for target in assigned if isinstance(target, ast.Name))]


def _from_file(path: str) -> Any:
    if not Path(path).is_file():
        raise NothingThere(f"there is no file {path}")
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = util.spec_from_file_location(path, path)
    if spec is None or spec.loader is None:
        raise NothingThere(f"{path} is no Python code")
    module = util.module_from_spec(spec)
    sys.modules[path] = module  # dataclasses look up the module that they stand in
    with _running(path):
        spec.loader.exec_module(module)
    return module


def _from_module(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        with _running(name):
            return import_module(name)
    except TranslationError as error:
        missing = error.__cause__
        if isinstance(missing, ModuleNotFoundError) and f"{name}.".startswith(f"{missing.name}."):
            raise NothingThere(f"there is no file and no module {name}") from None
        raise


@contextmanager
def _running(code: str) -> Iterator[None]:
    """Whatever goes wrong in code of others is said in one line; our own errors say enough themselves."""
    try:
        yield
    except HpcompatError:
        raise
    except SystemExit as error:
        hint = 'put what it runs under if __name__ == "__main__":'
        issue = Issue(_line(error, code), f"SystemExit({error.code!r})", hint)
        raise TranslationError(f"{code} exits when it is imported", [issue]) from error
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise TranslationError(f"{code} cannot be imported", [Issue(_line(error, code), message)]) from error


def _line(error: BaseException, path: str) -> str:
    """Where in the file the error comes from."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if os.path.abspath(trace.tb_frame.f_code.co_filename) == os.path.abspath(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}" if line else ""
