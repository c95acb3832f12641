"""Preferences become training examples: two for each, of one group, in the tokens that the teacher said.

Knows completions and a preference's two ids. How a preference is learnt is in `losses/preferences.py`.
"""

from collections.abc import Mapping

from pipelines.core.chat import ChatTokenizer
from pipelines.core.hashing import key_of
from pipelines.core.parts import rows_of, summary, write_rows
from pipelines.core.records import Completion, Dropped, Preference, TrainExample
from pipelines.core.stage import Outcome, StageRun
from pipelines.train.examples import CHOSEN, REJECTED, sizes

STAGE = "pairs"


def run(
    said: Mapping[str, Completion], tokenizer: ChatTokenizer, is_chat: bool, max_length: int, run: StageRun
) -> Outcome:
    """Rows = examples of the input `preferences`; one with a text that is too long goes as a whole."""
    kept: list[TrainExample] = []
    dropped: list[Dropped] = []
    for preference in rows_of(run.inputs["preferences"].folder, Preference):
        pair = of_preference(preference, said, tokenizer, is_chat)
        if (longest := max(example.size for example in pair)) > max_length:
            detail = f"{longest} tokens, max_length is {max_length}"
            dropped.append(Dropped(preference.id, STAGE, "too long", preference.prompt[-500:], detail))
        else:
            kept += pair
    write_rows(run.folder, kept, TrainExample, dropped)
    count, digest, reasons = summary(run.folder, TrainExample)
    return Outcome(count, digest, reasons, facts=sizes(kept))


def of_preference(
    preference: Preference, said: Mapping[str, Completion], tokenizer: ChatTokenizer, is_chat: bool
) -> list[TrainExample]:
    """The prompt as the teacher read it, and what it said, end token and all, which alone carries weight."""
    prompt = tokenizer.prompt_ids(preference.prompt) if is_chat else tokenizer.encode_raw(preference.prompt)
    made = []
    for component, completion in ((CHOSEN, preference.chosen_id), (REJECTED, preference.rejected_id)):
        its = said[completion].token_ids
        ids, weights = (*prompt, *its), (0.0,) * len(prompt) + (1.0,) * len(its)
        id = key_of("preferred", preference.id, component, ids)
        made.append(TrainExample(id, completion, "", component, ids, weights, preference.id, group=preference.id))
    return made
