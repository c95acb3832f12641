"""What a student or a teacher learns from: examples, distributions over them, preferences."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainExample:
    """Tokens with their loss weights. Maker: `examples`. Readers: `soft_targets`, `student`.

    `weights[t]` is the weight of predicting token t; nothing predicts the first, so weights[0] is 0. Of an
    encoder-decoder `token_ids` are the decoder's, from the token that it starts with.
    """

    id: str
    answer_id: str
    instruction_id: str
    component: str  # the loss component its cross-entropy counts for, e.g. "answer"
    token_ids: tuple[int, ...]
    weights: tuple[float, ...]
    lineage: str = ""  # what it descends from: a split keeps examples of one lineage together
    source: str = ""  # which of a recipe's sources of data it came from, where there are several
    cut: bool = False  # whether turns, or the end of the only answer, were left off to fit max_length
    encoder_ids: tuple[int, ...] = ()  # what an encoder reads, where the student has one
    group: str = ""  # what is learnt in one step with it: the tasks of a question, the two answers of a preference

    @property
    def size(self) -> int:
        """How many tokens a model goes through."""
        return len(self.encoder_ids) + len(self.token_ids)


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """A teacher's top-k next-token distribution at an example's weighted tokens.

    Maker: `soft_targets`. Reader: `student`. For P positions and k candidates: `positions` are indices into
    the example's tokens (the distribution predicts that token), `token_ids` is [P, k] little-endian in 2 or 3 bytes
    each, `logprobs` float16 [P, k]; the tail's mass is 1 - sum(exp(logprobs)).
    """

    id: str  # hashes (teacher digest, example id, token ids, k)
    example_id: str
    k: int
    positions: tuple[int, ...]
    token_ids: bytes
    logprobs: bytes


@dataclass(frozen=True, slots=True)
class Preference:
    """Two completions of one prompt, of which a teacher is to like the first better. Maker: `preferences`."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_id: str  # the completions' ids
    rejected_id: str
    margin: float  # by how much more the chosen one helped the student, in nats
