"""Every sentence says the numbers of its own group, at the cell that was fixed beforehand, in their unit, each beside
its control.

One table holds what each finding must be read from. All numbers of a group differ (see groups.py), so a finding that
reads another variable, bound, layer or row says a number that the table does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from tests.report.groups import GROUPS, closed, decimals, run_of

from selfrep.analyses.sentences import spoken
from selfrep.report.findings import findings as all_findings
from selfrep.stats import numbers
from selfrep.store.findings import Finding

Cell = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class Source:
    """Where the numbers of one finding stand.

    Attributes:
        group: of the run.
        cell: from the group to the one cell the finding is about.
        title: words that its title must hold.
        estimate: the variables of its value, its low and its high end.
        control, sure: the variables whose numbers stand in `control` and in `how_sure`, in order. A pair of a cell and
            a name is read from that cell of the group.
        counts: what `how_sure` must say beside them.
        nats: how many of the numbers in `control` are said to be nats.
        unit: as the finding has it.
    """

    group: str
    cell: Cell
    title: str
    control: tuple[str | tuple[Cell, str], ...]
    sure: tuple[str, ...] = ("p",)
    estimate: tuple[str, str, str] = ("estimate", "ci_low", "ci_high")
    counts: tuple[str, ...] = ("labels of this group", "4,321")
    nats: int = 0
    unit: str = ""

    @property
    def about(self) -> str:
        """The analysis whose group it is."""
        owners = {"referents": "identification", "recognition": "posterior", "separation_chosen": "separation"}
        return owners.get(self.group, self.group.partition("/")[0])


def item(name: str) -> Cell:
    return lambda data: data.sel(item=name)


def fixed(data: xr.Dataset) -> xr.Dataset:
    """Three quarters of the depth, at the first site and the last token."""
    return data.sel(layer=3, position=-1, site="resid_pre")


def moved(layer: int, direction: str = "denoise") -> Cell:
    return lambda data: data.sel(layer=layer, direction=direction, segment="all")


def from_self(kind: str) -> Cell:
    return lambda data: fixed(data).sel(reference="unprompted", kind=kind)


def one_side(data: xr.Dataset) -> xr.Dataset:
    return fixed(data).sel(side="human")


def exchanged(order: str) -> Cell:
    return lambda data: data.sel(order=order, donor="both")


def user(name: str) -> tuple[str, str, str]:
    return (name, f"{name}_ci_low", f"{name}_ci_high")


def all_words(name: str) -> tuple[str, str, str]:
    return (f"all_words_{name}", "all_words_ci_low", "all_words_ci_high")


def percent(row: str, names: tuple[str, ...]) -> tuple[tuple[Cell, str], ...]:
    """Shares of a row of items, as they are told in per cent."""
    return tuple((lambda data, name=name: 100 * data.sel(item=row)[[name]], name) for name in names)  # type: ignore[misc]


def paths(order: str) -> tuple[tuple[Cell, str], ...]:
    """What M's sentence says of an order: P, the total, S, direct; then what random subspaces reach."""
    at = exchanged(order)
    return (
        (lambda data: at(data).sel(path="P"), "phi"),
        (at, "total"),
        (lambda data: at(data).sel(path="S"), "phi"),
        (lambda data: at(data).sel(path="direct"), "phi"),
        (lambda data: at(data).sel(mediator="P"), "random"),
        (lambda data: at(data).sel(mediator="S"), "random"),
    )


def whole(data: xr.Dataset) -> xr.Dataset:
    return data


def _identified(scale: str, counts: str) -> Source:
    return Source(
        "identification",
        lambda data: data.sel(subscale=scale, persona="smollm"),
        f"Told that it is smollm, the model leans towards the subscale “{spoken(scale)}”",
        (*user("user_is"), *user("difference")),
        sure=all_words("estimate"),
        counts=("this one persona", counts),
        unit="SDs",
    )


MAIN = ("estimate", "ci_low", "ci_high")

