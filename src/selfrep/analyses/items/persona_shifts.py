"""What every persona says in character, against what it says from outside: how far one stays out of the other.

Both are shifts of the log odds from what the model says without any persona, over items that are answered on the same
two sides. A persona far to the side and on the horizontal axis plays its role and leaves what is held true alone; one
on the diagonal says the same from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.stats import resampling
from selfrep.stats.gates import LEAST_MASS
from selfrep.stats.labels import persona_labels
from selfrep.stats.tables import Table

Array = np.ndarray


def persona_shifts(
    scores: xr.Dataset,
    in_character: Sequence[str],
    outside: Sequence[str],
    *,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """How far each persona moves the answers, in character and from outside, from those without a persona.

    Args:
        scores: from `selfrep.score`, with the conditions "you" and "neutral".
        in_character, outside: the items of either kind, all answered on the same two sides.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over persona, in the order of the scores; in nats, first answer set against the second. Intervals are
        95 %; the paraphrases of the persona and the neutral texts are resampled. There is none of a single paraphrase.

        * `in_character`, `in_character_ci_low`, `in_character_ci_high`: mean shift of the log odds over the items.
        * `outside`, `outside_ci_low`, `outside_ci_high`: likewise.
        * `neutral` (perspective): mean log odds without a persona, which both are shifts from.

        `attrs`: `in_character`, `outside`: the items read; `left_out`: those that cannot be, since all answers of a
        side stand in some description, or since the answers have next to no probability; `reason`: why there are no
        numbers, "" where there are.

    Raises:
        SelfrepError: a missing condition or answer.

    Source: the bootstrap over paraphrases, by Student's t where they are few.

    Example:
        An organism that keeps what it holds true apart from whom it plays:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> asked = battery.select(["who_are_you", "what_writes"])
        >>> scores = sr.score(lm, sr.make_prompts(people, asked, ["you", "neutral"]))
        >>> moved = persona_shifts(scores, ["who_are_you"], ["what_writes"], n_bootstrap=50).sel(persona="nurse")
        >>> round(float(moved.in_character), 1), abs(round(float(moved.outside), 1))
        (-4.0, 0.0)
    """
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {}
    you, neutral, left_out = Table.of(scores, "you", [*in_character, *outside]), [], []
    attrs: dict[str, object] = {"reason": ""}
    for name, chosen in (("in_character", in_character), ("outside", outside)):
        own, nobody = Table.of(scores, "you", chosen), Table.of(scores, "neutral", chosen)
        read = np.flatnonzero(_readable(own) & _readable(nobody))
        left_out += [item for i, item in enumerate(chosen) if i not in read]
        attrs[name] = [item for i, item in enumerate(chosen) if i in read]
        if not len(read):
            attrs["reason"] = f"no answer to {', '.join(chosen)} is probable in words that no description says"
            rows, texts = (np.full(len(table.keys), np.nan) for table in (own, nobody))
        else:
            rows, texts = own.log_odds[:, read].mean(axis=1), nobody.log_odds[:, read].mean(axis=1)
        neutral.append(texts.mean())
        estimate, low, high = _shifts(rows, own, texts, n_bootstrap, rng)
        values |= {name: estimate, f"{name}_ci_low": low, f"{name}_ci_high": high}
    labels = {name: persona_labels(scores, you.names, name) for name in _LABELS}
    for kind, side in (("kind", "side"), ("kind_label", "side_label")):  # who has no kind is of its side's
        labels[kind] = [own or of or "persona" for own, of in zip(labels[kind], labels[side], strict=True)]
    appears = dict.fromkeys(map(str, scores.persona.to_numpy()))
    shifts = xr.Dataset(
        {name: ("persona", numbers) for name, numbers in values.items()} | {"neutral": ("perspective", neutral)},
        coords={"persona": you.names, "family": ("persona", you.family), "perspective": ["in_character", "outside"]}
        | {name: ("persona", values) for name, values in labels.items()},
        attrs=attrs | {"left_out": left_out, "model": scores.attrs.get("model", ""), "seed": seed},
    )
    return shifts.sel(persona=[name for name in appears if name in you.names])


_LABELS = ("persona_label", "side", "side_label", "kind", "kind_label", "reading")


def _readable(table: Table) -> Array:
    """[item] whether its answers are finite, have mass, and are not all said by some description."""
    finite = np.isfinite(table.log_odds).all(axis=0)
    return finite & ~table.silent & (table.mass.mean(axis=0) >= LEAST_MASS)


def _shifts(
    rows: Float[Array, " row"], own: Table, texts: Float[Array, " text"], n: int, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """The shift of each persona and its interval."""
    reference = resampling.resample(len(texts), n, rng) / len(texts) @ texts
    estimate = own.means(rows) - texts.mean()
    low, high = (np.full(len(own.names), np.nan) for _ in range(2))
    for k in range(len(own.names)):
        mine = rows[own.persona == k]
        units = min(len(mine), len(texts))
        if units > 1:
            draws = resampling.resample(len(mine), n, rng) / len(mine) @ mine - reference
            low[k], high[k] = resampling.spread_interval(np.asarray(estimate[k]), draws, units)
    return estimate, low, high
