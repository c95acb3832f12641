"""A run whose disk is full, again and again: each time it ends in words, and with more room it goes on."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disks import BLOCK, SmallDisk
from small_run import PROMPTS, MakeFaculty, Run, small_recipe

from pipelines.core import manifest
from pipelines.core.errors import UserError
from pipelines.core.progress import Progress
from pipelines.core.records import Completion
from pipelines.core.storage import Folder

MORE = 3 * BLOCK  # room that is made after each failure


def test_a_full_disk_ends_the_run_in_words_and_with_room_it_goes_on_exactly(
    disk: SmallDisk, tmp_path: Path, recipe_data: dict[str, Any], make_faculty: MakeFaculty, runs: Folder,
    quiet: Progress,
) -> None:  # fmt: skip
    recipe = small_recipe(tmp_path, recipe_data["teachers"])
    usual, cramped = Run(recipe, runs), Run(recipe, Folder(str(disk.path / "runs")))
    usual.go(make_faculty(), quiet)
    stages_done = []
    while True:
        disk.leave(MORE)
        kept, faculty = replies(cramped.runs), make_faculty()
        ended = words_of(lambda faculty=faculty: cramped.go(faculty, quiet))
        assert not set(kept) & set(faculty.asked_ids), "what is kept is not asked again"
        if ended is None:
            break
        assert re.search(rf"cannot write .* of {disk.path}/runs/.*: No space left.*Make room", ended)
        assert not list(disk.path.rglob("_tmp-*")), "nothing is left half written"
        stages_done.append(len(list(disk.path.glob(f"runs/*/{manifest.FILE}"))))
    assert set(stages_done) == {0, 1, 2}, "it was full in each of the stages"
    assert (cramped.digests(), cramped.answers()) == (usual.digests(), usual.answers())
    assert sorted(replies(cramped.runs)) == sorted(replies(usual.runs))
    assert len(set(replies(usual.runs))) == len(PROMPTS)


def words_of(go: Callable[[], None]) -> str | None:
    """What ended it, if anything did."""
    try:
        go()
    except UserError as error:
        return str(error)
    return None


def replies(runs: Folder) -> list[str]:
    """The ids of all that the ledger has, as often as it has them."""
    folders = [runs.child(name) for name in runs.folders() if name.startswith("replies-")]
    return [row.id for folder in folders for part in folder.files() for row in folder.read_records(part, Completion)]
