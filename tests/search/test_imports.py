"""Loading the search loads none of what it drives."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "optuna", "ray", "sigopt", "wandb", "numpy", "pandas", "matplotlib", "yaml", "tqdm")
MODULES = (
    "hpcompat.tuning",
    "hpcompat.backends.optuna",
    "hpcompat.objectives.trainer",
    "hpcompat.plots",
    "hpcompat.studies",
)


def test_loading_the_search_loads_no_backend_and_no_framework():
    code = f"import sys, {', '.join(MODULES)}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
