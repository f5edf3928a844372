"""Importing the search imports no backend and no framework."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "optuna", "ray", "sigopt", "wandb", "numpy", "pandas", "matplotlib", "yaml", "tqdm")
MODULES = (
    "hpcompat.tuning",
    "hpcompat.backends",
    "hpcompat.objectives",
    "hpcompat.objectives.trainer_validation",
    "hpcompat.trials.optuna_trials",
    "hpcompat.trials.report",
)


class TestImports:
    def test_importing_search_loads_no_backend_and_no_framework(self):
        code = f"import sys, {', '.join(MODULES)}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert process.stdout.split() == []

    def test_search_without_launcher_does_not_start_distributed(self):
        code = """
import hpcompat as hp, signal, sys, threading
states = []
def function(trial):
    states.append((signal.getsignal(signal.SIGINT), threading.active_count()))
    return trial["x"]
hp.search(function, {"x": hp.Float(0, 1)}, n_trials=1, progress=False)
print("torch" in sys.modules, states == [(signal.default_int_handler, 1)])
"""
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert process.stdout.split() == ["False", "True"]
