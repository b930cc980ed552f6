"""Who is compared with whom: the rows of a cell (a speaker in one paraphrase), and what they are grouped by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.linalg import helmert

from selfrep.errors import SelfrepError
from selfrep.stats.families import FEWEST
from selfrep.stats.rounding import negligible
from selfrep.stats.rows import Rows

Array = np.ndarray

UNPROMPTED = "unprompted"
READINGS = ("default", "reductionist")
"""What results call the readings of the self: neutral prompts, and personas with that coordinate `reading`."""

FOLDS = 16
"""Into how many folds families are put, whose own paraphrases have no part in the metric of their distances."""

_TO_RESAMPLE = 3
"""Fewer paraphrases than this say nothing of how much they vary when drawn anew."""


@dataclass(frozen=True, eq=False)
class Cast:
    """The rows of every cell: personas, then the neutral texts, then the same personas said of the user.

    Attributes:
        prompts: [row] its prompts, which are averaged (one an item).
        frame: [row] the number of the sentence around it.
        member: [row] the number of its persona, of either kind of row; −1 for neutral texts.
        spoken: [row] 0: the persona itself; 1: neutral; 2: said of the user.
        names, called, family, side, kind, reading: [persona]; called: its label.
        kinds: in the order in which they appear.
        labels: of kinds and of sides, by name.
    """

    prompts: list[Int[Array, " _"]]
    frame: Int[Array, " row"]
    member: Int[Array, " row"]
    spoken: Int[Array, " row"]
    names: list[str]
    called: list[str]
    family: list[str]
    side: list[str]
    kind: list[str]
    reading: list[str]
    kinds: list[str]
    labels: dict[str, str]

    @classmethod
    def of(cls, acts: xr.Dataset, condition: str, control_condition: str) -> Cast:
        """The cast of captured activations; see `divergence` for what is refused."""
        everyone = acts.assign_coords(all=("prompt", np.zeros(acts.sizes["prompt"])))
        spoken = set(map(str, acts.condition.to_numpy()))
        if "neutral" not in spoken:
            raise SelfrepError(
                "Divergence is measured from the model's own self, and first of all from the model that is told nothing"
                f" about itself; the condition 'neutral' is missing, there are: {', '.join(sorted(spoken))}. Capture "
                'it: make_prompts(…, conditions=["you", "user", "neutral"]).'
            )
        present = [condition, "neutral", *({control_condition} & spoken)]
        tables = {name: Rows.of(everyone, name, "all") for name in present}
        own = tables[condition]
        for name, table in tables.items():
            if table.items != own.items:
                raise SelfrepError(
                    f"Distances are between answers to the same questions; {condition!r} was asked {own.items} and "
                    f"{name!r} {table.items}. Ask everyone everything."
                )
        number = {name: i for i, name in enumerate(own.names)}
        prompts, member, spoken_as = [], [], []
        for name, table in tables.items():
            for (persona, _), group in zip(table.keys, table.groups, strict=True):
                if name == "neutral" or persona in number:
                    prompts.append(group)
                    member.append(-1 if name == "neutral" else number[persona])
                    spoken_as.append((condition, "neutral", control_condition).index(name))
        first = np.array([group[0] for group in prompts])
        frame = (acts.frame if "frame" in acts.coords else acts.paraphrase).to_numpy()[first]
        known = {str(name): i for i, name in reversed(list(enumerate(acts.persona.to_numpy())))}  # where each is first

        def words(label: str) -> list[str]:
            if label not in acts.coords:
                return [""] * len(own.names)
            column = acts[label].to_numpy()
            return [str(column[known[name]]) for name in own.names]

        side, reading = words("side"), words("reading")
        kind = [k or s or r or n for k, s, r, n in zip(words("kind"), side, reading, own.names, strict=True)]
        kinds = [kind[i] for i in np.argsort([known[name] for name in own.names])]
        labels = {k: v for k, v in zip((*side, *kind), (*words("side_label"), *words("kind_label")), strict=True) if v}
        cast = cls(
            prompts, frame, np.array(member), np.array(spoken_as), own.names, words("persona_label"), own.family, side,
            kind, reading, list(dict.fromkeys(kinds)), labels,
        )  # fmt: skip
        cast._require_frames()
        return cast

    def _require_frames(self) -> None:
        if len(set(self.frame[self.spoken == 1].tolist())) < 2:
            raise SelfrepError(
                "Distances from the unprompted self are products of different neutral texts, in different sentences; "
                f"got {int((self.spoken == 1).sum())} text in one. Write at least two neutral texts, better eight."
            )
        if single := [
            name for name, rows in zip(self.names, self.own, strict=True) if len(set(self.frame[rows].tolist())) < 2
        ]:
            raise SelfrepError(
                "Distances are products of paraphrases in different frames (surrounding sentences); every persona "
                f"needs at least two, better four; in one only: {', '.join(single[:3])}."
            )

    @cached_property
    def references(self) -> dict[str, Int[Array, " _"]]:
        """The rows of each reading of the self that there is."""
        rows = {UNPROMPTED: np.flatnonzero(self.spoken == 1)}
        for name in READINGS:
            members = [i for i, reading in enumerate(self.reading) if reading == name]
            if members:
                rows[name] = np.flatnonzero((self.spoken == 0) & np.isin(self.member, members))
        return rows

    @cached_property
    def apart(self) -> Bool[Array, "row row"]:
        """Whether two rows have different frames."""
        return self.frame[:, None] != self.frame

    @cached_property
    def within_frame(self) -> Float[Array, "row row"]:
        """Weights that take rows from the mean of their frame, over what is not said of the user.

        What a sentence does to everybody cancels in a distance where everybody is there in every one, but not where one
        is missing, nor in a draw in which it is drawn for one and not for another.
        """
        same = ~self.apart & (self.spoken < 2)
        return np.eye(len(self.frame)) - same / np.maximum(same.sum(axis=1, keepdims=True), 1)

    @cached_property
    def groups(self) -> Float[Array, "group row"]:
        """The rows of the references, of the personas, of the personas said of the user, and of two halves of the
        neutral texts, each half with every frame if it can be."""
        neutral = self.references[UNPROMPTED]
        neutral = neutral[np.argsort(self.frame[neutral], kind="stable")]
        rows = [*self.references.values()]
        rows += [
            np.flatnonzero((self.member == i) & (self.spoken == s)) for s in (0, 2) for i in range(len(self.names))
        ]
        rows += [neutral[::2], neutral[1::2]]
        return np.array([np.isin(np.arange(len(self.member)), group) for group in rows], dtype=float)

    @cached_property
    def sides(self) -> list[str]:
        """The sides on which two personas stand at least, in alphabetical order."""
        return sorted(side for side in set(self.side) if side and self.side.count(side) > 1)

    def same_side(self, side: str) -> Array:
        """[persona, persona] whether they are two of a side, each pair once."""
        of = np.array([other == side for other in self.side])
        return np.triu(of[:, None] & of, 1)

    @cached_property
    def is_self(self) -> Bool[Array, "reference persona"]:
        """Whether a persona is that reading of the self."""
        return np.array([[reading == name for reading in self.reading] for name in self.references])

    @cached_property
    def families(self) -> list[list[list[Int[Array, " _"]]]]:
        """[reference][kind][family] the personas of a kind that are compared with a reading."""
        return [[self._families(kind, own) for kind in self.kinds] for own in self.is_self]

    def _families(self, kind: str, own: Bool[Array, " persona"]) -> list[Int[Array, " _"]]:
        members: dict[str, list[int]] = {}
        for i in np.flatnonzero(~own):
            if self.kind[i] == kind:
                members.setdefault(self.family[i], []).append(int(i))
        return [np.array(personas) for _, personas in sorted(members.items())]

    @cached_property
    def n_families(self) -> Int[Array, "reference kind"]:
        """How many families of a kind are compared with a reading."""
        return np.array([[len(families) for families in kinds] for kinds in self.families])

    @cached_property
    def persona_units(self) -> Float[Array, "reference persona"]:
        """Of how many independent units Δ of a persona is: the fewer paraphrases of the two; 0 for too few to draw."""
        texts = np.array([len(rows) for rows in self.references.values()])
        fewer = np.minimum(texts[:, None], np.array([len(rows) for rows in self.own]))
        return np.where(fewer < _TO_RESAMPLE, 0, fewer).astype(float)

    @cached_property
    def kind_units(self) -> Float[Array, "reference kind"]:
        """Of how many independent units Δ of a kind is: families, or the texts of the reading where they are fewer, or
        those of a single persona; 0 where `reasons` says why."""
        return np.array(
            [[self._kind_units(r, k)[0] for k in range(len(self.kinds))] for r in range(len(self.references))]
        )

    @cached_property
    def reasons(self) -> list[list[str]]:
        """[reference][kind] why Δ of a kind has no interval, if so."""
        return [[self._kind_units(r, k)[1] for k in range(len(self.kinds))] for r in range(len(self.references))]

    def _kind_units(self, r: int, k: int) -> tuple[float, str]:
        families, rows = self.families[r][k], list(self.references.values())[r]
        if not families:
            return 0.0, "a reading of the self is not compared with itself"
        few = f"an interval needs at least {_TO_RESAMPLE} paraphrases on either side"
        if len(families) == 1 and len(families[0]) == 1:
            units = float(self.persona_units[r, families[0][0]])
            return units, "" if units else few
        if len(rows) < _TO_RESAMPLE:
            return 0.0, few
        if len(families) < FEWEST:
            return 0.0, f"an interval needs at least {FEWEST} families of personas; there are {len(families)}"
        return float(min(len(rows), len(families))), ""

    @cached_property
    def own(self) -> list[Int[Array, " _"]]:
        """[persona] its own rows."""
        return [np.flatnonzero((self.member == i) & (self.spoken == 0)) for i in range(len(self.names))]

    @cached_property
    def paraphrases(self) -> Int[Array, "persona paraphrase"]:
        """The rows of each persona; the last one again where others have more."""
        most = max(map(len, self.own))
        return np.array([np.pad(rows, (0, most - len(rows)), mode="edge") for rows in self.own])

    @cached_property
    def fold(self) -> Int[Array, " persona"]:
        """The number of each persona's fold: it has no part in the metric of noise of its own fold's distances."""
        families = sorted(set(self.family))
        return np.array([families.index(name) % FOLDS for name in self.family])

    @cached_property
    def noise(self) -> tuple[Float[Array, "noise row"], Int[Array, " noise"]]:
        """Contrasts between paraphrases of a persona, and the fold that each is of. Readings of the self bring none:
        they are what distances are from."""
        contrasts, fold = [np.zeros((0, len(self.member)))], []
        for rows, number, reading in zip(self.own, self.fold, self.reading, strict=True):
            if not reading:
                weights = np.zeros((len(rows) - 1, len(self.member)))
                weights[:, rows] = helmert(len(rows))
                contrasts.append(weights)
                fold += [number] * len(weights)
        return np.concatenate(contrasts), np.array(fold, dtype=int)

    def rows(self, x: Float[Array, "prompt d"]) -> tuple[Float[Array, "row d"], Float[Array, " d"]] | None:
        """The rows at one cell, taken from their mean, and that mean; None where some prompt has no such place.

        The mean squared length of "you are X" and neutral rows becomes 1. Rows that differ by rounding only are made
        equal.

        Args:
            x: [prompt, d] standardised.
        """
        used = np.unique(np.concatenate(self.prompts))
        if not np.isfinite(x[used]).all():
            return None
        z = x[used].astype(np.float64)
        sizes = np.array([len(group) for group in self.prompts])
        place = np.searchsorted(used, np.concatenate(self.prompts))
        rows = np.add.reduceat(z[place], np.cumsum(sizes) - sizes, axis=0) / sizes[:, None]
        size = np.sqrt((rows[self.spoken < 2] ** 2).sum(axis=1).mean())
        rows /= size if size > 0 else 1.0
        centre = rows[self.spoken < 2].mean(axis=0)
        apart = rows - centre
        same = negligible((apart**2).sum(axis=1).max(), 1.0, degree=2)
        return np.zeros_like(apart) if same else apart, centre

    def label(self, word: str) -> str:
        """What figures and sentences call a kind or a side."""
        return self.labels.get(word, word.replace("_", " "))
