"""The word in the marks between which a judge reads what others wrote.

It hashes the very words between them, so no answer can hold its own end mark and go on as if it were the judge's user.
"""

from pipelines.core.hashing import key_of


def of(*texts: str) -> str:
    return key_of("fence", *texts)
