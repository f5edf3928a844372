"""Published search spaces: W&B sweeps, Optuna suggest calls, Ray domains and SigOpt experiments."""

from typing import Any

SWEEPS: dict[str, dict[str, Any]] = {
    "string bounds": {
        "method": "bayes",
        "metric": {"name": "iou", "goal": "maximize"},
        "parameters": {
            "lr": {"min": 0.0001, "max": 0.01},
            "weight_decay": {"min": "1e-5", "max": "1e-4"},
            "batch_size": {"values": [4, 8, 12, 16]},
            "epochs": {"value": 50},
            "momentum": {"min": 0.0, "max": 0.9},
            "root": {"value": "/data/cancer-instance"},
        },
    },
    "nested": {
        "method": "bayes",
        "metric": {"goal": "minimize", "name": "val/loss/min_loss_so_far"},
        "parameters": {
            "jac_reg": {"values": [True, False]},
            "jac_reg_tau": {"values": [1e-05, 0.0001, 0.001, 0.01]},
            "weight_decay": {"values": [0, 1e-05, 0.0001]},
            "deq": {"parameters": {"deq_max_iter": {"values": [40, 60, 80]}}},
            "seed": {"values": [1, 2, 3]},
        },
    },
    "string values": {
        "method": "grid",
        "metric": {"goal": "minimize", "name": "Train/losses/total"},
        "parameters": {
            "data.variant": {"values": [0, 1, 2, 3, 4, 5]},
            "model.qr": {"values": ["1e-3", "1e-2", "1e-1"]},
            "model.start_step": {"values": [2000, 5000, 12000, 20000]},
        },
        "early_terminate": {"type": "hyperband", "eta": 3, "min_iter": 10},
    },
    "rounded": {
        "method": "bayes",
        "metric": {"goal": "maximize", "name": "reward.mean"},
        "parameters": {
            "env": {"value": "LunarLander-v2"},
            "goal": {"value": 10.0},
            "meta_update_every": {"distribution": "q_uniform", "q": 10, "min": 10, "max": 100},
            "m": {"distribution": "int_uniform", "min": 1, "max": 30},
        },
    },
}


CATBOOST = [
    {"name": "iterations", "call": "suggest_int", "args": [100, 2000], "kwargs": {}},
    {"name": "l2_leaf_reg", "call": "suggest_float", "args": [0.001, 10.0], "kwargs": {"log": True}},
    {"name": "bootstrap_type", "call": "suggest_categorical", "args": [["Bernoulli", "MVS", "Bayesian"]]},
    {
        "name": "bagging_temperature",
        "call": "suggest_float",
        "args": [0.0, 1.0],
        "when": {"bootstrap_type": ["Bayesian"]},
    },
    {
        "name": "subsample",
        "call": "suggest_float",
        "args": [0.5, 1.0],
        "when": {"bootstrap_type": ["Bernoulli", "MVS"]},
    },
]
DEPTHS = [
    {"name": "num_layers", "call": "suggest_int", "args": [1, 3]},
    {"name": "hidden_dim_0", "call": "suggest_int", "args": [32, 512], "kwargs": {"step": 32}},
    {
        "name": "hidden_dim_1",
        "call": "suggest_int",
        "args": [32, 512],
        "kwargs": {"step": 32},
        "when": {"num_layers": [2, 3]},
    },
    {
        "name": "hidden_dim_2",
        "call": "suggest_int",
        "args": [32, 512],
        "kwargs": {"step": 32},
        "when": {"num_layers": [3]},
    },
]
DQN = {
    "noisy": False,
    "lr": {"call": "uniform", "kwargs": {"lower": 5e-08, "upper": 0.1}},
    "hiddens": {"call": "choice", "args": [[[128, 128], [256, 128], [256]]]},
    "replay_buffer_config": {
        "capacity": {"call": "randint", "kwargs": {"lower": 1500, "upper": 70000}},
        "prioritized_replay_beta": {"call": "uniform", "kwargs": {"lower": 0.2, "upper": 0.5}},
    },
}
GAUSSIANS = {
    "parameters": [
        {
            "name": "x",
            "type": "double",
            "bounds": {"min": 0, "max": 1},
            "conditions": {"gaussian": ["gaussian1"]},
        },
        {
            "name": "y",
            "type": "double",
            "bounds": {"min": 0, "max": 1},
            "conditions": {"gaussian": ["gaussian2"]},
        },
    ],
    "conditionals": [{"name": "gaussian", "values": ["gaussian1", "gaussian2"]}],
    "metrics": [],
}
BATCHES = {
    "parameters": [
        {"name": "num_epochs", "bounds": {"min": 10, "max": 20}, "type": "int"},
        {"name": "batch_size", "grid": [128, 256, 512, 1024], "type": "int"},
    ],
    "metrics": [{"name": "test_acc", "strategy": "optimize", "objective": "maximize"}],
}
