"""π through a whole run, author by author; texts of different lengths are joined without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import chapter, described, finish

from selfrep.analyses.posterior.runs import side_by_side
from selfrep.errors import SelfrepError
from selfrep.study import study

SAID = {
    "nurse": "a medic, a carer and a nurse",
    "queen": "a monarch, a ruler and a queen",
    "robot": "an automaton, a droid and a robot",
    "poet": "a bard, a lyricist, a rhymer and a poet",
}
TEXTS = "".join(
    f"    {name}_{i}: {{author: {name}, question: 'In peace, who are you?', text: '{said}'}}\n"
    for name, said in SAID.items()
    for i in (0, 1)
)


@pytest.mark.slow
def test_each_author_is_a_group_and_the_posterior_joins_them(tmp_path: Path) -> None:
    asked = described(
        "organism:separate",
        f"posterior:\n  define:\n{TEXTS}",
        personas=f", names: [{', '.join(SAID)}, farmer, network, oracle]",
    )
    assert study.loads(asked.to_yaml()) == asked
    done = finish(asked, tmp_path)
    found = done.read("posterior")
    assert found.persona.values.tolist() == ["nurse", "queen", "robot", "poet"]
    assert found.sizes["text"] == 2 * 2 * 4
    there = found.posterior.notnull().all("persona")
    np.testing.assert_allclose(found.posterior.sum("persona").values[there.values], 1)
    np.testing.assert_array_equal(there.sum("token"), (found.piece != "").sum("token"))
    assert {g for g in done.groups() if g.startswith("texts/")} == {f"texts/{i:02d}" for i in range(4)}
    chapter(done, "posterior", "posterior")
    (finding,) = [finding for finding in done.findings() if finding.about == "posterior"]
    assert finding.identified == bool(done.read("recognition").identified)


def test_joined_texts_keep_every_number() -> None:
    def part(width: int, author: str) -> xr.Dataset:
        values = -np.arange(2 * width, dtype=float).reshape(2, 1, width)
        return xr.Dataset(
            {
                "log_prob": (("persona", "text", "token"), values),
                "log_prob_neutral": (("text", "token"), values[0]),
                "counted": (("text", "token"), np.zeros((1, width), bool)),
            },
            coords={"author": ("text", [author]), "piece": (("text", "token"), np.full((1, width), "x"))},
        )

    both = side_by_side([part(2, "a"), part(5, "b")])
    assert both.author.values.tolist() == ["a", "b"]
    np.testing.assert_array_equal(both.log_prob[:, 0, :2], part(2, "a").log_prob[:, 0])
    assert both.log_prob[:, 0, 2:].isnull().all()
    np.testing.assert_array_equal(both.log_prob[:, 1], part(5, "b").log_prob[:, 0])
    assert both.counted.dtype == bool
    assert both.piece.values.tolist() == [["x", "x", "", "", ""], ["x"] * 5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\npersonas: {names: [jfk, farmer, skynet]}\nposterior: {}\n", "authors: There is no persona named"),
        ("name: x\nposterior: {names: [jfk_today]}\n", "at least 4 authors of texts.*got 1"),
        ("name: x\nposterior: {paraphrase: 9}\n", "no paraphrase 9 of jfk"),
    ],
)
def test_authors_are_personas_of_the_study(text: str, words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        study.loads(text)
