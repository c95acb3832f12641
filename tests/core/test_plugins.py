"""Functions of the user's own: found by name, versioned by source."""

from pathlib import Path

import pytest

from pipelines.core.errors import UserError
from pipelines.core.hashing import file_digest
from pipelines.core.plugins import load_function


def test_a_function_is_found_in_the_working_folder_and_knows_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "user_code_of_filters.py").write_text(
        "def short(text):\n    return 'short' if len(text) < 9 else None\n"
    )
    found = load_function("user_code_of_filters:short")
    assert found.call("Why?") == "short"
    assert found.digest == file_digest(tmp_path / "user_code_of_filters.py")
    with pytest.raises(UserError, match="no function 'long'"):
        load_function("user_code_of_filters:long")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short", "write module:function"),
        (":short", "write module:function"),
        ("no_such_module_here:short", "cannot be imported"),
        ("sys:exit", "no source file"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_function(name)


def test_a_module_with_a_mistake_in_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "user_code_with_a_mistake.py").write_text("def short(text)\n")
    with pytest.raises(UserError, match="user_code_with_a_mistake"):
        load_function("user_code_with_a_mistake:short")
