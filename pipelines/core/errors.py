"""The ways a run ends early that are not bugs. Knows nothing of what raised them."""


class UserError(ValueError):
    """The user can mend this: the message names the key, file or line, and what to do. Exit code 2."""


class Unreachable(RuntimeError):
    """An API answers nothing any more, or a cluster does not start; everything done so far is kept. Exit code 1."""


class BudgetReached(RuntimeError):
    """`--max-tokens` or `--max-hours` was reached; everything done so far is kept. Exit code 1."""
