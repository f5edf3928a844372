"""The versions of other packages: which ones hpcompat works with, and what differs between them.

Each module has the differences of one package. They are written for the oldest version in SUPPORTED and all newer ones.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from hpcompat.errors import MissingBackendError


class SupportedVersions(NamedTuple):
    """The supported versions of a package.

    Attributes:
        oldest: The oldest version that works.
        newest: The newest version that the tests have run with; a newer patch of it counts as tested.
        extras: The extras of hpcompat that install the package.
    """

    oldest: str
    newest: str
    extras: tuple[str, ...]

    def contains(self, installed: str) -> bool:
        """Return whether a version is in the tested range.

        >>> SupportedVersions("3.0", "5.0.0", ()).contains("5.0.3")
        True
        """
        return not self.is_too_old(installed) and parse_release(installed)[:2] <= parse_release(self.newest)[:2]

    def is_too_old(self, installed: str) -> bool:
        """Return whether a version is older than the oldest that works.

        >>> SupportedVersions("3.0", "5.0.0", ()).is_too_old("2.10.1")
        True
        """
        return parse_release(installed) < parse_release(self.oldest)


SUPPORTED: Mapping[str, SupportedVersions] = {
    "optuna": SupportedVersions("3.0", "5.0.0", ("optuna", "ray")),
    "ray": SupportedVersions("2.20", "2.60.0", ("ray",)),
    "sigopt": SupportedVersions("8.8.3", "8.8.3", ("sigopt",)),
    "wandb": SupportedVersions("0.19.10", "0.31.0", ("wandb",)),
    "transformers": SupportedVersions("4.41", "5.24.0", ("transformers",)),
    "torch": SupportedVersions("2.1", "2.15.0", ("transformers",)),
}
"""The supported versions by the name of the package."""


def find_version(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    from importlib import metadata  # a command that needs no version is faster without it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require_versions(extra: str) -> None:
    """Check the installed versions of the packages of an extra, which is named as its backend.

    Raises `MissingBackendError` if one is too old, and warns once of one that is newer than the tested versions.
    """
    for package, supported in SUPPORTED.items():
        installed = find_version(package) if extra in supported.extras else None
        if installed is None:
            continue
        if supported.is_too_old(installed):
            command = f"pip install --upgrade 'hpcompat[{extra}]'"
            message = f"expected {package} {supported.oldest} or newer, and {installed} is installed: {command}"
            raise MissingBackendError(message)
        if not supported.contains(installed):
            _warn_once(f"hpcompat is tested with {package} to {supported.newest}, and {installed} is installed")


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def parse_release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version: 2.1.2 of "2.1.2rc1+cu121"."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()
