"""How many independent personas, and how many independent families, does each side of a file of personas hold?

    OMP_NUM_THREADS=1 python scripts/measure_families.py                       # the built-in personas
    OMP_NUM_THREADS=1 python scripts/measure_families.py --personas mine.yaml  # your own, with sides and families

Families are the units of selfrep's intervals and tests, since their personas are not independent. Three things are
measured, of the answers (log odds, averaged over the items of a perspective) and of the activations at the last token,
both averaged over paraphrases:

* ICC: the share of the variance within a side that lies between families; one-way analysis of variance, of activations
  on the traces of both mean squares (Shrout & Fleiss 1979, ICC(1)).
* Independent personas: those of a side, n in families of m_f, tell of its mean as much as
  n / (1 + (Σ m_f² / n − 1) ICC) independent ones; for families of one size that is Kish's n / (1 + (m − 1) ICC) (Kish
  1965). F or more says that families lose nothing by holding several personas; it cannot say whether families are
  independent of one another.
* Independent families: F / (1 + (F − 1) r²), the participation ratio of the correlation matrix of F families any two of
  which correlate by ±r. Where families gather in clans (all fictional machines, say), the differences of families that
  have no member in common still point the same way. r² is the mean squared cosine between such differences, less that
  between differences *within* two families, which no clan can make alike: so alike are independent directions in so few
  dimensions. In doubt it counts too few: eight families in four clans of twins are 3.1. Answers are one number, which
  has no directions. What all families of a side share is not seen here, since it cannot be told from the side.

± is one standard error, from leaving out one family at a time (jackknife). The control takes every persona for a family
of its own: where families are real it must come out below the number of personas, by more than that of families does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import numpy as np
import xarray as xr

import selfrep as sr
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.battery import Battery
from selfrep.prompts.personas import PersonaSet
from selfrep.stats.geometry import normalised
from selfrep.stats.rounding import negligible

Array = np.ndarray
Contrast = tuple[frozenset[str], Array]
"""Which families, or personas, a difference is of, and its direction."""

ITEMS = ("who_are_you", "hello", "origin", "smollm_program", "written_by")
LAYERS = (14, 18, 22, 26)
FEWEST = 4
"""Families in which there are enough differences without a member in common."""


def intraclass(values: Array, family: Array) -> float:
    """The ICC of families among [persona, d] values of one side; NaN where no family, or a single one, has several.

    Example:
        Twins that differ by nothing, from families that do:

        >>> intraclass(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array(["a", "a", "b", "b"]))
        1.0
    """
    names, sizes = np.unique(family, return_counts=True)
    n, n_families = len(family), len(names)
    if n_families < 2 or n == n_families:
        return float("nan")
    means = np.stack([values[family == name].mean(axis=0) for name in names])
    within = sum(((values[family == name] - mean) ** 2).sum() for name, mean in zip(names, means, strict=True))
    between = (sizes[:, None] * (means - values.mean(axis=0)) ** 2).sum()
    within, between = within / (n - n_families), between / (n_families - 1)
    typical = (n - (sizes**2).sum() / n) / (n_families - 1)
    return float((between - within) / (between + (typical - 1) * within))


def independent_personas(family: Array, icc: float) -> float:
    """How many independent personas tell as much of their mean; a negative ICC counts as 0.

    Example:
        >>> independent_personas(np.array(["a", "a", "b", "b"]), 1.0)
        2.0
    """
    sizes = np.unique(family, return_counts=True)[1]
    return float(sizes.sum() / (1 + ((sizes**2).sum() / sizes.sum() - 1) * max(icc, 0.0)))


def independent_families(mean: Mapping[str, Array], chance: float) -> float:
    """How many independent families there are; NaN for fewer than four, which have too few differences.

    Args:
        mean: of each family, [d].
        chance: the squared cosine of independent directions.

    Example:
        Eight families in four clans of twins, in so many dimensions that chance plays no part:

        >>> clans = np.random.default_rng(0).normal(size=(4, 10_000))
        >>> twins = {f"{i}{twin}": clan for i, clan in enumerate(clans) for twin in "ab"}
        >>> alone = {str(i): row for i, row in enumerate(np.random.default_rng(1).normal(size=(8, 10_000)))}
        >>> round(independent_families(twins, 0.0), 1), round(independent_families(alone, 0.0), 1)
        (3.1, 8.0)
    """
    if len(mean) < FEWEST:
        return float("nan")
    differences = [(frozenset((a, b)), mean[a] - mean[b]) for a, b in combinations(mean, 2)]
    excess = max(float(np.mean(squared_cosines(differences))) - chance, 0.0)
    return len(mean) / (1 + (len(mean) - 1) * excess)


def squared_cosines(differences: list[Contrast]) -> list[float]:
    """Between any two differences that have no family in common."""
    lengths = [float(np.linalg.norm(vector)) for _, vector in differences]
    longest = max(lengths, default=0.0)
    units = [
        (of, vector / length)
        for (of, vector), length in zip(differences, lengths, strict=True)
        if not negligible(length, longest)
    ]
    return [float(x @ y) ** 2 for (of, x), (others, y) in combinations(units, 2) if not of & others]


def within_families(values: Array, family: Array) -> list[Contrast]:
    """The differences between personas of one family."""
    return [
        (frozenset((name,)), x - y) for name in np.unique(family) for x, y in combinations(values[family == name], 2)
    ]


def jackknife(statistic: Callable[[Array, Array], float], values: Array, family: Array) -> float:
    """The standard error of a statistic of values and their families, leaving out one family at a time."""
    left = np.array([statistic(values[family != name], family[family != name]) for name in np.unique(family)])
    return float(np.sqrt((len(left) - 1) * left.var()))


def means(values: Array, label: Array) -> dict[str, Array]:
    """The mean of the rows of each label, in order of appearance."""
    return {str(name): values[label == name].mean(axis=0) for name in dict.fromkeys(label)}


def shown(value: float, error: float = float("nan"), digits: int = 2) -> str:
    """A number with its standard error, where there are any."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if np.isfinite(error) else "")


