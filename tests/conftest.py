"""What holds for every test: no network, no screen, no server that the shell happens to name.

Hypothesis tries 1,000 examples a property; `--hypothesis-profile=thorough` tries 20,000.
"""

import os

from hypothesis import settings

OFFLINE = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "RAY_AUTH_MODE": "disabled", "MPLBACKEND": "Agg"}
# two threads over a tiny model that share their cores with anything else wait for each other: 30 times slower
SINGLE_THREADED = {"OMP_NUM_THREADS": "1"}
SERVERS = ("RAY_ADDRESS", "SIGOPT_API_URL", "SIGOPT_API_TOKEN", "WANDB_API_KEY", "WANDB_BASE_URL")

os.environ.update(OFFLINE | SINGLE_THREADED)
for name in SERVERS:
    os.environ.pop(name, None)

settings.register_profile("default", max_examples=1_000, deadline=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=20_000)
settings.load_profile("default")
