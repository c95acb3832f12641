"""What a teacher is: something that continues prompts and scores given text.

Knows requests and the protocol. Does not know engines, actors or endpoints; those implement `Teacher`, and a
`faculty.Faculty` says where a teacher runs. Stages see nothing else, so a new kind of teacher touches no stage.
A request knows whom it is put to: so whatever answers requests can be asked as teachers are, a probe too.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.core.chat import ChatTokenizer, as_messages
from pipelines.core.config import Sampling
from pipelines.core.hashing import key_of, seed_of
from pipelines.core.records import Completion, Message, SoftTargets


@dataclass(frozen=True)
class TeacherId:
    """Which teacher, by what it is: the digest enters every completion's id."""

    name: str  # the recipe's name for it
    digest: str


@dataclass(frozen=True, slots=True)
class Request:
    """One continuation to be written. `id` is the completion's id; the sampling seed derives from it.

    It carries words, not tokens: a teacher that wants tokens makes them with its own tokenizer.
    """

    id: str
    prompt: str
    is_chat: bool  # whether `prompt` is a user's turn, or a plain document to go on with
    sampling: Sampling
    ordinal: int = 0  # which sample of this prompt
    earlier: tuple[str, ...] = ()  # the turns before a user's turn: user, assistant, user, assistant, ...

    @property
    def seed(self) -> int:
        return seed_of(self.id)

    @property
    def messages(self) -> list[Message]:
        """The conversation up to where the answer begins, of a request in a user's turn."""
        return as_messages((*self.earlier, self.prompt))

    def put_to(self, teacher: "Teacher") -> Awaitable[Completion]:
        return teacher.write(self)

    def prompt_ids(self, tokenizer: ChatTokenizer) -> list[int]:
        """The prompt as a model with this tokenizer sees it."""
        if not self.is_chat:
            return tokenizer.encode_raw(self.prompt)
        return tokenizer.prompt_ids(self.prompt, self.earlier)


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Top-k log-probabilities of given tokens (teacher forcing). `id` is the SoftTargets' id."""

    id: str
    example_id: str
    token_ids: tuple[int, ...]
    positions: tuple[int, ...]  # the tokens whose distributions are wanted; never 0
    k: int

    @property
    def tokens(self) -> int:
        return len(self.token_ids)

    def put_to(self, teacher: "Teacher") -> Awaitable[SoftTargets]:
        return teacher.score(self)


class Measured(Protocol):
    """A request about given tokens, which nothing is written to: a score, an influence."""

    @property
    def id(self) -> str:
        """That of the record which answers it."""
        ...

    @property
    def tokens(self) -> int:
        """How many a model reads."""
        ...

    def put_to(self, whom: Any) -> Awaitable[Any]:
        """Ask. Raises RequestFailed for what concerns this request only."""
        ...


AnyRequest = Request | Measured


class RequestFailed(RuntimeError):
    """The teacher refused or lost one request. It costs this sample, not the run."""

    reason = "request failed"  # what its Dropped row says


class TimedOut(RequestFailed):
    """The teacher fell silent over this request, each time that it was asked."""

    reason = "timed out"


class KilledEngine(RequestFailed):
    """The row was under way each time that its engine died, in the end with no other beside it."""

    reason = "killed its engine"


class TeacherGone(RuntimeError):
    """The teacher is dead or silent and will answer nothing more: its process must end, to be started anew."""


class Teacher(Protocol):
    """One teacher, ready. Any number of calls may be under way at once."""

    async def write(self, request: Request) -> Completion:
        """Continue the prompt. Raises RequestFailed for what concerns this request only."""
        ...

    async def score(self, request: ScoreRequest) -> SoftTargets:
        """Top-k distributions at the request's positions. Raises RequestFailed likewise."""
        ...


def write_request(
    teacher: TeacherId,
    prompt: str,
    sampling: Sampling,
    *,
    is_chat: bool = True,
    ordinal: int = 0,
    earlier: Sequence[str] = (),
) -> Request:
    """A request whose id hashes (teacher's digest, prompt, chat or document, sampling, ordinal), and what was said
    before where anything was.
    """
    assert is_chat or not earlier, "a document has no turns before it"
    before = [list(earlier)] if earlier else []
    id = key_of("completion", teacher.digest, prompt, is_chat, sampling.model_dump(mode="json"), ordinal, *before)
    return Request(id, prompt, is_chat, sampling, ordinal, tuple(earlier))


def score_request(
    teacher: TeacherId, example_id: str, token_ids: Sequence[int], positions: Sequence[int], k: int
) -> ScoreRequest:
    """A request keyed by example id and the very token ids that are scored."""
    assert 0 not in positions, "the first token has no distribution"
    id = key_of("score", teacher.digest, example_id, list(token_ids), list(positions), k)
    return ScoreRequest(id, example_id, tuple(token_ids), tuple(positions), k)
