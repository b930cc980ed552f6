"""Effects of several calls are joined as one call would have returned them, and never where they are of other kinds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store.concat import concat
from selfrep.store.run import Run
from selfrep.store.run_directory import RunDirectory


def effects(
    width: int, item: str = "who", answers: tuple[int, ...] = (7,), start: float = 0.0, **attrs: object
) -> xr.Dataset:
    """Two pairs over two layers, prompts of `width` tokens."""
    values = start + np.arange(4.0 * width).reshape(2, 2, width)
    ids = np.arange(2 * width).reshape(2, width)
    return xr.Dataset(
        {
            "patched": (("pair", "layer", "position"), values),
            "exact": (("pair", "layer", "position"), values > 1),
            "target_metric": ("pair", [start, start + 1]),
            "source_ids": (("pair", "source_token"), ids),
            "target_ids": (("pair", "target_token"), ids + 100),
            "answer_ids": (("item_name", "side", "k"), [[list(answers), [9] * len(answers)]]),
            "error_bound": 0.5,
        },
        {
            "layer": [0, 4],
            "position": list(range(-width, 0)),
            "item": ("pair", [item, item]),
            "source": ("pair", ["a", "b"]),
            "token": (("pair", "position"), [[f"t{k}" for k in range(width)]] * 2),
            "segment_of": (("pair", "position"), [["question"] * (width - 1) + ["prefill"]] * 2),
            "segment": ("position", ["question"] * (width - 1) + ["prefill"]),
            "item_name": [item],
            "side": ["first", "second"],
        },
        {"site": "resid_pre", "metric": "answer_log_odds", "model": "tiny", "seed": 0} | attrs,
    )


def test_pairs_of_other_widths_are_aligned_at_the_end() -> None:
    short, long = effects(2, "short", (7,)), effects(4, "long", (7, 8), start=50, seed=1)
    joined = concat([short, long])
    assert joined.position.values.tolist() == [-4, -3, -2, -1]
    assert joined.sizes["pair"] == 4
    np.testing.assert_array_equal(joined.patched[:2, :, -2:], short.patched)
    assert np.isnan(joined.patched[:2, :, :2]).all()
    np.testing.assert_array_equal(joined.patched[2:], long.patched)
    assert joined.exact.dtype == bool
    assert not joined.exact[:2, :, :2].any()
    assert joined.token.values[0].tolist() == ["", "", "t0", "t1"]
    assert joined.segment.values.tolist() == ["question"] * 3 + ["prefill"]
    assert joined.source_ids.values[0].tolist() == [-1, -1, 0, 1]
    assert joined.target_ids.dtype.kind == "i"
    assert joined.answer_ids.sel(item_name="short", side="first").values.tolist() == [7, -1]
    assert joined.answer_ids.sel(item_name="long", side="first").values.tolist() == [7, 8]
    assert joined.attrs["site"] == "resid_pre"
    assert "seed" not in joined.attrs
    assert "error_bound" not in joined


def test_one_part_is_itself() -> None:
    alone = effects(3)
    xr.testing.assert_identical(concat([alone]), alone.drop_vars("error_bound"))
    xr.testing.assert_identical(concat([alone]), concat(alone))


def test_segments_are_joined_too() -> None:
    def by_segment(names: list[str]) -> xr.Dataset:
        return (
            effects(2)
            .drop_vars(["token", "segment_of", "segment"])
            .rename(position="segment")
            .assign_coords(segment=names)
        )

    assert concat([by_segment(["all", "last"])] * 2).sizes["pair"] == 4
    with pytest.raises(
        SelfrepError, match=r"the same segments: part 0 has \['all', 'last'\], part 1 \['all', 'prefill'\]"
    ):
        concat([by_segment(["all", "last"]), by_segment(["all", "prefill"])])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (effects(2, site="attn_out"), "effects of one site .* 'resid_pre', part 1 'attn_out'"),
        (effects(2, model="other"), "effects of one model"),
        (effects(2, metric="kl_divergence"), "effects of one metric"),
        (effects(2).isel(layer=[0]), r"the same layers: part 0 has \[0, 4\], part 1 \[0\]"),
        (effects(2, answers=(8,)), "Item 'who' comes with two different sets of answers"),
        (effects(2).drop_vars("target_metric"), "part 1 has no 'target_metric'"),
        (effects(2).expand_dims(metric=["a"]), "one plan for all"),
        (xr.Dataset({"estimate": 1.0}), r"part 1 has \['estimate'\]"),
    ],
)
def test_effects_of_another_kind_are_refused_with_the_reason(other: xr.Dataset, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        concat([effects(2), other])


def test_answers_of_token_ids_are_numbered_anew() -> None:
    first, second, third = (effects(2, "answers0", answers).drop_vars("source") for answers in ((7,), (8,), (7,)))
    joined = concat([first, second, third])
    assert joined["item"].values.tolist() == ["answers0"] * 2 + ["answers1"] * 2 + ["answers0"] * 2
    assert joined.answer_ids.sel(side="first").values.ravel().tolist() == [7, 8]


def test_runs_and_trees_are_joined_site_by_site(tmp_path) -> None:  # type: ignore[no-untyped-def]
    runs = []
    for k, width in enumerate((2, 3)):
        directory = RunDirectory(tmp_path / str(k))
        directory.create_or_resume(f"name: run {k}\n", str(k))
        directory.prepare("effects/resid_pre", effects(width))
        directory.write_rows("effects/resid_pre", [0, 1], effects(width))
        runs.append(Run(directory))
    joined = concat(runs)
    assert list(joined.children) == ["resid_pre"]
    wanted = concat([effects(2), effects(3)])
    np.testing.assert_array_equal(joined["resid_pre"].patched, wanted.patched)
    np.testing.assert_array_equal(joined["resid_pre"].token, wanted.token)
    assert "done" not in joined["resid_pre"]
    with pytest.raises(SelfrepError, match=r"the same plans or sites; got \[\['resid_pre'\], \['z'\]\]"):
        concat([runs[0], xr.DataTree.from_dict({"z": effects(2)})])
    with pytest.raises(SelfrepError, match="got DataTree, Dataset"):
        concat([runs[0], effects(2)])
    with pytest.raises(SelfrepError, match="got nothing"):
        concat([])
