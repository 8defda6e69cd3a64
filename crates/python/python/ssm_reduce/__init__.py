"""Token reduction on state space models: write a rule, run a sweep, get frames and figures."""

from ssm_reduce._native import __version__
from ssm_reduce.display import Figure, Struck, Table, struck
from ssm_reduce.errors import Error, Refused, ResultsError, RunFailed
from ssm_reduce.results import Comparison, Results

__all__ = [
    "Comparison",
    "Error",
    "Figure",
    "Refused",
    "Results",
    "ResultsError",
    "RunFailed",
    "Struck",
    "Table",
    "__version__",
    "struck",
]
