"""A chat template becomes text, then tokens with roles.

Knows Jinja chat templates and `tokenizer.json`. Does not know weights or losses, and needs no transformers.
Roles come from character spans: each message's content is rendered between two private-use marks, whose places
give the span; marker ids are never searched for.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

from jinja2 import Template
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer as _Tokenizer

from pipelines.core.errors import UserError
from pipelines.core.records import Message

# `end` closes an assistant's turn; `separator` is the white space between a turn and what the template writes next.
Role = Literal["template", "system", "user", "input", "assistant", "end", "separator"]
_Text = tuple[tuple[int, ...], tuple[Role, ...]]  # token ids and their roles
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Tokens:
    """Token ids of a text, each with the role of the characters it covers. Of an encoder-decoder: both its texts'."""

    ids: tuple[int, ...]
    roles: tuple[Role, ...]
    encoder_ids: tuple[int, ...] = ()
    encoder_roles: tuple[Role, ...] = ()


@dataclass(frozen=True)
class ChatTokenizer:
    """A model folder's tokenizer, and its chat template or a plain one that ships. Pickles as their names."""

    folder: str
    template: str = "chat"  # the model's own

    @cached_property
    def _tokenizer(self) -> _Tokenizer:
        file = Path(self.folder) / "tokenizer.json"
        if not file.is_file():
            raise UserError(f"{self.folder} has no tokenizer.json; save the model with its fast tokenizer")
        return _Tokenizer.from_file(str(file))

    @cached_property
    def _config(self) -> dict[str, object]:
        return self._read("tokenizer_config.json")

    @cached_property
    def is_encoder_decoder(self) -> bool:
        """Whether the model reads with an encoder and writes with a decoder. False where only its tokenizer is here."""
        return bool(self._read("config.json").get("is_encoder_decoder"))

    @cached_property
    def _decoder_start(self) -> int:
        """The id that a decoder's text starts with."""
        for name in ("config.json", "generation_config.json"):
            found = self._read(name).get("decoder_start_token_id")
            if isinstance(found, int):
                return found
        raise UserError(f"{self.folder}: neither config.json nor generation_config.json has a decoder_start_token_id")

    def _read(self, name: str) -> dict[str, object]:
        file = Path(self.folder) / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def __getstate__(self) -> dict[str, str]:
        return {"folder": self.folder, "template": self.template}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)

    @cached_property
    def template_source(self) -> str:
        """The template's own text.

        A plain one opens with a BOS where this tokenizer opens every document with one. What an encoder reads is such a
        document, so there the tokenizer does.
        """
        if self.template != "chat":
            opening = "{{ bos_token }}" if self._opens_with_bos and not self.is_encoder_decoder else ""
            return opening + (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")
        file = Path(self.folder) / "chat_template.jinja"
        template = file.read_text(encoding="utf-8") if file.is_file() else self._config.get("chat_template")
        if not isinstance(template, str):
            raise UserError(
                f"{self.folder} has no chat template; a chat teacher needs one, and a student of `method: tune` can be "
                "taught with a plain one (student.learn.template; bare is the words alone, as models like T5 know them)"
            )
        return template

    @cached_property
    def _template(self) -> Template:
        try:
            return _environment().from_string(self.template_source)
        except TemplateError as error:
            raise UserError(f"{self.folder}: the chat template cannot be read: {error}") from error

    @cached_property
    def eos(self) -> str:
        """The end-of-sequence token's text."""
        value = self._config.get("eos_token")
        text = value.get("content") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise UserError(f"{self.folder}: tokenizer_config.json names no eos_token")
        return text

    @cached_property
    def special(self) -> tuple[str, ...]:
        """Texts of the special tokens, the longest first, so that none is taken for another's beginning."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        return tuple(sorted((t.content for t in added if t.special), key=len, reverse=True))

    @cached_property
    def eos_id(self) -> int:
        found = self._tokenizer.token_to_id(self.eos)
        if found is None:
            raise UserError(f"{self.folder}: the eos token {self.eos!r} is not in the vocabulary")
        return int(found)

    @property
    def bos_id(self) -> int | None:
        """The BOS, whether the tokenizer writes it or not; None where there is none."""
        return int(self._tokenizer.token_to_id(self._bos)) if self._bos else None

    def vocabulary(self) -> dict[str, int]:
        """The token map, text -> id."""
        return dict(self._tokenizer.get_vocab(with_added_tokens=True))

    def encode(self, text: str) -> list[int]:
        """Ids of rendered text: nothing is added to it."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_raw(self, text: str) -> list[int]:
        """Ids of a plain document, with what the tokenizer puts around it (a BOS, often)."""
        return list(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def as_document(self, text: str) -> str:
        """The text without a BOS of its own where `encode_raw` puts one before it: so there is one, and not two."""
        return text.removeprefix(self._bos) if self._opens_with_bos else text

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def decode_whole(self, ids: Sequence[int]) -> str:
        """The text of ids with their special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def render(self, messages: Sequence[Message], for_answer: bool = False) -> str:
        """The conversation as the model sees it; `for_answer` opens the assistant's turn."""
        try:
            return self._template.render(
                messages=list(messages),
                add_generation_prompt=for_answer,
                eos_token=self.eos,
                bos_token=self._bos,
            )
        except TemplateError as error:
            raise UserError(f"{self.folder}: the chat template refuses this conversation: {error}") from error

    def prompt_ids(self, user_turn: str, earlier: Sequence[str] = ()) -> list[int]:
        """A user's turn, after those before it where there are any, rendered up to where the answer begins."""
        turns = [turn.strip() for turn in (*earlier, user_turn)]
        return self.encode(self.render(as_messages(turns), for_answer=True))

    def closes_answers(self) -> bool:
        """Whether the template ends an assistant's turn with a special token: what a student learns to stop by."""
        talk: list[Message] = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]
        return "end" in self.tokens(talk).roles

    def tokens(self, messages: Sequence[Message]) -> Tokens:
        """The conversation's tokens with roles; `end` is the special token that closes an assistant's turn.

        An encoder reads all that comes before the last answer; its decoder writes that answer and the end.
        """
        clean: list[Message] = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
        if not self.is_encoder_decoder:
            return Tokens(*self._encoded(clean))
        *before, answer = clean
        return Tokens(*self._written(answer["content"]), *self._encoded(before, is_read=True))

    def _written(self, answer: str) -> _Text:
        """What a decoder sees: a token to start with, and then all that the model has to write."""
        ids = self.encode_raw(answer)
        if ids[-1] != self.eos_id:
            raise UserError(f"{self.folder}: its tokenizer ends a text with no {self.eos}, so a student could not stop")
        said: list[Role] = ["assistant"] * (len(ids) - 1)
        return (self._decoder_start, *ids), ("template", *said, "end")

    def _encoded(self, messages: Sequence[Message], is_read: bool = False) -> _Text:
        """A rendered conversation; where an encoder reads it, up to where the answer begins, and as a document."""
        text = self.render(messages, for_answer=is_read)
        spans = self._spans(messages, text, for_answer=is_read)
        encoding = self._tokenizer.encode(text.rstrip() if is_read else text, add_special_tokens=is_read)
        return tuple(encoding.ids), tuple(_role_at(start, stop, spans) for start, stop in encoding.offsets)

    def _spans(self, messages: Sequence[Message], text: str, for_answer: bool) -> list[tuple[int, int, Role]]:
        """Character spans [start, stop) of contents, closing end tokens and separators in the rendered text."""
        opening, closing = _marks(messages)
        marked: list[Message] = [{"role": m["role"], "content": f"{opening}{m['content']}{closing}"} for m in messages]
        rendered = self.render(marked, for_answer)
        spans: list[tuple[int, int, Role]] = []
        said: list[str] = []
        before, *pieces = rendered.split(opening)
        at = len(before)
        for message, piece in zip(messages, pieces, strict=False):
            content, _, rest = piece.partition(closing)
            said.append(content)
            spans.append((at, at + len(content), message["role"]))  # type: ignore[arg-type]
            at += len(content)
            close = next((text for text in self.special if rest.startswith(text)), "")
            after = at + len(close)
            if message["role"] == "assistant" and close:
                spans.append((at, after, "end"))
            at += len(rest)
            spans.append((after, at - len(rest[len(close) :].lstrip()), "separator"))
        unmarked = rendered.replace(opening, "").replace(closing, "")
        if len(pieces) != len(messages) or said != [m["content"] for m in messages] or unmarked != text:
            raise UserError(f"{self.folder}: the chat template changes a message's text, so roles cannot be placed")
        return spans

    @property
    def _bos(self) -> str:
        value = self._config.get("bos_token")
        text = value.get("content") if isinstance(value, dict) else value
        return text if isinstance(text, str) else ""

    @property
    def _opens_with_bos(self) -> bool:
        return bool(self._bos) and self.encode_raw("a")[:1] == [self._tokenizer.token_to_id(self._bos)]


def as_messages(turns: Sequence[str]) -> list[Message]:
    """A user's and an assistant's turns, one after the other, as chat templates take them."""
    return [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]


def _marks(messages: Sequence[Message]) -> tuple[str, str]:
    """Two private-use characters that no message holds."""
    used = {character for m in messages for character in m["content"]}
    first, second = islice((c for c in map(chr, range(0xE000, 0xF8FF)) if c not in used), 2)
    return first, second


def _role_at(start: int, stop: int, spans: Sequence[tuple[int, int, Role]]) -> Role:
    """The role of a token over characters [start, stop): that of the span that holds all of it, else template.

    Some tokenizers leave spaces out of their offsets, so a token of spaces covers nothing. Contents are stripped,
    so it belongs to one only where it lies strictly inside; a separator is nothing but spaces.
    """
    for first, last, role in spans:
        covers = start < stop or (role == "separator" and first < last)
        if (first <= start and stop <= last) if covers else (first < start < last):
            return role
    return "template"


def _environment() -> ImmutableSandboxedEnvironment:
    """Templates come with models, so they run sandboxed; `raise_exception` is what they use to refuse."""

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return environment