SOURCES = [
    Source(
        "divergence", from_self("human"), "At layer 3 and the last token, humans lie this far from the unprompted self",
        ("kind_user_is", (one_side, "within"), (fixed, "halves")),
        estimate=("kind_estimate", "kind_ci_low", "kind_ci_high"),
        counts=("57 families",),
    ),
    Source(
        "divergence", from_self("human"), "The distance of humans from the unprompted self stays", (), sure=(),
        counts=(), estimate=user("onset"), unit="of the depth",
    ),
    Source(
        "divergence", lambda data: fixed(data).sel(reference="unprompted", persona="smollm"),
        "the tuned default (smollm) lies this far from the unprompted self", ((fixed, "halves"),), sure=(),
        counts=("no p",),
    ),
    Source(
        "items", item("all in character"), "AI and humans answer this far apart, in the middle one of 23 items",
        ("shift", "ci_low", "ci_high", *user("user_shift"),
         *percent("all in character", user("kept"))), nats=2,
        sure=("median_p", *all_words("shift")), estimate=user("median"), unit="nats",
        counts=("57 and 68 families", "labels of this group", "4,321"),
    ),
    Source(
        "items", item("all spectator, third person"), "Asked from outside, AI and humans answer this far apart",
        ("shift", "ci_low", "ci_high", *user("user_shift"),
         *percent("all spectator, third person", user("kept"))), nats=2,
        sure=("median_p", *all_words("shift")), estimate=user("median"), unit="nats",
        counts=("57 and 68 families", "labels of this group", "4,321"),
    ),
    Source(
        "binding", lambda data: data.sel(item="all in_character", contrast="between sides"), "the speaker",
        ("you_shift", "user_shift"), nats=2, sure=("p", *all_words("estimate")),
        counts=("57 and 68", "23 items", "two conditions", "2,048"),
    ),
    Source(
        "bleed", item("all third_person"), "questions from outside, the persona",
        (*user("user_is"), *user("bound"), "truth_shift", "echo_shift", "persona_shift"), nats=1,
        sure=("p", *all_words("estimate")), counts=("57 and 68", "23 items", "labels of this group", "4,321"),
    ),
    Source(
        "bleed", item("all first_person"), "answered as “I”",
        (*user("user_is"), *user("bound"), "truth_shift", "echo_shift", "persona_shift"), nats=1,
        sure=("p", *all_words("estimate")), counts=("57 and 68", "34 items", "labels of this group", "4,321"),
    ),
    Source(
        "spectator", whole, "What the model, asked from outside, foretells of personas’ answers",
        (*user("reader"), "others", *user("slope"), "skill"), nats=1,
        counts=("57 families", "23 items", "foretold of families"),
    ),
    Source(
        "spectator", whole, "foreseen to a larger part than it is let in", ("median_foresight", "median_bleed"),
        sure=(), estimate=user("ahead"), counts=("124 personas, of 125",),
    ),
    _identified("ai_human", "and the items."),
    _identified("maker", "left out: one item"),
    *(
        Source(
            "referents", lambda data, name=name: data.sel(series=name), f"one referent of “{name}”",  # type: ignore[misc]
            ("null",), estimate=("mean", "ci_low", "ci_high"),
            counts=("57 families of 3 personas", "labels of this group"),
            unit="SDs a step",
        )
        for name in ("series", "other")
    ),
    Source(
        "default_axis", lambda data: fixed(data).sel(who="unprompted"), "At layer 3 and the last token",
        (
            "gap", "null", "own_gap", "other_gaps",
            *((lambda data: fixed(data).sel(who="user: default"), k) for k in ("estimate", "ci_low", "ci_high")),
        ),
        sure=("p", "smallest_p"), counts=("4,321 families",),
    ),
    Source(
        "separation", fixed, "At layer 3 and the last token, AI and humans lie", ("same_side", "null_high"),
        sure=("p", "p_max"),
    ),
    Source(
        "separation", fixed, "bound to the speaker", (*user("user_is"), *user("condition_cosine")), sure=(),
        estimate=user("bound_share"), counts=("same draws",),
    ),
    Source(
        "separation", fixed, "any two personas lie this far apart", ("same_side", "other_side", *MAIN), sure=(),
        estimate=user("identity"), counts=("families",),
    ),
    Source(
        "separation_chosen", whole, "layer 7 and position −5", ("chosen_on", "same_side", *user("user_is")),
        sure=("p", "reliability"),
        counts=("labels of this group", "4,321", "Chosen on 2 personas, tested on 2."),
    ),
    Source(
        "transfer/segments/resid_pre", moved(3), "At layer 3, over all tokens after the system text",
        (
            *((moved(3, "noise"), name) for name in ("estimate", "ci_low", "ci_high")),
            (moved(1), "estimate"), "control_paraphrase", "control_persona", "control_random", "control_fact",
        ),
        sure=("p", "smallest_p"),
        counts=("13 pairs of personas of 11 pairs of families", "Left out: 3 of 27 runs", "3 since d is dull"),
    ),
    *(
        Source(
            "anomaly", lambda data, form=form: data.sel(form=form), words, user("capability"),  # type: ignore[misc]
            nats=1, counts=("41 families of 57 personas", "labels of this group", "4,321"), unit="nats",
        )
        for form, words in (("persona", "Asked itself"), ("spectator", "Asked from outside"))
    ),
    *(
        Source(
            "mediation", exchanged(order), words, paths(order), nats=1,
            counts=("57 scenarios", "68 refits", "labels of this group", "4,321", "P, S"),
        )
        for order, words in (("P first", "fiction taken whole"), ("S first", "self taken whole"))
    ),
    Source(
        "mediation", whole, "what the cue of fiction does to the behaviour",
        tuple((lambda data: data.sel(stakes=0), k) for k in user("cue_effect"))
        + tuple((lambda data: data.sel(cue=0), k) for k in user("stakes_effect")),
        nats=2, sure=("cue_by_stakes_p",), estimate=user("cue_by_stakes"),
        counts=("57 scenarios", "labels of this group", "4,321"), unit="nats",
    ),
    Source(
        "directness", whole, "without any (D)",
        (*((lambda data: data.sel(share=1.0), k) for k in user("shift")), "paraphrase_sd", "p_reasoning"),
        nats=1, counts=("57 scenarios", "labels of this group", "4,321"),
    ),
    Source(
        "recognition", whole, "this probability (π)", ("chance", "shuffled", "null"),
        counts=("68 texts by 57 personas of 41 families", "labels of this group", "4,321"),
    ),
]  # fmt: skip
"""Every finding of a run that holds all groups, in the order in which a reader meets them."""


