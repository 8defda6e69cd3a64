"""Redraws the figure `accuracy_vs_flops` of one model from the frame of trials: python examples/frames.py results/first-sweep"""

import sys

import matplotlib.pyplot as plt
import polars as pl

trials = pl.read_parquet(f"{sys.argv[1]}/trials.parquet").filter(pl.col("metric") == "acc")
points = (
    trials.group_by("strategy", "flops_reduction_nominal")
    .agg(pl.mean("flops_reduction_achieved", "value"))
    .sort("flops_reduction_achieved")
)
dense = points.filter(pl.col("strategy") == "dense")
for (strategy,), curve in points.group_by("strategy", maintain_order=True):
    curve = pl.concat([dense, curve])
    plt.plot(100 * curve["flops_reduction_achieved"], 100 * curve["value"], marker="o", label=strategy)
plt.xlabel("achieved FLOPs reduction, %")
plt.ylabel("accuracy, mean over tasks, %")
plt.legend()
plt.savefig(f"{sys.argv[1]}/accuracy.svg")
