"""The command `sweep`: the same program as the binary of that name."""

import signal
import sys

from ssm_reduce import _native


def main() -> int:
    """Run the command line of this process and return its exit code."""
    # The program ends in order by itself. Python's handler would only note the signal until the program is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.main(["sweep", *sys.argv[1:]], [sys.executable, "-m", "ssm_reduce"])


if __name__ == "__main__":
    sys.exit(main())
