"""The words that a rationale opens with (arXiv 2205.11916), as teachers are given them, and as many say them again."""

import re

CUE = "Let's think step by step."
_SAID_AGAIN = re.compile(r"let['’]s think step by step[.:,]?\s*", re.I)


def after_cue(text: str) -> str:
    """A rationale without the cue before it; "" where it is no more than the cue's beginning."""
    said = text.strip()
    if CUE.startswith(said):
        return ""
    cue = _SAID_AGAIN.match(said)
    return said[cue.end() :] if cue else said
