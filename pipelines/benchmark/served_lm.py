"""A served model as the harness knows models: it is asked in texts, and tells log-likelihoods and writes.

Knows the harness's class and how a text becomes the tokens that are sent. Importing this imports the harness. Does not
know tasks; how requests reach the model is the asker's.

The ids are made here, by the model's own tokenizer, and sent as they are: nothing is left to a server's idea of where a
context ends, of a BOS, or of a template (lm-evaluation-harness #3275, #1411: chance scores, and no error).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from pipelines.benchmark.asker import Asker
from pipelines.core.chat import ChatTokenizer
from pipelines.core.config import Sampling
from pipelines.core.errors import UserError
from pipelines.core.records import Completion, Likelihood
from pipelines.generate.likelihood import likelihood_request
from pipelines.generate.teacher import Request, write_request

_DRAWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "min_p"}


class ServedLM(TemplateLM):
    """One model. `window` is how many tokens it can hold, or None where nobody here knows."""

    def __init__(self, asker: Asker, tokenizer: ChatTokenizer, window: int | None, task: str) -> None:
        super().__init__()
        self._asker, self._tokens, self._window, self._task = asker, tokenizer, window, task

    @property
    def eot_token_id(self) -> int:
        return self._tokens.eos_id

    @property
    def prefix_token_id(self) -> int:
        """What a text is scored after where no context is: a BOS, or the end of another text."""
        return self._tokens.eos_id if self._tokens.bos_id is None else self._tokens.bos_id

    @property
    def tokenizer_name(self) -> str:
        return self._asker.teacher.digest

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        if add_special_tokens is False:
            return self._tokens.encode(string)
        return self._tokens.encode_raw(self._tokens.as_document(string))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Up to where the answer begins; without a generation prompt the last message is the answer's beginning."""
        messages: Any = chat_history
        text = self._tokens.render(messages, for_answer=add_generation_prompt)
        if add_generation_prompt:
            return text
        begun = chat_history[-1]["content"]
        return text[: text.rindex(begun) + len(begun)]

    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        asked = [likelihood_request(self._asker.teacher, before, after) for _, before, after in requests]
        self._fit([request.tokens + 1 for request in asked])  # a server writes one token, whatever it is asked
        said = self._asker.ask(self._task, asked, Likelihood)
        return [(math.fsum(said[r.id].logprobs), said[r.id].is_greedy) for r in asked]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        windows = [self._windows(request.args[0]) for request in requests]
        told = iter(self._loglikelihood_tokens([window for its in windows for window in its]))
        return [math.fsum(next(told)[0] for _ in its) for its in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        drawn: Counter[tuple[str, Sampling]] = Counter()  # how often a prompt was met, where each answer is another
        asked = []
        for text, settings in (request.args for request in requests):
            sampling, prompt = self._sampling(settings), self._tokens.as_document(text)
            ordinal = drawn[prompt, sampling]
            drawn[prompt, sampling] += sampling.temperature > 0
            asked.append(write_request(self._asker.teacher, prompt, sampling, is_chat=False, ordinal=ordinal))
        self._fit([self._room(request) for request in asked])
        said = self._asker.ask(self._task, asked, Completion)
        return [said[request.id].text for request in asked]

    def _windows(self, text: str) -> list[tuple[None, list[int], list[int]]]:
        """The text in pieces that the window holds with a token before and one behind; each token is in one of them."""
        ids = self._tokens.encode(text)
        most = len(ids) if self._window is None else self._window - 2
        pieces = get_rolling_token_windows(ids, self.prefix_token_id, most, 1)
        return [(None, *make_disjoint_window(piece)) for piece in pieces]

    def _sampling(self, settings: dict[str, Any]) -> Sampling:
        told: dict[str, Any] = dict(normalize_gen_kwargs(settings))
        if strange := told.keys() - _DRAWN:
            raise UserError(
                f"benchmarks.tasks: {self._task} wants {', '.join(sorted(strange))} of generation, which is not put to "
                "endpoints here; leave it out, or take another task"
            )
        fields = {name: told[name] for name in ("temperature", "top_p", "min_p") if name in told}
        return Sampling(**{"temperature": 0, **fields}, max_tokens=told["max_gen_toks"], stop=tuple(told["until"]))

    def _room(self, request: Request) -> int:
        return len(request.prompt_ids(self._tokens)) + request.sampling.max_tokens

    def _fit(self, lengths: Sequence[int]) -> None:
        """Nothing is cut: a question without its beginning is another one."""
        window = self._window
        if window is not None and (long := [length for length in lengths if length > window]):
            raise UserError(
                f"benchmarks.tasks: {len(long):,} of {len(lengths):,} requests of {self._task} take up to "
                f"{max(long):,} tokens, and teachers.{self._asker.teacher.name}.engine.max_model_len is {window:,}; "
                "raise it, or lower benchmarks.num_fewshot"
            )
