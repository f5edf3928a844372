"""Describe a hyperparameter search space once; use it in Optuna, Ray Tune, SigOpt and Weights & Biases.

>>> import hpcompat as hp
>>> space = hp.SearchSpace({
...     "learning_rate": hp.Float(1e-6, 1e-4, log=True),
...     "per_device_train_batch_size": hp.Categorical([16, 32, 64, 128]),
... })
>>> hp.to_sigopt(space)[0]["transformation"]
'log'
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

# where each public name lives; nothing is loaded before it is asked for, backends least of all
_HOME = {
    "SearchSpace": "space",
    "Float": "space.parameters",
    "Int": "space.parameters",
    "Categorical": "space.parameters",
    "Constant": "space.parameters",
    "Normal": "space.parameters",
    "translate": "translators",
    "Translation": "translators",
    "as_space": "translators.detect",
    "to_optuna": "translators.optuna",
    "from_optuna": "translators.optuna",
    "to_ray": "translators.ray",
    "from_ray": "translators.ray",
    "to_sigopt": "translators.sigopt",
    "from_sigopt": "translators.sigopt",
    "to_wandb": "translators.wandb",
    "from_wandb": "translators.wandb",
    "search": "tuning",
    "hyperparameter_search": "tuning.transformers",
    "with_params": "tuning.transformers",
    "SearchResult": "trials.result",
    "Trial": "trials.trial",
    "HpcompatError": "errors",
    "SpaceError": "errors",
    "ParamsError": "errors",
    "TranslationError": "errors",
    "BackendError": "errors",
    "MissingBackendError": "errors",
    "SearchError": "errors",
    "TrialPruned": "errors",
}
__all__ = list(_HOME)

if TYPE_CHECKING:
    from hpcompat.errors import BackendError as BackendError
    from hpcompat.errors import HpcompatError as HpcompatError
    from hpcompat.errors import MissingBackendError as MissingBackendError
    from hpcompat.errors import ParamsError as ParamsError
    from hpcompat.errors import SearchError as SearchError
    from hpcompat.errors import SpaceError as SpaceError
    from hpcompat.errors import TranslationError as TranslationError
    from hpcompat.errors import TrialPruned as TrialPruned
    from hpcompat.space import SearchSpace as SearchSpace
    from hpcompat.space.parameters import Categorical as Categorical
    from hpcompat.space.parameters import Constant as Constant
    from hpcompat.space.parameters import Float as Float
    from hpcompat.space.parameters import Int as Int
    from hpcompat.space.parameters import Normal as Normal
    from hpcompat.translators import Translation as Translation
    from hpcompat.translators import translate as translate
    from hpcompat.translators.detect import as_space as as_space
    from hpcompat.translators.optuna import from_optuna as from_optuna
    from hpcompat.translators.optuna import to_optuna as to_optuna
    from hpcompat.translators.ray import from_ray as from_ray
    from hpcompat.translators.ray import to_ray as to_ray
    from hpcompat.translators.sigopt import from_sigopt as from_sigopt
    from hpcompat.translators.sigopt import to_sigopt as to_sigopt
    from hpcompat.translators.wandb import from_wandb as from_wandb
    from hpcompat.translators.wandb import to_wandb as to_wandb
    from hpcompat.trials.result import SearchResult as SearchResult
    from hpcompat.trials.trial import Trial as Trial
    from hpcompat.tuning import search as search
    from hpcompat.tuning.transformers import hyperparameter_search as hyperparameter_search
    from hpcompat.tuning.transformers import with_params as with_params


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hpcompat' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"hpcompat.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
