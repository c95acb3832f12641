"""Keys and digests: by meaning, in any order, and refused where there is no meaning to hash."""

import math
from pathlib import Path

import pytest

from pipelines.core.hashing import KEY_LENGTH, file_digest, key_of, rows_digest, seed_of


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (len, "builtin_function_or_method"),
        ({"sampling": {"stop": [lambda: None]}}, "value[0].sampling.stop[0] is a function"),
        (math.nan, "nan"),
        ({"lr": -math.inf}, "value[0].lr is -inf"),
        (object(), "object"),
        (Path("runs"), "Path"),
        ({"ids": {1, 2}}, "value[0].ids is a set"),
        ({1: "one"}, "not a string"),
    ],
)
def test_what_has_no_stable_meaning_is_refused_and_named(value: object, words: str) -> None:
    with pytest.raises(TypeError) as refused:
        key_of(value)
    assert words in str(refused.value)


def test_a_key_is_the_same_for_the_same_meaning_only() -> None:
    key = key_of("stage", {"a": 1, "b": [True, None, "é"]})
    assert key == key_of("stage", {"b": (True, None, "é"), "a": 1})
    others = [("stage", {"a": 1, "b": [1, None, "é"]}), ("stage", {"a": 1, "b": [True, None, "e"]}), ("stagea", {})]
    assert len({key, *(key_of(*parts) for parts in others)}) == 4
    assert key_of("a", "b") != key_of("ab") != key_of(["a", "b"])
    assert len(key) == KEY_LENGTH


def test_a_sampling_seed_fits_31_bits_and_follows_the_key() -> None:
    seeds = [seed_of(f"request {n}") for n in range(1000)]
    assert seeds == [seed_of(f"request {n}") for n in range(1000)]
    assert len(set(seeds)) == 1000
    assert all(0 < seed < 2**31 for seed in seeds)


def test_a_digest_of_rows_knows_content_and_number_but_no_order() -> None:
    rows = [{"id": "a", "ids": (1, 2), "raw": b"\x00\xff"}, {"id": "b", "ids": (), "raw": b""}]
    digest = rows_digest(rows)
    assert digest == rows_digest(reversed(rows))
    assert digest == rows_digest(dict(reversed(row.items())) for row in rows)
    changed = [rows[:1], [*rows, rows[1]], [rows[0], {**rows[1], "raw": b"\x00"}], [rows[0], {**rows[1], "ids": (0,)}]]
    assert len({digest, rows_digest([]), *map(rows_digest, changed)}) == 6


def test_a_file_is_what_its_bytes_are(tmp_path: Path) -> None:
    for name, data in (("a", b"abc"), ("b", b"abc"), ("c", b"abd")):
        (tmp_path / name).write_bytes(data)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
    # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
