"""Scores as tables: one row a persona in one paraphrase, so that statistics cannot forget the unit.

Prompts come out of `score` as a flat list with labels. Every estimate wants them by persona and paraphrase, complete,
and in the same order in every condition. What is missing is refused here, by name, before anything is computed.
Activations are read by `selfrep.stats.rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.families import Families, averages
from selfrep.stats.labels import families_of, prompts_of

Array = np.ndarray

ALL, UNSAID = ("log_odds", "answer_mass"), ("unsaid_log_odds", "unsaid_mass")
"""What `selfrep.score` reads: all answers; those that no persona's description says."""


def all_words(scores: xr.Dataset) -> xr.Dataset:
    """The same scores, to be read by all answers: by those, too, that some persona's description says.

    Example:
        >>> scores = xr.Dataset({name: ("prompt", [0.5]) for name in (*ALL, *UNSAID)})
        >>> list(all_words(scores).data_vars)
        ['log_odds', 'answer_mass']
    """
    return scores.drop_vars(UNSAID, errors="ignore")


def beside(read: Callable[[xr.Dataset], xr.Dataset], scores: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """An estimate by the words that no description says, and beside it, as `all_words_…`, some of it by all words.

    Args:
        read: the estimate.
        scores: from `selfrep.score`.
        names: the variables that are shown twice.

    Example:
        >>> scores = xr.Dataset({name: ("prompt", [k]) for k, name in enumerate((*ALL, *UNSAID))})
        >>> read = lambda given: xr.Dataset({"shift": given.get("unsaid_log_odds", given.log_odds).sum()})
        >>> {str(name): int(value) for name, value in beside(read, scores, ["shift"]).items()}
        {'shift': 2, 'all_words_shift': 0}
    """
    headline, plain = read(scores), all_words(scores)
    whole = headline if len(plain.data_vars) == len(scores.data_vars) else read(plain)
    return headline.assign({f"all_words_{name}": whole[name] for name in names})


@dataclass(frozen=True, eq=False)
class Table:
    """The answers in one condition: by the words that no persona's description says, where the scores tell those apart.

    Attributes:
        keys: [row] name of the persona, number of the paraphrase.
        log_odds, mass: [row, item] nats; probability of any answer.
        silent: [item] whether a side has no such words: all of them stand in some description.
        persona: [row] the number of its persona.
        names, side, family: [persona].
    """

    keys: list[tuple[str, int]]
    log_odds: Array
    mass: Array
    silent: Array
    persona: Array
    names: list[str]
    side: Array
    family: list[str]

    @classmethod
    def of(cls, scores: xr.Dataset, condition: str, items: Sequence[str], sides: Sequence[str] | None = None) -> Table:
        """The answers of a condition to these items.

        Args:
            scores: from `selfrep.score`; from `all_words` of that, to read all answers.
            condition: e.g. "you".
            items: the columns, in order.
            sides: keep the personas of these sides only; all when None.

        Raises:
            SelfrepError: the condition is missing; an answer is missing; a persona is on two sides.
        """
        mine = prompts_of(scores, condition, "side", sides)
        if len(mine) == 0:
            raise SelfrepError(f"Items are read beside their controls; the condition {condition!r} is missing. Add it.")
        personas, asked = ([str(name) for name in scores[label].to_numpy()[mine]] for label in ("persona", "item"))
        rows = list(zip(personas, map(int, scores.paraphrase.to_numpy()[mine]), strict=True))
        keys = sorted(set(rows))
        names, columns = sorted(set(personas)), list(items)
        shape = (len(keys), len(columns))
        read = UNSAID if set(UNSAID) <= set(scores.data_vars) else ALL
        odds, masses = (scores[name].to_numpy() for name in read)
        lost = np.isnan(masses) & np.isfinite(scores["answer_mass"].to_numpy())
        log_odds, mass, present = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool)
        silent = np.zeros(len(columns), dtype=bool)
        side_of = permutation.groups_of(personas, scores.side.to_numpy()[mine])
        number, column = ({key: k for k, key in enumerate(some)} for some in (keys, columns))
        for i, key, item in zip(mine, rows, asked, strict=True):
            if item in column:
                at = number[key], column[item]
                log_odds[at], mass[at], present[at] = odds[i], masses[i], True
                silent[at[1]] |= lost[i]
        if not present.all():
            r, c = np.argwhere(~present)[0]
            raise SelfrepError(
                f"Every persona must be asked every item in the condition {condition!r}; {int((~present).sum())} "
                f"answers are missing, the first that of {keys[r]} to {columns[c]!r}."
            )
        persona = np.array([names.index(name) for name, _ in keys])
        side = np.array([side_of[name] for name in names])
        return cls(keys, log_odds, mass, silent, persona, names, side, families_of(scores, names))

    def families(self, sides: tuple[str, str]) -> Families:
        """The families of two sides that all personas here stand on (see `Table.of`)."""
        return Families.of(self.persona, self.family, self.side.tolist(), sides)

    def heard(self, columns: Sequence[int]) -> list[int]:
        """Those of some items that have answers which no description says; all of them where none has."""
        return [c for c in columns if not self.silent[c]] or list(columns)

    def means(self, values: Float[Array, row * rest]) -> Float[Array, persona * rest]:
        """The mean over the paraphrases of each persona."""
        return self.pooling() @ values

    def pooling(self) -> Float[Array, "persona row"]:
        """Weights that average the rows of each persona."""
        return averages(self.persona)

    def require_twin(self, other: Table, condition: str) -> None:
        """Refuse a control with other rows than these."""
        if self.keys != other.keys:
            raise SelfrepError(
                f'The control {condition!r} must have the personas and paraphrases of the condition "you"; only one '
                f"of them has {sorted(set(self.keys) ^ set(other.keys))[:3]}."
            )
        permutation.groups_of([*self.names, *other.names], [*self.side, *other.side])


