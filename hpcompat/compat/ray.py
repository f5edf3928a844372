"""Ray 2.20 to 2.60: what differs between its versions, and the private names that are used."""

from __future__ import annotations

from ray import tune

if hasattr(tune, "RunConfig"):  # since 2.43
    from ray.tune import RunConfig as RunConfig
    from ray.tune import report as report
else:
    from ray.train import RunConfig as RunConfig  # type: ignore[assignment]
    from ray.train import report as report
