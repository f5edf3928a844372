"""What holds for every test: no network, no screen, no server that the shell happens to name.

Hypothesis tries the same 1,000 examples of a property in every run; `--hypothesis-profile=thorough`
tries 20,000 new ones.

A test that hangs is ended after the `timeout` of pyproject.toml, the one bound on what a test waits for; it
is counted in seconds of a machine that does nothing else (see tests/helpers/waiting.py).
"""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_timeout
from hypothesis import settings

from tests.helpers.waiting import Deadline

ROOT = str(Path(__file__).parents[1])
OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "RAY_AUTH_MODE": "disabled", "MPLBACKEND": "Agg"}
# two threads over a tiny model that share their cores with anything else wait for each other: 30 times slower
SINGLE_THREADED = {"OMP_NUM_THREADS": "1"}
SERVERS = ("RAY_ADDRESS", "SIGOPT_API_URL", "SIGOPT_API_TOKEN", "WANDB_API_KEY", "WANDB_BASE_URL")

os.environ.update(OFFLINE | SINGLE_THREADED)
for name in SERVERS:
    os.environ.pop(name, None)
# the processes that tests start import hpcompat and tests.helpers from here, wherever they run
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
# a shell that starts the tests in the background has them ignore the Ctrl-C that some of them send
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=1_000, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("thorough", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile("default")

# an engine, or draws from one, is set up once for these
TOGETHER = (
    "translators/draws",
    "distributed",
    "tuning",
    "objectives",
    "trials",
    "backends/optuna",
    "backends/ray",
    "backends/sigopt",
    "backends/wandb",
)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep them in one process where several run; the groups of xdist are lost on the node ids of pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((place for place in TOGETHER if nodeid.startswith(f"tests/{place}/")), nodeid)

    return Together(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Look again, where the machine was busy: no test fails because others run beside it."""
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        return None
    deadline = Deadline(settings.timeout)

    def over(signum: int, frame: Any) -> None:
        if deadline.remaining_s > 0:
            signal.setitimer(signal.ITIMER_REAL, max(1.0, deadline.remaining_s))
        else:
            pytest_timeout.timeout_sigalrm(item, settings)

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]
    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True
