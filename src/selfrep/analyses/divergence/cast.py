"""Who is compared with whom: the rows of a cell (a speaker in one paraphrase), and how they are drawn anew."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy.linalg import helmert

from selfrep.errors import SelfrepError
from selfrep.stats import resampling
from selfrep.stats.families import FEWEST
from selfrep.stats.geometry import normalised, products
from selfrep.stats.tables import Rows

Array = np.ndarray

UNPROMPTED = "unprompted"
READINGS = ("default", "reductionist")
"""What results call the readings of the self: neutral prompts, and personas that say so in their coordinate `reading`."""

FOLDS = 16
"""In how many folds families leave their paraphrases out of the metric of noise; a family each, where there are fewer."""

_TO_RESAMPLE = 3
"""Fewer paraphrases than this say nothing of how much they vary when drawn anew."""


@dataclass(frozen=True, eq=False)
class Metric:
    """The noise of paraphrases that distances of some personas are counted in.

    Attributes:
        personas: whose distances, none of them of a family that brings noise.
        rows: of these personas and of the readings of the self.
        noise: [noise, row] contrasts of paraphrases of other families. Readings of the self bring none: they are what
            distances are from. The last column is that of the centre (see `Cast.products`).
    """

    personas: Int[Array, " persona"]
    rows: Int[Array, " row"]
    noise: Float[Array, "noise row1"]


@dataclass(frozen=True, eq=False)
class Cast:
    """The rows of every cell: personas, then the same personas said of the user, then the neutral texts.

    Attributes:
        prompts: [row] its prompts, which are averaged (one an item).
        frame: [row] the number of the sentence around it.
        member: [row] the number of its persona, of either kind of row; −1 for neutral texts.
        spoken: [row] 0: the persona itself; 1: said of the user; 2: neutral.
        names, family, side, kind, reading: [persona].
        labels: of kinds and of sides, by name.
    """

    prompts: list[Int[Array, " prompt"]]
    frame: Int[Array, " row"]
    member: Int[Array, " row"]
    spoken: Int[Array, " row"]
    names: list[str]
    family: list[str]
    side: list[str]
    kind: list[str]
    reading: list[str]
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
        present = [name for name in (condition, control_condition, "neutral") if name in spoken or name == condition]
        tables = {name: Rows.of(everyone, name, "all") for name in present}
        own = tables[condition]
        for name, table in tables.items():
            if table.items != own.items:
                raise SelfrepError(
                    f"Distances are between answers to the same questions; {condition!r} was asked {own.items} and "
                    f"{name!r} {table.items}. Ask everyone everything."
                )
        number = {name: i for i, name in enumerate(own.names)}
        prompts, member, kind_of_row = [], [], []
        for name, table in tables.items():
            for (persona, _), group in zip(table.keys, table.groups, strict=True):
                if name == "neutral" or persona in number:
                    prompts.append(group)
                    member.append(-1 if name == "neutral" else number[persona])
                    kind_of_row.append((condition, control_condition, "neutral").index(name))
        first = np.array([group[0] for group in prompts])
        frame = (acts.frame if "frame" in acts.coords else acts.paraphrase).to_numpy()[first]
        known = {str(persona): i for i, persona in enumerate(acts.persona.to_numpy())}

        def words(label: str) -> list[str]:
            if label not in acts.coords:
                return [""] * len(own.names)
            return [str(acts[label].to_numpy()[known[name]]) for name in own.names]

        side, reading = words("side"), words("reading")
        kind = [k or s or r or n for k, s, r, n in zip(words("kind"), side, reading, own.names, strict=True)]
        labels = {k: v for k, v in zip((*side, *kind), (*words("side_label"), *words("kind_label")), strict=True) if v}
        cast = cls(
            prompts, frame, np.array(member), np.array(kind_of_row), own.names, own.family, side, kind, reading, labels
        )
        cast._require_frames()
        return cast

    def _require_frames(self) -> None:
        if len(set(self.frame[self.spoken == 2].tolist())) < 2:
            raise SelfrepError(
                "Distances from the unprompted self are products of different neutral texts, in different sentences; "
                f"got {int((self.spoken == 2).sum())} text in one. Write at least two neutral texts, better eight."
            )
        own = self.spoken == 0
        single = [
            name for i, name in enumerate(self.names) if len(set(self.frame[own & (self.member == i)].tolist())) < 2
        ]
        if single:
            raise SelfrepError(
                "Distances are products of paraphrases in different frames (surrounding sentences); every persona "
                f"needs at least two, better four; in one only: {', '.join(single[:3])}."
            )

    @cached_property
    def references(self) -> dict[str, Int[Array, " row"]]:
        """The rows of each reading of the self that there is."""
        rows = {UNPROMPTED: np.flatnonzero(self.spoken == 2)}
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
    def groups(self) -> Float[Array, "group row"]:
        """The rows of the references, of the personas, of the personas said of the user, and of two halves of the
        neutral texts, each half with every frame if it can be."""
        neutral = self.references[UNPROMPTED]
        neutral = neutral[np.argsort(self.frame[neutral], kind="stable")]
        rows = [*self.references.values()]
        rows += [np.flatnonzero((self.member == i) & (self.spoken == s)) for s in (0, 1) for i in range(len(self.names))]
        rows += [neutral[::2], neutral[1::2]]
        return np.array([np.isin(np.arange(len(self.member)), group) for group in rows], dtype=float)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of the personas, in alphabetical order."""
        return sorted(set(self.kind))

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
    def families(self) -> list[list[list[Int[Array, " persona"]]]]:
        """[reference][kind][family] the personas of a kind that are compared with a reading."""
        return [[self._families(kind, own) for kind in self.kinds] for own in self.is_self]

    def _families(self, kind: str, own: Bool[Array, " persona"]) -> list[Int[Array, " persona"]]:
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
        own = np.bincount(self.member[self.spoken == 0], minlength=len(self.names))
        fewer = np.minimum(texts[:, None], own)
        return np.where(fewer < _TO_RESAMPLE, 0, fewer).astype(float)

    @cached_property
    def kind_units(self) -> Float[Array, "reference kind"]:
        """Of how many independent units Δ of a kind is: families, or the texts of the reading where they are fewer, or
        those of a single persona; 0 where `reasons` says why."""
        return np.array([[self._kind_units(r, k)[0] for k in range(len(self.kinds))] for r in range(len(self.references))])

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
    def metrics(self) -> list[Metric]:
        """The metrics in which crossnobis distances are taken; without any for personas that have no other families."""
        families = sorted(set(self.family))
        fold = np.array([families.index(name) % FOLDS for name in self.family])
        return [
            Metric(
                personas=np.flatnonzero(fold == f),
                rows=np.flatnonzero((self.spoken == 2) | (self.spoken == 0) & self._among(fold == f)),
                noise=np.concatenate(noise),
            )
            for f in range(fold.max() + 1)
            if (noise := [self._contrasts(i) for i in np.flatnonzero((fold != f) & (np.array(self.reading) == ""))])
        ]

    def _among(self, personas: Bool[Array, " persona"]) -> Bool[Array, " row"]:
        """Rows of these personas or of a reading of the self, of either condition."""
        return np.append(personas | self.is_self.any(axis=0), False)[self.member]

    def _contrasts(self, persona: int) -> Float[Array, "noise row1"]:
        rows = np.flatnonzero((self.member == persona) & (self.spoken == 0))
        out = np.zeros((len(rows) - 1, len(self.member) + 1))
        out[:, rows] = helmert(len(rows))
        return out

    def products(self, x: Float[Array, "prompt d"]) -> Float[Array, "row1 row1"] | None:
        """The products between rows at one cell, per mean squared norm; None where some prompt has no such place.

        Rows are taken from their mean, which is the last one. Rows that differ by rounding only are made equal.
        """
        used = np.unique(np.concatenate(self.prompts))
        if not np.isfinite(x[used]).all():
            return None
        z, _ = normalised(x[used])
        if all(len(group) == 1 for group in self.prompts):
            rows = z[np.searchsorted(used, np.concatenate(self.prompts))]
        else:
            rows = np.array([z[np.searchsorted(used, group)].mean(axis=0) for group in self.prompts])
        scale = float((rows**2).sum(axis=1).mean()) or 1.0
        centre = rows.mean(axis=0)
        across = (rows - centre) @ centre
        apart = products(rows, scale)
        across = across if apart.any() else np.zeros_like(across)
        return np.block([[apart, across[:, None]], [across[None], np.array([[centre @ centre]])]]) / scale

    def label(self, word: str) -> str:
        """What figures and sentences call a kind or a side."""
        return self.labels.get(word, word.replace("_", " "))


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws; the first is the data as they are.

    Attributes:
        cast: whose.
        weight: [draw, row] of the paraphrases within each persona, and of the neutral texts.
        kinds: [reference, kind, draw, persona] of the personas, families drawn anew, in each kind; NaN where nobody is.
    """

    cast: Cast
    weight: Float[Array, "draw row"]
    kinds: Float[Array, "reference kind draw persona"]

    @classmethod
    def of(cls, cast: Cast, n: int, rng: np.random.Generator) -> Draws:
        """`n` draws, after the data themselves."""
        weight = np.zeros((1 + n, len(cast.member)))
        groups = cast.groups[len(cast.references) :][: len(cast.names)].astype(bool)
        for rows in [*map(np.flatnonzero, groups), cast.references[UNPROMPTED]]:
            weight[0, rows] = 1 / len(rows)
            weight[1:, rows] = _resampled(cast.frame[rows], n, rng)
        kinds = np.full((len(cast.references), len(cast.kinds), 1 + n, len(cast.names)), np.nan)
        for r, of_kinds in enumerate(cast.families):
            for k, families in enumerate(of_kinds):
                if families:
                    share = np.full((1 + n, len(families)), 1 / len(families))
                    share[1:] = resampling.resample(len(families), n, rng) / len(families)
                    kinds[r, k] = 0.0
                    for f, members in enumerate(families):
                        kinds[r, k][:, members] = share[:, [f]] / len(members)
        return cls(cast, weight, kinds)

    def distances(
        self, gram: Float[Array, "row row"], personas: Int[Array, " persona"] | None = None
    ) -> Float[Array, "draw reference persona"]:
        """Δ of personas (all, when None) from each reading, in every draw, from products between rows."""
        chosen = np.arange(len(self.cast.names)) if personas is None else personas
        alone, among, across = self._sums(gram * self.cast.apart, chosen)
        pairs = self._pairs
        return alone / pairs[0][:, :, chosen] + among / pairs[1] - 2 * across / pairs[2][:, :, chosen]

    @cached_property
    def _pairs(self) -> tuple[Array, Array, Array]:
        return self._sums(self.cast.apart.astype(float), np.arange(len(self.cast.names)))

    def _sums(self, table: Float[Array, "row row"], personas: Int[Array, " persona"]) -> tuple[Array, Array, Array]:
        """Weighted sums over the products of personas with themselves, of readings with themselves, and between them:
        [draw, 1, persona], [draw, reference, 1] and [draw, reference, persona]."""
        own = [np.flatnonzero((self.cast.member == i) & (self.cast.spoken == 0)) for i in personas]
        references = list(self.cast.references.values())
        alone = np.stack([self._sum(table, rows, [rows]) for rows in own], axis=-1)
        among = np.stack([self._sum(table, rows, [rows]) for rows in references], axis=1)
        across = np.stack([self._sum(table, rows, own) for rows in references], axis=1)
        return alone, among, across

    def _sum(self, table: Array, rows: Array, groups: list[Array]) -> Float[Array, "draw group"]:
        starts = np.concatenate([[0], np.cumsum([len(group) for group in groups])[:-1]])
        columns = np.concatenate(groups)
        products = (self.weight[:, rows] @ table[np.ix_(rows, columns)]) * self.weight[:, columns]
        return np.add.reduceat(products, starts, axis=1)


def _resampled(frame: Int[Array, " row"], n: int, rng: np.random.Generator) -> Float[Array, "draw row"]:
    """Weights of rows drawn anew; draws of one frame only are drawn again, as nothing could be crossed in them."""
    same = frame[:, None] == np.unique(frame)
    counts = resampling.resample(len(frame), n, rng, distinct=2)
    while len(poor := np.flatnonzero(((counts @ same) > 0).sum(axis=1) < 2)):
        counts[poor] = resampling.resample(len(frame), len(poor), rng, distinct=2)
    return counts / len(frame)
