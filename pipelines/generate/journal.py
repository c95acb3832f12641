"""The journal of a pool: what was under way when an actor died.

Knows one file per shard and one per actor, in a folder that is removed when the stage is finished. Each file has one
writer at a time, so it works on any file system. A shard's file is written before its rows are asked for and not again
when they are answered: what the ledger has by then was not under way any more.
"""

from collections.abc import Collection, Iterable

from pipelines.core.parts import Shard
from pipelines.core.storage import Folder

FRUITLESS_LIVES = 8


class ShardJournal:
    """How often each row of one shard was under way when its actor died.

    `attempt` names the run's driver: whoever ends a driver ends its actors too, and no row is to blame for that.
    """

    def __init__(self, folder: Folder, shard: Shard, attempt: str, unanswered: Collection[str]) -> None:
        self._folder, self._name, self._attempt = folder, f"shard-{shard.number:06d}.json", attempt
        self.deaths: dict[str, int] = {}
        if not folder.exists(self._name):
            return
        found = folder.read_json(self._name)
        self.deaths.update(found["deaths"])
        if found["attempt"] == attempt:
            for row in found["under_way"]:
                if row in unanswered:
                    self.deaths[row] = self.deaths.get(row, 0) + 1

    def under_way(self, rows: Iterable[str]) -> None:
        """From now on these rows, and no others of this shard, would be seen in a death."""
        entry = {"attempt": self._attempt, "under_way": list(rows), "deaths": self.deaths}
        self._folder.write_json(self._name, entry)


class Lives:
    """How often in a row an actor was started and died before it had an answer.

    Rows are no excuse for that: even a row that kills its engine is asked last. Ray would start the actor for ever.
    """

    def __init__(self, folder: Folder, actor: str) -> None:
        self._folder, self._name, self._fruitful = folder, f"actor-{actor}.json", False

    def begin(self, what: str) -> None:
        """Count this life. Raises RuntimeError where there were too many."""
        lives: int = self._folder.read_json(self._name) if self._folder.exists(self._name) else 0
        if lives >= FRUITLESS_LIVES:
            raise RuntimeError(f"{what} died {lives} times in a row without one answer")
        self._folder.write_json(self._name, lives + 1)

    def bore_fruit(self) -> None:
        if not self._fruitful:
            self._folder.remove(self._name)
            self._fruitful = True