@pytest.fixture(scope="module", autouse=True)
def told_whole() -> Iterator[None]:
    """Sentences with all the digits that the groups have: two would not tell their numbers apart."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(numbers, "TOLD", 3)
        yield


@pytest.fixture(scope="module")
def findings(told_whole: None) -> list[Finding]:
    return all_findings(run_of())


def test_there_is_a_source_for_every_finding(findings: list[Finding]) -> None:
    assert len(findings) == len(SOURCES)
    assert {source.group for source in SOURCES} == {name for name in GROUPS if name not in SHOWN_ONLY}


SHOWN_ONLY = {"persona_shifts", "activations_summary", "transfer/effects/resid_pre", "posterior"}
"""Groups that have figures and no sentence."""


@pytest.mark.parametrize("k", range(len(SOURCES)), ids=[f"{k} {s.group}" for k, s in enumerate(SOURCES)])
def test_a_finding_says_the_numbers_of_its_cell(findings: list[Finding], k: int) -> None:
    finding, source = findings[k], SOURCES[k]
    group = GROUPS[source.group]
    cell = source.cell(group)
    value, low, high = (float(cell[name]) for name in source.estimate)
    assert source.title in finding.title
    assert finding.identified
    assert finding.value == value
    assert finding.interval == (low, high)
    assert (finding.unit, finding.about, finding.reason) == (source.unit, source.about, "")

    expected = []
    for named in source.control:
        where, name = named if isinstance(named, tuple) else (source.cell, named)
        expected.append(float(where(group)[name]))
    np.testing.assert_allclose(decimals(finding.control), expected, rtol=1e-9, err_msg=finding.control)
    sure = [float(cell[name]) if name in cell else float(group.attrs[name]) for name in source.sure]
    np.testing.assert_allclose(decimals(finding.how_sure), sure, rtol=1e-9, err_msg=finding.how_sure)
    for words in source.counts:
        assert words in finding.how_sure
    assert finding.p in (None, *sure), "the p of the table is one that the sentence tells"
    assert finding.beside in (None, 1.0, *expected), "so is the control"
    assert (finding.beside is None) == (not finding.beside_what)
    assert finding.control.count(" nats") == source.nats


def test_without_an_open_gate_every_finding_is_its_reason() -> None:
    gated = {name: closed(group, f"{name} is deaf") for name, group in GROUPS.items() if "identified" in group}
    apart = GROUPS["divergence"]
    nowhere = {"divergence": apart.assign(estimate=apart.estimate * np.nan, kind_estimate=apart.kind_estimate * np.nan)}
    nowhere["divergence"]["onset_reason"] = ("kind", ["some prompt", "some prompt"])
    nowhere["spectator"] = gated["spectator"].assign(ahead_reason="spectator is deaf")
    silent = GROUPS["transfer/segments/resid_pre"].assign(reason=("direction", ["transfer is deaf"] * 2))
    found = all_findings(run_of(GROUPS | gated | nowhere | {"transfer/segments/resid_pre": silent}))
    sources = SOURCES.copy()
    sources.remove(next(source for source in SOURCES if source.title == "self taken whole"))  # M's orders: said once
    for finding, source in zip(found, sources, strict=True):
        if source.estimate[0] in ("cue_by_stakes", "median"):  # an observation, whatever is identified
            assert finding.identified
            continue
        assert not finding.identified
        assert (finding.value, finding.interval) == (None, None)
        nowhere_told = {"divergence": "some prompt", "spectator": "spectator is deaf"}
        assert finding.reason.startswith(nowhere_told.get(source.group, f"{source.group.split('/')[0]} is deaf")), (
            finding
        )
        assert finding.about == source.about


def test_a_share_that_is_not_identified_leaves_its_shift_alone() -> None:
    found = all_findings(run_of({"items": closed(GROUPS["items"], "too weak to be divided by")}))
    of_items = [source for source in SOURCES if source.group == "items"]
    for finding, source in zip(found[:2], of_items, strict=True):
        row = source.cell(GROUPS["items"])
        assert finding.identified
        assert finding.value == float(row["median"])
        expected = [float(row[name]) for name in ("shift", "ci_low", "ci_high", *user("user_shift"))]
        np.testing.assert_allclose(decimals(finding.control), expected)
        assert "%" not in finding.control.replace("95 %", "")


def test_too_few_families_leave_a_reason_and_no_dash_in_a_sentence() -> None:
    """Whatever has no interval or no p says why; nothing prints NaN."""
    few = {"unbounded": "an interval needs at least 4 families a side; there are ai: 2, human: 2"}
    few["untestable"] = few["unbounded"].replace("an interval", "a test")
    groups = {}
    for name in ("items", "bleed", "binding", "identification"):
        group = GROUPS[name].assign_attrs(few) if name != "items" else closed(GROUPS[name], few["unbounded"])
        lost = [v for v in group.data_vars if str(v).endswith(("ci_low", "ci_high")) or str(v) in ("p", "median_p")]
        groups[name] = group.assign({str(v): group[v] * np.nan for v in lost})
    for finding in all_findings(run_of(groups)):
        said = " ".join((finding.title, finding.control, finding.how_sure, finding.value_text, finding.interval_text))
        assert "nan" not in said.lower()
        assert "–" not in said, said
        assert finding.interval is None


def test_one_of_two_gates_shut_shuts_one_finding() -> None:
    """The gate and the reason are those of the finding's own cell."""
    group = GROUPS["mediation"]
    first = group.identified.order == "S first"
    half = group.assign(
        identified=group.identified & first, reason=group.reason.astype(object).where(first, "P is idle")
    )
    half["reason"] = half.reason.astype(str)
    found = all_findings(run_of({"mediation": half}))
    assert [one.identified for one in found] == [False, True, True]
    assert found[0].reason.startswith("P is idle")


