"""Token reduction on state space models: write a rule, run a sweep, get frames and figures."""

from ssm_reduce._native import __version__

__all__ = ["__version__"]
