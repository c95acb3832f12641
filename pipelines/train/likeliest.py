"""How likely a model finds a rationale, or an answer after one: what rationales are chosen by.

Knows how the two become examples; `held_out_loss.in_a_worker` measures them as it does any other. Does not know who
wrote them or how many are kept.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cluster.session import Session
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Learn
from pipelines.core.progress import Progress
from pipelines.core.records import Conversation, Dropped, Question, Rationale, TrainExample
from pipelines.train import held_out_loss
from pipelines.train.choices import source_of
from pipelines.train.examples import of_conversation

Of = Literal["answer", "rationale"]
LONGEST = 2048  # tokens of a question with its rationale; a longer one is never chosen before another


def scores(
    of: Of,
    folder: Path,
    learn: Learn,
    pairs: Sequence[tuple[Question, Rationale]],
    session: Session,
    progress: Progress,
) -> list[float]:
    """Mean log-probability per token, in nats, by the model in `folder`.

    Of the right answer once question and rationale are read; or of the rationale once question and answer are.
    """
    tokenizer = ChatTokenizer(str(folder), learn.template)
    made = [of_conversation(_said(of, *pair), tokenizer, learn, LONGEST) for pair in pairs]
    examples = [example for example in made if isinstance(example, TrainExample)]
    measured = iter(held_out_loss.in_a_worker(folder, examples, session, progress) if examples else ())
    found = []
    for example in made:
        nll, tokens = (float("inf"), 1) if isinstance(example, Dropped) else next(measured)
        found.append(-nll / tokens)
    return found


def _said(of: Of, question: Question, rationale: Rationale) -> Conversation:
    answer = question.choices[question.answer]
    if of == "answer":
        turns = (f"{source_of('', question)}\n{rationale.text}\nThe answer is", answer)
    else:
        turns = (f"{source_of('', question)}\nAnswer: {answer}\nExplain why.", rationale.text)
    return Conversation(rationale.id, "", turns, "", "{}")
