"""The input of a command: a file, the standard input, or an object in Python code."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module, util
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import IO, Any, AnyStr

from hpcompat.errors import HpcompatError, Issue, TranslationError
from hpcompat.space import SearchSpace
from hpcompat.translators.detect import as_space, beside, resolve_source
from hpcompat.translators.dialect import get_dialect
from hpcompat.translators.documents import MAX_BYTES, parse_document, reject_duplicate_keys, reject_size
from hpcompat.translators.parsing import reject
from hpcompat.translators.ray import from_ray
from hpcompat.translators.ray.forms import Searcher

MAX_LISTED_NAMES = 10


class InputNotFoundError(Exception):
    """The file, the module, or the object in it does not exist."""


@dataclass(frozen=True)
class LoadedSpace:
    """A search space, and where it comes from.

    Attributes:
        space: The space.
        extra: What a sweep or an experiment says besides its parameters: its method, its metric, …
        sweep: The W&B sweep that the space was read from; None if it was something else.
        is_text: Whether it was read from text and not from a Python object.
    """

    space: SearchSpace
    extra: Mapping[str, object] = field(default_factory=dict)
    sweep: Mapping[str, Any] | None = None
    is_text: bool = False


def load_space(file: str, dialect: str | None = None, *, searcher: Searcher = None) -> LoadedSpace:
    """Load the search space that a path, "-", "path.py:NAME" or "module:NAME" names.

    `dialect` may be "json" too; None: it is detected. `searcher`: see `from_ray`.

    Raises:
        InputNotFoundError: The file, the module or the name does not exist.
        OSError: The file cannot be read.
        HpcompatError: It does not hold a valid search space.
    """
    with _isolated():
        source = _read_input(file)
        if is_text := isinstance(source, (str, bytes)):
            source = _parse_text(source, file)
        space = _read_space(source, dialect, searcher)
        resolved = resolve_source(source)
        extra, owner = beside(resolved, dialect)
    return LoadedSpace(space, extra, resolved if owner == "wandb" else None, is_text)


@contextmanager
def _isolated() -> Iterator[None]:
    """Send what user code prints to the standard error, and restore the import state that it changes."""
    path, modules, dont_write_bytecode = list(sys.path), set(sys.modules), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.path[:], sys.dont_write_bytecode = path, dont_write_bytecode
        for name in [name for name in sys.modules if name.endswith(".py") and name not in modules]:
            del sys.modules[name]


def _read_space(source: Any, dialect: str | None, searcher: Searcher) -> SearchSpace:
    try:
        if dialect is None:
            return as_space(source)
        if dialect == "json":
            return SearchSpace.from_dict(source)
        if dialect == "ray":
            return from_ray(source, searcher=searcher)
        return get_dialect(dialect).read(source)
    except SystemExit as error:
        reject(f"the function exits with {error.code!r}", "give a function that returns params")


def _parse_text(text: str | bytes, file: str) -> object:
    """Parse JSON, or YAML unless the file name ends in .json."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            reject(f"invalid UTF-8: byte {error.start + 1}: {error.reason}", "save it as UTF-8")
    if not file.lower().endswith(".json"):
        return parse_document(text)
    try:
        return json.loads(text, object_pairs_hook=reject_duplicate_keys)
    except TranslationError:
        raise
    except json.JSONDecodeError as error:
        reject(f"invalid JSON: line {error.lineno}, column {error.colno}: {error.msg}")
    except RecursionError:
        reject("it is nested too deeply", "flatten it")
    except ValueError:
        reject("it has a number of more digits than Python reads", "give a smaller number")


def _read_file(path: str) -> bytes:
    """Read a regular file. Raises OSError for a pipe or a device, which may block or never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # opening a pipe without a writer blocks
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("expected a regular file, got a pipe or a device; - is the standard input")
        return _read_bounded(stream)


def _read_bounded(stream: IO[AnyStr]) -> AnyStr:
    """Read a stream to its end. Raises `TranslationError` if that is more than a search space can be."""
    text = stream.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        reject_size()
    return text


def _read_input(file: str) -> object:
    """Return what `file` names: its text, or an object in Python code."""
    if file == "-":
        return _read_bounded(getattr(sys.stdin, "buffer", sys.stdin))
    if Path(file).exists():
        if not file.endswith(".py"):
            return _read_file(file)
        names = ", ".join(_list_names(file)[:MAX_LISTED_NAMES]) or "none"
        raise InputNotFoundError(f"{file} is Python code; name the space in it as {file}:NAME (its names: {names})")
    code, _, name = file.rpartition(":")
    if not code or not all(part.isidentifier() for part in name.split(".")):
        raise InputNotFoundError(f"file not found: {file}")
    value: object = _import_file(code) if code.endswith(".py") else _import_module(code)
    for part in name.split("."):
        if not hasattr(value, part):
            raise InputNotFoundError(f"{code} does not define {name}")
        value = getattr(value, part)
    return value


def _list_names(path: str) -> list[str]:
    """Return the names that a Python file gives to objects, without running it."""
    try:
        body = ast.parse(_read_file(path)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return [*functions, *(target.id for target in targets if isinstance(target, ast.Name))]


def _import_file(path: str) -> ModuleType:
    if not Path(path).is_file():
        raise InputNotFoundError(f"file not found: {path}")
    sys.path.insert(0, str(Path(path).resolve().parent))
    spec = util.spec_from_file_location(path, path)
    assert spec is not None and spec.loader is not None  # the path ends in .py
    module = util.module_from_spec(spec)
    sys.modules[path] = module  # dataclasses look up the module that defines them
    with _report_errors(path):
        spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        with _report_errors(name):
            return import_module(name)
    except TranslationError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{name}.".startswith(f"{cause.name}."):
            raise InputNotFoundError(f"file or module not found: {name}") from None
        raise


@contextmanager
def _report_errors(code: str) -> Iterator[None]:
    """Turn an error of user code into a `TranslationError` that names the line; leave hpcompat's own as they are."""
    try:
        yield
    except HpcompatError:
        raise
    except SystemExit as error:
        hint = 'put what it runs under if __name__ == "__main__":'
        issue = Issue(_find_line(error, code), f"SystemExit({error.code!r})", hint)
        raise TranslationError(f"{code} exits when it is imported", [issue]) from error
    except Exception as error:
        issue = Issue(_find_line(error, code), f"{type(error).__name__}: {error}")
        raise TranslationError(f"{code} cannot be imported", [issue]) from error


def _find_line(error: BaseException, path: str) -> str:
    """Return "line N" of the file for the innermost frame in it; "" if the traceback has none."""
    path = os.path.abspath(path)
    lines = [line for frame, line in walk_tb(error.__traceback__) if os.path.abspath(frame.f_code.co_filename) == path]
    return f"line {lines[-1]}" if lines else ""
