"""Each filter by a literal sentence and the reason it gives."""

from pathlib import Path

import pytest

from pipelines.core.config import Instructions
from pipelines.core.errors import UserError
from pipelines.core.plugins import content_key
from pipelines.generate.filters import chain, first_reason, keywords, length, start

LONG = " ".join(["word"] * 151)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write a poem.", "too short"),
        ("Write a short poem.", None),
        (LONG, "too long"),
        (LONG.removeprefix("word "), None),
        ("", "too short"),
    ],
)
def test_length(text: str, reason: str | None) -> None:
    assert length(text, min_words=4, max_words=150) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Describe the image above.", "beyond text"),
        ("DRAW a house.", "beyond text"),
        ("Go to the shop and buy bread.", "beyond text"),
        ("Plot sales, then the profits.", "beyond text"),
        ("Explain what a paragraph is.", None),
        ("Imagine a profile of a mapmaker.", None),
    ],
)
def test_keywords_are_whole_words(text: str, reason: str | None) -> None:
    assert keywords(text) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- Write a poem.", "odd start"),
        ("¿Qué hora es?", "odd start"),
        ("", "odd start"),
        ("7 reasons to read.", None),
        ("Write a program that sorts numbers.", "asks for a program"),
        ("Explain how to write a program.", None),
    ],
)
def test_start(text: str, reason: str | None) -> None:
    assert start(text) == reason


def config(*filters: str) -> Instructions:
    return Instructions(teacher="main", target=1, min_words=2, filters=filters)


@pytest.mark.parametrize(
    ("filters", "text", "reason"),
    [
        (("length", "keywords"), "Draw", "too short"),
        (("keywords", "length"), "Draw", "beyond text"),
        (("length",), "Draw this", None),
        ((), "", None),
    ],
)
def test_the_first_reason_in_the_recipes_order_counts(filters: tuple[str, ...], text: str, reason: str | None) -> None:
    assert first_reason(text, chain(config(*filters))) == reason


def test_a_filter_of_the_users_own_enters_the_key_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "def no_recipes(text):\n    return 'a recipe' if 'bread' in text else None\n"
    for name, code in (("own_filters_1", source), ("own_filters_2", source), ("own_filters_3", f"# new\n{source}")):
        (tmp_path / f"{name}.py").write_text(code)
    filters = chain(config("length", "own_filters_1:no_recipes"))
    assert first_reason("Bake some bread", filters) == "a recipe"
    first, second, third = (content_key([f"own_filters_{n}:no_recipes"])[0].split("@")[1] for n in (1, 2, 3))
    assert first == second != third
    assert content_key(["length"]) == ["length"]


@pytest.mark.parametrize("name", ["lenght", "no_such_module:f"])
def test_an_unknown_filter_is_told(name: str) -> None:
    with pytest.raises(UserError, match=name):
        chain(config(name))
