"""What holds for every test: no network, no screen, no server that the shell happens to name.

Hypothesis tries the same 1,000 examples of a property in every run; `--hypothesis-profile=thorough`
tries 20,000 new ones.
"""

import os
import signal
from typing import Any

import pytest
from hypothesis import settings

OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "RAY_AUTH_MODE": "disabled", "MPLBACKEND": "Agg"}
# two threads over a tiny model that share their cores with anything else wait for each other: 30 times slower
SINGLE_THREADED = {"OMP_NUM_THREADS": "1"}
SERVERS = ("RAY_ADDRESS", "SIGOPT_API_URL", "SIGOPT_API_TOKEN", "WANDB_API_KEY", "WANDB_BASE_URL")

os.environ.update(OFFLINE | SINGLE_THREADED)
for name in SERVERS:
    os.environ.pop(name, None)
# a shell that starts the tests in the background has them ignore the Ctrl-C that some of them send
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", max_examples=1_000, deadline=None, print_blob=True, derandomize=True)
settings.register_profile("thorough", max_examples=20_000, deadline=None, print_blob=True)
settings.load_profile("default")

# an engine, or draws from one, is set up once for these
TOGETHER = ("laws", "search/ddp", "search", "backends/ray", "backends/sigopt", "backends/wandb")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep them in one process where several run. (xdist's own groups are lost on the node ids of pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((place for place in TOGETHER if nodeid.startswith(f"tests/{place}/")), nodeid)

    return Together(config, log)
