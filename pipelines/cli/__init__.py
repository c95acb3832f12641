"""The command line. Knows arguments and words; the work is in `pipelines.runs`.

Exit codes: 0 done, 2 the user's mistake (the message says what to do), 1 a failure or a budget that was reached
(run the same command again to go on).
"""

import sys

from pipelines.cli import cluster, jobs, keys, load, models, rows, running
from pipelines.cli.app import app
from pipelines.core.errors import BudgetReached, Unreachable, UserError

__all__ = ["app", "cluster", "jobs", "keys", "load", "main", "models", "rows", "running"]


def main() -> None:
    """The `tutelage` command."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(2)
    except (BudgetReached, Unreachable) as error:
        print(f"{error}\nEverything so far is kept: run the same command again to go on.", file=sys.stderr)
        _leave(1)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        _leave(1)


def _leave(code: int) -> None:
    sys.stderr.flush()
    sys.stdout.flush()
    sys.exit(code)
