"""Several ranks, one search: what a launcher (torchrun, …) has started goes through every trial together (DDP).

`search` is called on every rank. Rank 0 runs the backend; the others evaluate what it says, and return the
same trials. For a search see `joined`; for a single trial whose process group is there already, in worker
processes of another's, the contract is:

    with ranks.crew() as crew:                                # on every rank; None where there is one only
        with objective(thing, crew.setting(setting)) as evaluate:
            trial = crew.evaluated(evaluate, suggestion)      # as often as there are trials; the same on every rank

- Every rank passes a Suggestion with the same number and params. The engine behind `should_prune` and
  `native` is asked on rank 0 alone; `report` is called on every rank with that rank's own.
- All ranks get the same Trial: rank 0's, or FAILED with the error of the rank that failed first ("rank 1: …").
- `KeyboardInterrupt` on one rank is raised on all.
- A rank that fails in the middle of a training leaves the others in a collective that it never joins. Rank 0
  then has `crew.record(trial)` called with the FAILED trial, or returns it, whichever it can; every call of
  `evaluated` that is under way elsewhere, or comes after, raises `SearchError`. A process that cannot get out
  of its collective (gloo has no way) is ended with exit code 1, 24 s later, if the launcher does not before.
- So it is with a rank that has died, and with one that hangs: that stands still behind another one for longer
  than `suggestion.on_ddp_timeout` says, or else the timeout of the process group.

How they stay in step: the ranks talk through the store of their group (line.py), and a thread on each looks
out for the others (lookout.py). A rank says when it has left the trial, and how many collectives it had begun
until then; one that has begun more will wait in vain. Before a training begins all wait until all are
prepared, so that what fails in model_init fails everywhere. Each says once a second how far it is: of two
ranks the one that is less far is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hpcompat.distributed.coordinator import Crew
from hpcompat.distributed.process_group import connected, size
from hpcompat.distributed.session import Alone, Together
from hpcompat.errors import BackendError, Issue

__all__ = ["Alone", "Crew", "Together", "crew", "joined"]


@contextmanager
def crew() -> Iterator[Crew | None]:
    """The ranks of this process's group, met; None where there is only one."""
    if size() == 1:
        yield None
        return
    ranks = Crew(*connected())
    try:
        ranks.join()
        yield ranks
    finally:
        ranks.close()


@contextmanager
def joined(backend: str, termination: Any = None) -> Iterator[Alone]:
    """This process's part of a search: of one over several ranks, if a launcher has started several.

    `termination`: whose `is_requested` says that SIGTERM has come, and that the search is to end.

    Raises `BackendError` for a backend whose trials run in processes of its own.
    """
    if backend == "ray" and size() > 1:
        hint = Issue("", "start one process, and let Ray give each trial its workers; or choose another backend")
        raise BackendError(f"the ray backend cannot search from {size()} ranks of a launcher", [hint])
    with crew() as ranks:
        if ranks is None:
            yield Alone()
            return
        search = Together(ranks, termination)
        try:
            yield search
        except BaseException as error:
            search.fail(error)
            raise
        finally:
            ranks.share_termination()