def test_a_direction_or_a_whole_that_was_not_run_gives_way_to_one_that_was() -> None:
    group = GROUPS["transfer/segments/resid_pre"].sel(direction=["noise"], segment=["question"])
    (finding,) = all_findings(run_of({"transfer/segments/resid_pre": group}))
    cell = group.sel(direction="noise", segment="question", layer=3)
    assert finding.value == float(cell.estimate)
    assert "the tokens of “question”" in finding.title
    assert "persona → self" in finding.title, "the direction that was run"
    assert "12 pairs" in finding.how_sure


def test_a_transfer_tells_both_ways_its_question_and_what_was_left_out() -> None:
    group = GROUPS["transfer/segments/resid_pre"]
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": group}))
    assert "into a persona’s run" in found.title
    assert "the self’s activations" in found.title
    assert found.title.endswith("“Who are you?” into a persona’s run (self → persona)")
    noise = group.sel(direction="noise", segment="all", layer=3)
    both = [float(noise[name]) for name in ("estimate", "ci_low", "ci_high")]
    assert found.control.startswith("The other way (persona → self): ")
    np.testing.assert_allclose(decimals(found.control)[:3], both)
    assert "Facts left out: fact: day: it is dull." in found.control
    shut = group.assign(reason=("direction", ["", "one pair of personas is left"]))  # noise stands, denoise does not
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": shut}))
    assert found.value == both[0]
    assert found.title.endswith("(persona → self)")
    assert "The other way (self → persona): not identified (one pair of personas is left)." in found.control
    plain = group.assign_attrs(ends=["source", "target"], questions=["Who are you?", "What are you?"])
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": plain}))
    assert "to 2 questions into" in found.title
    assert found.title.endswith("(denoise)")
    assert "self" not in found.title
    two = {"transfer/segments/resid_pre": plain, "transfer/segments/resid_pre_self_persona": group}
    assert [finding.title[-9:] for finding in all_findings(run_of(two))] == ["(denoise)", " persona)"]