def by_framing(items: Sequence[str], framings: Mapping[str, str] | None) -> dict[str, list[int]]:
    """The columns of every item, and of "all F" for each framing F with several: items of two are never averaged.

    Args:
        items: their names, in the order of the columns.
        framings: the framing of every item; None keeps items apart.

    Raises:
        SelfrepError: an item's framing is not given.

    Example:
        >>> by_framing(["a", "b", "c"], {"a": "first_person", "b": "third_person", "c": "third_person"})
        {'a': [0], 'b': [1], 'c': [2], 'all third_person': [1, 2]}
    """
    rows = {name: [i] for i, name in enumerate(items)}
    if framings is None:
        return rows
    if unknown := [name for name in items if name not in framings]:
        raise SelfrepError(
            f"Items are pooled within a framing, never across; the framing of {unknown[:3]} is not given. Give that of "
            "every item, or none to keep items apart."
        )
    for framing in dict.fromkeys(framings[name] for name in items):
        members = [i for i, name in enumerate(items) if framings[name] == framing]
        if len(members) > 1:
            rows[f"all {framing}"] = members
    return rows


def item_draws(n_items: int, n_draws: int, rng: np.random.Generator) -> Float[Array, "draw item"]:
    """Weights of items drawn with replacement, summing to 1; one item is always itself.

    Returns:
        [draw, item].
    """
    return resampling.resample(n_items, n_draws, rng) / n_items


def crossed(scores: xr.Dataset, variable: str, by: Sequence[str]) -> xr.DataArray:
    """A variable of `prompt` as an array over coordinates, one prompt for each combination of their values.

    Args:
        scores: with `variable` and the coordinates on prompt.
        variable: e.g. "log_odds".
        by: the names of the coordinates; they become the dims, their values in order of appearance.

    Returns:
        DataArray over `by`.

    Raises:
        SelfrepError: a coordinate is missing; a combination is missing, or there twice.

    Example:
        >>> coords = {"persona": ("prompt", ["jfk", "jfk", "hal", "hal"]), "item": ("prompt", ["a", "b", "a", "b"])}
        >>> scores = xr.Dataset({"log_odds": ("prompt", [1.0, 2.0, 3.0, 4.0])}, coords=coords)
        >>> crossed(scores, "log_odds", ("persona", "item")).values
        array([[1., 2.],
               [3., 4.]])
    """
    if absent := [name for name in by if name not in scores.coords]:
        raise SelfrepError(
            f"Each prompt is identified by its coordinates {', '.join(by)}; these are missing: {', '.join(absent)}."
        )
    columns = {name: scores[name].to_numpy().tolist() for name in by}
    levels = {name: list(dict.fromkeys(column)) for name, column in columns.items()}
    place = tuple([levels[name].index(value) for value in column] for name, column in columns.items())
    out = np.full([len(values) for values in levels.values()], np.nan)
    counts = np.zeros(out.shape, dtype=int)
    np.add.at(counts, place, 1)
    if (counts != 1).any():
        at = tuple(np.argwhere(counts != 1)[0])
        cell = ", ".join(f"{name} {levels[name][i]!r}" for name, i in zip(by, at, strict=True))
        raise SelfrepError(
            f"Every combination of {', '.join(by)} is there once; {int((counts != 1).sum())} of {counts.size} are not. "
            f"The first, {cell}, is there {int(counts[at])} times."
        )
    out[place] = scores[variable].to_numpy()
    return xr.DataArray(out, dims=list(by), coords=levels, name=variable)