def rows(what: str, values: Array, side: Array, family: Array) -> Iterable[tuple[str, ...]]:
    """The lines of the table on [persona, d] values, one a side."""
    sides = list(dict.fromkeys(side))
    likeness = [c for s in sides for c in squared_cosines(within_families(values[side == s], family[side == s]))]
    chance = float(np.mean(likeness)) if likeness and values.shape[1] > 1 else float("nan")

    def clans(values: Array, family: Array) -> float:
        return independent_families(means(values, family), chance)

    for s in sides:
        of = side == s
        x, f = values[of], family[of]
        icc, n = intraclass(x, f), len(x)
        yield (
            what,
            str(s),
            str(n),
            str(len(set(f))),
            shown(icc, jackknife(intraclass, x, f)),
            shown(independent_personas(f, icc), digits=1),
            shown(clans(x, f), jackknife(clans, x, f), digits=1),
            shown(clans(x, np.arange(n)), digits=1),
        )


def measured(lm: LanguageModel, people: PersonaSet, items: Battery, layers: list[int]) -> dict[str, xr.DataArray]:
    """What is measured, by its name: [prompt, d] answers by perspective, and activations by layer."""
    answers = sr.score(lm, sr.make_prompts(people, items)).log_odds
    out = {}
    for perspective in dict.fromkeys(item.perspective for item in items):
        names = [item.name for item in items if item.perspective == perspective]
        out[f"answers, {perspective}"] = answers[answers["item"].isin(names)].expand_dims("d", axis=1)
    prompts = sr.make_prompts(people, items[items.names()[0]])
    acts = sr.capture(lm, prompts, "resid_post", layers=layers, tokens="position", positions=[-1]).activations
    for layer in layers:
        cell = acts.sel(site="resid_post", layer=layer, position=-1)
        out[f"activations, layer {layer}"] = cell.copy(data=normalised(cell.to_numpy())[0])
    return out


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--personas", help="a file of personas; the built-in ones when left out")
    parser.add_argument("--model", default="embedded", help="a name that selfrep.load_model takes")
    parser.add_argument("--items", nargs="+", default=ITEMS, help="of the battery; activations are those of the first")
    parser.add_argument("--layers", nargs="+", type=int, default=LAYERS)
    args = parser.parse_args()
    people = sr.personas.load(args.personas) if args.personas else sr.personas.builtin()
    people = people.select([persona.name for persona in people if persona.side])
    side, family = (np.array([getattr(persona, field) for persona in people]) for field in ("side", "family"))
    lm = sr.load_model(args.model)
    head = ("what", "side", "personas", "families", "ICC", "independent personas", "independent families", "control")
    form = "{:24}{:8}{:>9}{:>9}{:>14}{:>21}{:>21}{:>9}"
    print(form.format(*head))
    for what, values in measured(lm, people, sr.battery.builtin().select(args.items), list(args.layers)).items():
        of_persona = means(values.to_numpy(), values.persona.to_numpy())
        for row in rows(what, np.stack([of_persona[name] for name in people.names()]), side, family):
            print(form.format(*row))


if __name__ == "__main__":
    main()
