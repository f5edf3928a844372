"""W&B 0.19.10 to 0.31: what differs between its versions, and the private names that are used."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import wandb
from wandb.sdk.lib.module import unset_globals
from wandb.sdk.wandb_init import _set_global_run

from hpcompat.errors import Issue

if TYPE_CHECKING:
    from wandb.apis.public import Sweep

_SETTINGS = wandb.Settings.model_fields
HAS_SERVER_SWEEPS = "prompt" in inspect.signature(wandb.login).parameters  # since 0.30, as is `_upsert_sweep`
_FINISH_METHODS = ("finish", "_finish")  # wandb.finish() calls the private method
_REPLACED = "_hpcompat_replaced"


def known_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the settings that this version has, such as `finish_timeout` (since 0.27)."""
    return {name: value for name, value in settings.items() if name in _SETTINGS}


@contextmanager
def without_new_config_dir() -> Iterator[None]:
    """Remove ~/.config/wandb after the block if it is new and empty.

    Before 0.25 wandb creates it, wherever WANDB_CONFIG_DIR is, to look for the user's settings.
    """
    path = os.path.expanduser("~/.config/wandb")
    new = [directory for directory in (path, os.path.dirname(path)) if not os.path.exists(directory)]
    try:
        yield
    finally:
        for directory in new:
            with suppress(OSError):
                os.rmdir(directory)


def find_server_issue() -> Issue | None:
    """Return why this version cannot search a sweep on a server, or None."""
    if HAS_SERVER_SWEEPS:
        return None
    message = f"a sweep on W&B's server needs wandb 0.30 or newer, and {wandb.__version__} is installed"
    return Issue("driver", message, "upgrade wandb, or pass driver='embedded'")


def login(verify: bool) -> bool:
    """Call `wandb.login`, which does not ask for a key.

    Returns:
        Whether there is a key.

    Raises:
        wandb.Error: `verify` is true, and W&B refuses the key or cannot be reached.
    """
    if HAS_SERVER_SWEEPS:
        return wandb.login(prompt=False, verify=verify)
    return bool(import_module("wandb.apis.internal").Api().api_key)


def update_sweep(sweep: Sweep, config: Mapping[str, Any]) -> None:
    """Replace the configuration of a sweep on a server, as `wandb sweep --update` does."""
    upsert_sweep = import_module("wandb.apis.public.sweeps")._upsert_sweep
    upsert_sweep(wandb.Api(), dict(config), obj_id=sweep._attrs["id"], project=sweep.project, entity=sweep.entity)


def keep_open(run: wandb.Run) -> None:
    """Ignore calls of the run's `finish` until `allow_finish` is called.

    Both transformers' WandbCallback and functions written for `wandb.agent` finish the current run.
    """
    attributes = vars(run)
    # before 0.28 a disabled run has methods of its own
    attributes[_REPLACED] = {name: attributes[name] for name in _FINISH_METHODS if name in attributes}
    attributes.update(dict.fromkeys(_FINISH_METHODS, _ignore_finish))


def allow_finish(run: wandb.Run) -> None:
    """Restore the run's methods that finish it."""
    attributes = vars(run)
    if _REPLACED in attributes:
        for name in _FINISH_METHODS:
            attributes.pop(name, None)
        attributes.update(attributes.pop(_REPLACED))


def _ignore_finish(*args: object, **kwargs: object) -> None:
    """Replace `Run.finish`, and do nothing."""


@contextmanager
def hide_active_runs() -> Iterator[None]:
    """Hide the open runs from wandb within the block.

    The public reinit="create_new" would not do: `wandb.run` stays the first run.
    """
    library, current = wandb.setup(), wandb.run
    runs = []
    while (run := library.most_recent_active_run) is not None:
        library.remove_active_run(run)
        runs.append(run)
    unset_globals()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for run in reversed(runs):
            library.add_active_run(run)
        _set_global_run(current)  # type: ignore[arg-type]