def test_no_sentence_about_transfer_holds_a_number_that_is_not_there() -> None:
    group = GROUPS["transfer/segments/resid_pre"]
    early = group.layer <= 1
    bare = group.assign({name: group[name].where(~early) for name in ("estimate", "ci_low", "ci_high", "p")})
    bare = bare.assign(p=group.p * np.nan, control_fact=group.control_fact * np.nan)
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": bare}))
    for text in (found.title, found.control, found.how_sure):
        assert "–" not in text
        assert "nan" not in text.lower()
    assert "at layer 1" not in found.control, "no number there, and no sentence about it"
    assert "fact about no persona" not in found.control
    (whole,) = all_findings(run_of({"transfer/segments/resid_pre": group}))  # the control
    assert "at layer 1" in whole.control
    shut = group.assign(reason=("direction", ["one pair is left", "one pair is left"]))
    (silent,) = all_findings(run_of({"transfer/segments/resid_pre": shut}))
    assert "at layer 1" not in silent.control, "T is not identified at any layer"


@pytest.mark.parametrize("name", ["identification", "referents", "binding"])
def test_what_is_not_identified_is_told_without_numbers_that_are_not_there(name: str) -> None:
    group = GROUPS[name]
    numbers = {each: array * np.nan for each, array in group.data_vars.items() if array.dtype.kind == "f"}
    shut = {
        "identified": xr.zeros_like(group.identified),
        "reason": xr.full_like(group.reason, "it is dull", dtype=object),
    }
    if "all_words_identified" in group:
        shut["all_words_identified"] = xr.zeros_like(group.all_words_identified)
    told = all_findings(run_of({name: group.assign(numbers | shut)}))
    assert told
    for finding in told:
        assert (finding.identified, finding.reason) == (False, "it is dull")
        for text in (finding.control, finding.how_sure):
            assert "nan" not in text.replace("another", "")
            assert not re.search(r"–(?!\w)", text)
    assert all(re.search(r"\d", finding.control) for finding in all_findings(run_of({name: group}))), "the control"


def test_a_transfer_without_a_number_says_so_and_one_without_an_interval_shows_none() -> None:
    group = GROUPS["transfer/segments/resid_pre"]
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": group.assign(estimate=group.estimate * np.nan)}))
    assert found.reason == "some pair has no such tokens at this layer"
    bare = group.assign(ci_low=group.ci_low * np.nan, ci_high=group.ci_high * np.nan)
    bare = bare.assign(control_persona=bare.control_persona * np.nan)
    (found,) = all_findings(run_of({"transfer/segments/resid_pre": bare}))
    assert found.value == float(moved(3)(group).estimate)
    assert found.interval is None
    assert "another persona" not in found.control, "a control that was not run says nothing"


def test_too_few_families_are_no_interval_and_no_p_and_no_sentence_says_a_number_that_is_not_there() -> None:
    few = GROUPS["separation"].assign_attrs(unbounded="only two families", untestable="no labeling reaches .05")
    missing = ("p", "p_max", "null_high", "condition_cosine_ci_low")
    chosen = GROUPS["separation_chosen"].assign_attrs(few.attrs)
    lost = [data.assign({name: data[name] * np.nan for name in missing}) for data in (few, chosen)]
    for finding in all_findings(run_of({"separation": lost[0], "separation_chosen": lost[1]})):
        assert finding.reason == "only two families"
    tested = [data.assign_attrs(unbounded="") for data in lost]
    for finding in all_findings(run_of({"separation": tested[0], "separation_chosen": tested[1]})):
        said = finding.control + finding.how_sure
        assert finding.identified
        assert not [word for word in ("nan", "–", "  ") if word in said], said
        assert "p =" not in said
        assert "There is no p: no labeling reaches .05" in said or "Bootstrap" in finding.how_sure


def test_a_share_has_its_own_reason_and_the_sides_their_labels() -> None:
    group = GROUPS["separation"]
    group = group.assign(bound_reason=group.bound_reason.copy(data=np.full(group.bound_reason.shape, "not apart")))
    sides, bound, identity = all_findings(run_of({"separation": group}))
    assert (sides.identified, bound.identified, identity.identified) == (True, False, True)
    assert bound.reason == "not apart"
    named = group.assign_attrs(side_labels=["honest advisors", "con artists"])
    assert "honest advisors and con artists lie" in next(iter(all_findings(run_of({"separation": named})))).title
