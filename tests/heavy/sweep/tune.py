"""Search for the best learning rate of a line fitted by gradient descent, with Ray Tune over all nodes."""

import os

import ray
from line import fit  # a module beside this file, which each node's copy of the project has
from ray import tune


def train(config: dict[str, float]) -> None:
    """Fit once with these values; report the error and where it ran."""
    tune.report({"error": fit(config["lr"]), "node": int(os.environ["GPUJOB_NODE_RANK"])})


ray.init()
tuner = tune.Tuner(
    tune.with_resources(train, {"cpu": 1}),
    param_space={"lr": tune.grid_search([0.001, 0.01, 0.1, 1.0, 10.0, 0.5, 0.05, 0.005])},
    tune_config=tune.TuneConfig(metric="error", mode="min"),
    run_config=tune.RunConfig(storage_path=os.environ["GPUJOB_OUTPUTS"], name="sweep", verbose=0),
)
results = tuner.fit()
best = results.get_best_result()
print("nodes", sorted({result.metrics["node"] for result in results}))
print("best", best.config["lr"], round(best.metrics["error"], 6))
