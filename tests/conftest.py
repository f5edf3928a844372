"""Settings for all tests: no network, no display, and no server from the environment.

Hypothesis tries the same 1,000 examples of a property in every run; `--hypothesis-profile=thorough`
tries 20,000 new ones.

The `timeout` of pyproject.toml ends a test that hangs. It counts seconds of an idle machine, and grows with the load
(see tests/helpers/waiting.py).
"""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import pytest_timeout
from hypothesis import settings

from tests.helpers.versions import is_since
from tests.helpers.waiting import Deadline

ROOT = str(Path(__file__).parents[1])
OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "RAY_AUTH_MODE": "disabled", "MPLBACKEND": "Agg"}
# with a tiny model, two threads on busy cores wait for each other, and are up to 30 times slower
SINGLE_THREADED = {"OMP_NUM_THREADS": "1"}
SERVERS = ("RAY_ADDRESS", "SIGOPT_API_URL", "SIGOPT_API_TOKEN", "WANDB_API_KEY", "WANDB_BASE_URL")

os.environ.update(OFFLINE | SINGLE_THREADED)
for name in SERVERS:
    os.environ.pop(name, None)
# child processes import hpcompat and tests.helpers from this checkout, in any working directory
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH"))))
# a shell that starts the tests in the background makes them ignore SIGINT, which some tests send
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=1_000, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("thorough", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile("default")

# the tests of each of these folders share an engine, or draws from one
SHARED_FOLDERS = (
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


def pytest_configure(config: pytest.Config) -> None:
    """Ignore what old versions of other packages leave open."""
    if not is_since("wandb", "0.20"):
        for warning in ("unclosed <socket", "subprocess", "Exception ignored in. <(socket|function Popen)"):
            config.addinivalue_line("filterwarnings", f"ignore:{warning}")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run the tests of a shared folder in one process; xdist's own groups do not work with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class FolderScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((folder for folder in SHARED_FOLDERS if nodeid.startswith(f"tests/{folder}/")), nodeid)

    return FolderScheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> bool | None:
    """Extend the timeout while the machine is busy, so that its load does not make a test fail."""
    if settings.method != "signal" or threading.current_thread() is not threading.main_thread():
        return None
    deadline = Deadline(settings.timeout)

    def on_alarm(signum: int, frame: Any) -> None:
        if deadline.remaining_s > 0:
            signal.setitimer(signal.ITIMER_REAL, max(1.0, deadline.remaining_s))
        else:
            pytest_timeout.timeout_sigalrm(item, settings)

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, settings.timeout)
    return True
