"""The installed versions, for tests of what a package has only since one of them."""

from __future__ import annotations

from importlib import metadata

import pytest

from hpcompat.compat import parse_release


def is_since(package: str, version: str) -> bool:
    """Return whether the installed version of a package is this one, or a newer one."""
    return parse_release(metadata.version(package)) >= parse_release(version)


def requires(package: str, version: str) -> pytest.MarkDecorator:
    """Skip a test of something that a package has since a version."""
    return pytest.mark.skipif(not is_since(package, version), reason=f"{package} has it since {version}")
