"""Search spaces with groups and conditions."""

from __future__ import annotations

from hpcompat import Categorical, Constant, Float, Int, Normal, SearchSpace

CONDITIONS = SearchSpace(
    {
        "optim": Categorical(["adamw", "sgd", "lion"]),
        "beta2": Float(0.9, 0.999, when={"optim": ["adamw", "lion"]}),
        "momentum": Float(0.0, 0.9, when={"optim": "sgd"}),
        "nesterov": Categorical([True, False], when={"optim": "sgd"}),
        "dampening": Float(0.1, 1.0, log=True, when={"nesterov": False}),
        "layers": Int(1, 3),
        "width": {
            "first": Int(16, 128, log=True),
            "second": Int(16, 128, step=16, when={"layers": [2, 3]}),
            "third": Int(8, 64, step=8, when={"layers": 3}),
        },
        "head": SearchSpace({"dropout": Normal(0.2, 0.1, low=0.0), "kind": Constant("mlp")}, when={"layers": [1, 3]}),
        "noise": Float(0.0, 0.5, step=0.1, when={"optim": "sgd", "layers": [1, 2]}),
    }
)
"""Chained conditions, several parents, int and bool parents, a conditional group, conditional encoded parameters."""

ONE_LEVEL = SearchSpace(
    {
        "lr": Float(1e-6, 1e-4, log=True),
        "optim": Categorical(["adamw", "sgd"]),
        "schedule": Categorical(["linear", "cosine", "constant"]),
        "beta2": Float(0.9, 0.999, when={"optim": "adamw"}),
        "momentum": Float(0.0, 0.9, when={"optim": "sgd"}),
        "warmup": Int(0, 500, step=100, when={"schedule": ["linear", "constant"]}),
        "cycles": Int(1, 4, when={"schedule": "cosine"}),
        "restarts": Categorical([1, 2], when={"schedule": "cosine", "optim": "sgd"}),
    }
)
"""Conditions that SigOpt supports natively."""

GROUPS = SearchSpace(
    {
        "lr": Float(1e-6, 1e-4, log=True),
        "model": {"layers": Int(1, 4), "attention": {"heads": Categorical([2, 4, 8]), "dropout": Float(0.0, 0.3)}},
        "data": {"crop": Normal(0.8, 0.1, low=0.0, high=1.0), "flip": Categorical([True, False])},
    }
)

WEIGHTED = SearchSpace(
    {
        "size": Categorical(["small", "large"], weights=[3, 1]),
        "depth": Normal(6.0, 2.0, low=4, high=8, step=2),
        "width": Int(8, 64, step=8, when={"size": "large", "depth": [6, 8]}),
    }
)
"""Parents that most systems cannot represent natively."""

FINITE = SearchSpace(
    {
        "optim": Categorical(["adamw", "sgd"]),
        "momentum": Float(0.0, 0.9, step=0.9, when={"optim": "sgd"}),
        "model": {"heads": Categorical([2, 4, 8]), "bias": Categorical([True, False], when={"optim": "adamw"})},
    }
)

SPACES = {"conditions": CONDITIONS, "one_level": ONE_LEVEL, "groups": GROUPS, "weighted": WEIGHTED}
