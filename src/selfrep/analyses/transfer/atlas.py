"""T to explore: every pair of runs, token by token or segment by segment, beside its controls and the mean of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from selfrep.analyses.atlas import AGAIN, LAYER, PLACE, Atlas, Line, Pick, Sheet, Voices, at_cell, cells, frame
from selfrep.models.sites import IN_WORDS
from selfrep.prompts.persona import UNPROMPTED
from selfrep.stats.cells import place_axis
from selfrep.stats.numbers import number
from selfrep.store.run_directory import RunDirectory

BY = {"effects": "token by token", "segments": "segment by segment"}
CONTROLS = {
    "paraphrase": "control: another paraphrase of the target",
    "persona": "control: another persona of the target’s side",
    "random": "control: a random direction",
    "fact": "control: a fact about no persona",
}
_NEEDED = {"source", "target", "direction", "item", "source_paraphrase", "target_paraphrase"}

Ends = tuple[str, str]


def atlases(run: RunDirectory) -> Iterator[Atlas | str]:
    """An atlas a sweep; of a kind of sweep that the study has not, or that holds no pairs of personas, a sentence."""
    voices = Voices.of(run)
    for kind, by in BY.items():
        swept = [group for group in run.groups() if group.startswith(f"{kind}/")]
        made = [atlas for group in swept if (atlas := _atlas(run, group, voices)) is not None]
        yield from made
        if not made:
            why = "its sweeps hold no pairs of personas" if swept else "the study has no such sweep"
            yield f"T {by}: {why}."


def _atlas(run: RunDirectory, group: str, voices: Voices) -> Atlas | None:
    effects = run.read(group)
    known = {"pair", "layer", "position", "segment"}
    if not set(effects.coords) >= _NEEDED or "transfer" not in effects or set(effects.transfer.dims) - known:
        return None
    runs = _Runs(run, group, effects, voices)
    kind, site = group.split("/", 1)
    return Atlas(
        name=group,
        symbol="T",
        title=f"T, patching {IN_WORDS.get(site, site)} {BY[kind]}",
        asks="The activation of one run is put into another. 0: it did nothing; 1: it brought the other run’s answers "
        "with it. Read it beside its controls, which should do nothing.",
        **frame(effects),
        picks=runs.picks,
        sheets=(*runs.averaged(), *runs.single()),
        limits=(1.0, 1.5),
    )


@dataclass(frozen=True)
class _Runs:
    """The runs of a sweep, and how they are found."""

    run: RunDirectory
    group: str
    effects: xr.Dataset
    voices: Voices

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """What each run is, its ends as in denoising."""
        table = {name: self.effects[name].to_numpy().tolist() for name in sorted(_NEEDED)}
        rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
        for row in rows:
            ends = (row["source"], row["target"])
            row["ends"] = ends if row["direction"] == "denoise" else ends[::-1]
        return rows

    @cached_property
    def means(self) -> dict[str, xr.Dataset]:
        """The estimates over all pairs of a kind, by the names of their groups."""
        first = f"transfer/{self.group}"
        names = sorted(name for name in self.run.groups() if name == first or name.startswith(f"{first}_"))
        return {name: self.run.read(name) for name in names}

    @cached_property
    def options(self) -> tuple[list[str], list[Ends], list[str], list[str], list[int]]:
        """Means, pairs, items, directions and paraphrases, each once."""
        pairs, items, directions, paraphrases = (
            list(dict.fromkeys(row[key] for row in self.rows))
            for key in ("ends", "item", "direction", "target_paraphrase")
        )
        return list(self.means), pairs, items, directions, paraphrases

    @property
    def picks(self) -> tuple[Pick, ...]:
        """Pair, item, direction and paraphrase. What averages over items or paraphrases stands before these."""
        means, pairs, items, directions, paraphrases = self.options
        every = [f"mean of {self._n(name)} pairs{_between(self.means[name].attrs)}" for name in means]
        return (
            Pick("Pair", (*every, *(self._arrow(ends) for ends in pairs))),
            Pick("Item", (*(["all items"] if means and len(items) > 1 else []), *map(self.voices.question, items))),
            Pick("Direction", tuple(directions)),
            Pick(
                "Paraphrase",
                (*(["all paraphrases"] if means and len(paraphrases) > 1 else []), *(str(1 + k) for k in paraphrases)),
            ),
        )

    def averaged(self) -> Iterator[Sheet]:
        """The estimate over all pairs of a kind, in each direction."""
        _, _, items, directions, _ = self.options
        for i, (name, shares) in enumerate(self.means.items()):
            for direction in map(str, shares.direction.to_numpy()):
                one = shares.sel(direction=direction)
                controls = [
                    Line.of(one, f"control_{kind}", label, "control")
                    for kind, label in CONTROLS.items()
                    if f"control_{kind}" in one
                ]
                where = at_cell(one, direction=direction)
                yield Sheet(
                    at=(i, 0, directions.index(direction), 0),
                    lines=(Line.of(one, "estimate", "T"), *controls),
                    code=f"{AGAIN}shares = again.estimate({name!r}).estimate\nprint(shares{where}.item())",
                    tokens=self._shared(direction),
                    notes=tuple(_counts(one, [self.voices.question(item) for item in items])),
                    reason=str(one.reason.item()) if "reason" in one else "",
                )

    def single(self) -> Iterator[Sheet]:
        """Each run by itself."""
        means, pairs, items, directions, paraphrases = self.options
        beside = self._controls()
        by_row = self._means_of(pairs)
        for i, row in enumerate(self.rows):
            one = self.effects.isel(pair=i)
            at = (
                len(means) + pairs.index(row["ends"]),
                (bool(means) and len(items) > 1) + items.index(row["item"]),
                directions.index(row["direction"]),
                (bool(means) and len(paraphrases) > 1) + paraphrases.index(row["target_paraphrase"]),
            )
            mean = by_row.get((row["ends"], row["direction"]), ())
            yield Sheet(
                at=at,
                lines=(Line("T of this pair", cells(one.transfer)), *mean, *beside.get(i, ())),
                code=self._code(row),
                tokens=tuple(map(str, one.token.to_numpy())) if "token" in one.coords else (),
                prompts=self._prompts(row),
                notes=tuple(_ends(one)),
                reason="This prompt has no such token, or source and target differ by too little to divide by.",
            )

    def _controls(self) -> dict[int, list[Line]]:
        """Row → the controls that were run beside it. Those of a kind stand in the order of the runs that they are made
        of: all of them, or those whose target has one."""
        name = f"controls/{self.group}"
        out: dict[int, list[Line]] = {}
        if not self.run.has(name):
            return out
        controls, targets = self.run.read(name), self.effects.target.to_numpy()
        kinds = controls.control.to_numpy()
        for kind in dict.fromkeys(kinds.tolist()):
            rows = np.flatnonzero(kinds == kind)
            own = np.flatnonzero(np.isin(targets, controls.target.to_numpy()[rows]))
            for i, row in zip(own, rows, strict=True) if kind != "fact" and len(own) == len(rows) else ():
                line = Line(CONTROLS.get(kind, f"control: {kind}"), cells(controls.transfer[row]), kind="control")
                out.setdefault(int(i), []).append(line)
        return out

    def _means_of(self, pairs: Sequence[Ends]) -> dict[tuple[Ends, str], list[Line]]:
        """Pair and direction → the mean that it belongs to."""
        out: dict[tuple[Ends, str], list[Line]] = {}
        for name, shares in self.means.items():
            counted = set(shares.attrs.get("pairs", ()))
            for ends in (ends for ends in pairs if self._arrow(ends) in counted):
                for direction in map(str, shares.direction.to_numpy()):
                    one, n = shares.sel(direction=direction), self._n(name)
                    lines = [Line.of(one, "estimate", f"T, mean of {n} pairs", "mean")]
                    if "control_fact" in one:
                        lines.append(Line.of(one, "control_fact", CONTROLS["fact"], "control"))
                    out[ends, direction] = lines
        return out

    def _n(self, mean: str) -> int:
        """How many pairs of personas a mean is over."""
        return len(self.means[mean].attrs.get("pairs", ()))

    def _arrow(self, ends: Ends) -> str:
        return " → ".join(map(self.voices.label, ends))

    def _shared(self, direction: str) -> tuple[str, ...]:
        """The tokens on which all runs in a direction agree."""
        if "token" not in self.effects.coords:
            return ()
        columns = self.effects.token.to_numpy()[self.effects.direction.to_numpy() == direction].T
        return tuple(next(iter(set(column))) if len(set(column)) == 1 else "" for column in columns.tolist())

    def _prompts(self, row: dict[str, Any]) -> tuple[Any, ...]:
        source, target, item = row["source"], row["target"], row["item"]
        return (
            *self.voices.spoken("source", source, item, [row["source_paraphrase"]], target),
            *self.voices.spoken("target", target, item, [row["target_paraphrase"]], source),
        )

    def _code(self, row: dict[str, Any]) -> str:
        """The patch once more, with the model."""
        named = ("dtype", "chat_template", "template_vars", "attn")
        given = [f", {name}=study.{name}" for name in named if self.voices.study.get(name)]
        source, target = map(_like, row["ends"])
        plural = f"{place_axis(self.effects)}s"
        by = "" if plural == "positions" else ', by="segment"'
        site = self.group.split("/", 1)[1]
        return (
            "import selfrep as sr\n\n"
            "run = sr.open_run({path!r})\n"
            'study = sr.load_study(run.path / "study.yaml")\n'
            f"lm, people = sr.load_model(study.model{''.join(given)}), study.people\n"
            f"pairs = sr.pair(\n    lm, {source}, {target}, study.items[{row['item']!r}],\n"
            f"    paraphrases={row['target_paraphrase']}, directions={row['direction']!r},\n)\n"
            f"plan = sr.grid({site!r}, layers=[{LAYER}], {plural}=[{PLACE}]{by})\n"
            "print(sr.patch(lm, pairs, plan).transfer.item())"
        )


def _like(name: str) -> str:
    """The speaker of that name as code."""
    persona, _, condition = name.removesuffix(")").rpartition(" (")
    if name == UNPROMPTED:
        return "None"
    return f"(people[{persona!r}], {condition!r})" if condition in ("user", "book") else f"people[{name!r}]"


def _between(attrs: dict[str, Any]) -> str:
    ends = tuple(attrs.get("ends", ()))
    return f", {ends[0]} → {ends[1]}" if "self" in ends else ""


def _counts(one: xr.Dataset, questions: Sequence[str]) -> Iterator[str]:
    """How many runs stand behind a mean."""
    pairs, units, gated = (int(np.nan_to_num(one[name].item())) for name in ("n_pairs", "n_units", "n_gated"))
    yield f"Pairs of personas: {pairs}, of {units} pairs of families. Runs left out: {gated}."
    if left_out := str(one.left_out.item()):
        yield f"Left out: {left_out}."
    yield f"Asked: {'; '.join(questions)}"


def _ends(one: xr.Dataset) -> Iterator[str]:
    """What the unpatched runs of a pair say."""
    values = [number(float(one[name])) for name in ("source_metric", "target_metric", "total_effect") if name in one]
    if len(values) == 3:
        source, target, total = values
        yield f"Log odds of the answer: source {source} nats, target {target} nats; total effect {total} nats."
    masses = [number(float(one[name])) for name in ("answer_mass_source", "answer_mass_target") if name in one]
    if len(masses) == 2:
        yield f"Probability of any of the answers: source {masses[0]}, target {masses[1]}."
