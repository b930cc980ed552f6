"""A store that is filled block by block: what was stopped goes on, what was lost is noticed, others keep out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store import streamed
from selfrep.store.streamed import Large, Streamed

DIMS, SHAPE = ("prompt", "site", "layer", "position", "d_model"), (5, 2, 3, 2, 4)
BLANK = xr.Dataset(
    {"log_odds": ("prompt", np.full(5, np.nan))},
    {"prompt_hash": ("prompt", list("abcde")), "token": (("prompt", "position"), [["x", "É"]] * 5), "layer": [0, 4, 7]},
    {"model": "tiny"},
)
LARGE = Large("activations", DIMS, SHAPE, "float32")
MADE_OF = {"model": "tiny", "layers": [0, 4, 7]}
VALUES = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
ODDS = np.arange(5.0)


@pytest.fixture(autouse=True)
def two_rows_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "AT_ONCE", 2 * VALUES[0].nbytes)


def fill(store: Streamed, most: int = 9, made_of: dict[str, object] | None = None) -> list[range]:
    """Fill at most so many blocks; those that were."""
    with store.filling(BLANK, LARGE, MADE_OF if made_of is None else made_of):
        blocks = store.pending()[:most]
        for rows in blocks:
            store.write(rows, {"activations": VALUES[rows], "log_odds": ODDS[rows]})
    return blocks


def test_what_was_filled_is_read_lazily_and_by_xarray_alone(tmp_path: Path) -> None:
    store = Streamed(tmp_path / "new" / "acts.zarr")
    assert fill(store) == [range(2), range(2, 4), range(4, 5)]
    found = store.open()
    assert not isinstance(found.activations.variable._data, np.ndarray), "on disk until it is asked for"
    np.testing.assert_array_equal(found.activations, VALUES)
    np.testing.assert_array_equal(found.log_odds, ODDS)
    assert found.activations.dims == DIMS
    assert found.token.values.tolist() == [["x", "É"]] * 5
    assert set(found.activations.coords) == {"prompt_hash", "token", "layer"}
    assert found.attrs == {"model": "tiny"}
    np.testing.assert_array_equal(found.activations.sel(layer=4)[3], VALUES[3, :, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(xr.open_zarr(store.path).activations, VALUES)
    assert [p.name for p in store.path.parent.iterdir()] == ["acts.zarr"], "nothing is left beside it"


def test_what_was_stopped_goes_on_with_what_is_left(tmp_path: Path) -> None:
    store = Streamed(tmp_path / "acts.zarr")
    assert fill(store, most=1) == [range(2)]
    with pytest.raises(SelfrepError, match="not complete: 3 rows are missing"):
        store.open()
    assert fill(store) == [range(2, 4), range(4, 5)]
    assert fill(store) == []
    np.testing.assert_array_equal(store.open().activations, VALUES)


def test_a_block_that_was_not_marked_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, real = Streamed(tmp_path / "acts.zarr"), streamed._array

    def dying(group: object, name: str) -> object:
        if name == "done":
            raise KeyboardInterrupt
        return real(group, name)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, store.filling(BLANK, LARGE, MADE_OF):
        patched.setattr(streamed, "_array", dying)
        with pytest.raises(KeyboardInterrupt):
            store.write(range(2), {"activations": -VALUES[:2], "log_odds": -ODDS[:2]})
    assert fill(store)[0] == range(2)
    np.testing.assert_array_equal(store.open().activations, VALUES)


def test_a_block_without_a_number_is_no_lost_file_and_a_lost_file_is_none(tmp_path: Path) -> None:
    store = Streamed(tmp_path / "acts.zarr")
    with store.filling(BLANK, LARGE, MADE_OF):
        for rows in store.pending():
            store.write(rows, {"activations": np.full_like(VALUES[rows], np.nan), "log_odds": ODDS[rows]})
    assert np.isnan(store.open().activations).all()
    lost = store.path / "activations" / "c" / "1" / "0" / "2" / "0" / "0"
    lost.unlink()
    with pytest.raises(SelfrepError, match="lost files of 'activations': 1 of 18 chunks"):
        store.open()


def test_a_store_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    store = Streamed(tmp_path / "acts.zarr")
    fill(store)
    with pytest.raises(SelfrepError, match=r"something else \(layers \[0, 4, 7\], now \[1\]\)"):
        fill(store, made_of=MADE_OF | {"layers": [1]})
    np.testing.assert_array_equal(store.open().activations, VALUES)


@pytest.mark.parametrize("what", ["a file", "a folder", "another store", "odd JSON"])
def test_what_selfrep_did_not_begin_is_not_written_into(what: str, tmp_path: Path) -> None:
    path = tmp_path / "acts.zarr"
    if what == "a file":
        path.write_text("mine")
    elif what == "a folder":
        path.mkdir()
        (path / "mine").touch()
    else:
        attrs = {"made_of": "[1]"} if what == "odd JSON" else {}
        xr.Dataset({"x": ("a", [1.0])}, attrs=attrs).to_zarr(path, zarr_format=3, consolidated=False)
    before = sorted(p for p in path.rglob("*"))
    with pytest.raises(SelfrepError, match="no store of activations that selfrep began"):
        fill(Streamed(path))
    assert sorted(p for p in path.rglob("*")) == before


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    store = Streamed(tmp_path / "acts.zarr")

    def held() -> Iterator[None]:
        with store.filling(BLANK, LARGE, MADE_OF):
            yield

    first = held()
    next(first)
    with pytest.raises(SelfrepError, match="being filled by another process"):
        fill(store)
    first.close()
    assert len(fill(store)) == 3
