"""Token reduction on state space models: write a rule, run a sweep, get frames and figures."""

from ssm_reduce._native import __version__
from ssm_reduce.display import Figure, Struck, Table, struck
from ssm_reduce.errors import Error, Refused, ResultsError, RunFailed
from ssm_reduce.model import Model, Run, SitePlan, Tokenizer
from ssm_reduce.results import Comparison, Results
from ssm_reduce.running import Plan, plan, run
from ssm_reduce.strategy import Site, Strategy, choice, integer, keep, merge, number, scores, strategy

__all__ = [
    "Comparison",
    "Error",
    "Figure",
    "Model",
    "Plan",
    "Refused",
    "Results",
    "ResultsError",
    "Run",
    "RunFailed",
    "Site",
    "SitePlan",
    "Strategy",
    "Struck",
    "Table",
    "Tokenizer",
    "__version__",
    "choice",
    "integer",
    "keep",
    "merge",
    "number",
    "plan",
    "run",
    "scores",
    "strategy",
    "struck",
]
