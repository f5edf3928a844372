"""Storages of Optuna in files, in each of its versions."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from tests.helpers.versions import is_since

HAS_JOURNAL = hasattr(optuna.storages, "JournalStorage")  # since Optuna 3.1
FILE_STORAGES = ["journal", "sqlite"] if HAS_JOURNAL else ["sqlite"]
STORAGES = [*FILE_STORAGES, *(["postgresql"] if is_since("sqlalchemy", "2.0") else [])]  # psycopg needs SQLAlchemy 2


def locate_storage(kind: str, directory: Path) -> str:
    """Return where a storage of that kind is: the path of a journal, or the URL of a database."""
    return str(directory / "study.log") if kind == "journal" else f"sqlite:///{directory}/study.db"


def open_storage(location: str) -> str | BaseStorage:
    """Open the journal at a path that ends in ".log"; return the URL of a database unchanged."""
    if not location.endswith(".log"):
        return location
    try:
        from optuna.storages.journal import JournalFileBackend as Backend  # since 4.0
    except ImportError:
        from optuna.storages import JournalFileStorage as Backend
    return optuna.storages.JournalStorage(Backend(location))
