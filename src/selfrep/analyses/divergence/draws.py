"""Distances of personas from the self in bootstrap draws, all at once, from the products between rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from selfrep.analyses.divergence.cast import UNPROMPTED, Cast
from selfrep.stats import resampling
from selfrep.stats.distances import noise_factor

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Products:
    """The products that distances from the self are made of; those of one frame are 0.

    Attributes:
        alone: [persona, paraphrase, paraphrase] within each persona; where it has fewer paraphrases than others, of the
            last one again.
        across, among: a reading each, between its texts and each persona, and within its texts.
    """

    alone: Float[Array, "persona paraphrase paraphrase"]
    across: list[Float[Array, "persona _ paraphrase"]]
    among: list[Float[Array, "persona _ _"]]

    @classmethod
    def of(cls, gram: Float[Array, "row row"], cast: Cast) -> Products:
        """The products that distances are made of, out of those between all rows."""
        return cls._of(gram, None, cast, np.arange(len(cast.names)))

    @classmethod
    def in_metric_of_noise(
        cls, gram: Float[Array, "row row"], from_centre: Float[Array, " row"], d: int, cast: Cast
    ) -> Products | None:
        """The products of each persona and of the self in a metric that its family has no part in, per mean squared
        length in that metric; None where there is no family but one.

        Args:
            gram: [row, row] between rows that are taken from their mean, the mean squared length being 1 with it.
            from_centre: [row] of the rows with their mean.
            d: the number of dimensions.
            cast: of the rows.
        """
        contrasts, fold = cast.noise
        if len(set(fold.tolist())) < 2:
            return None
        n = int((cast.spoken < 2).sum())  # what is said of the user has no part in the metric, and stands last
        across = contrasts[:, :n] @ np.column_stack([gram[:n, :n], from_centre[:n]])
        among = across[:, :-1] @ contrasts[:, :n].T
        within = cast.within_frame[:n, :n]
        gram = within @ gram[:n, :n] @ within.T
        parts, order = [], []
        for number in np.unique(cast.fold):
            others, personas = fold != number, np.flatnonzero(cast.fold == number)
            factor, _ = noise_factor(across[others], among[np.ix_(others, others)], d, 1.0)
            lengths = (factor**2).sum(axis=0)
            length = 1 - lengths[:-1].mean() - lengths[-1]
            parts.append(cls._of(gram, within @ factor[:, :-1].T, cast, personas, length))
            order.append(personas)
        back = np.argsort(np.concatenate(order))
        return cls(
            np.concatenate([part.alone for part in parts])[back],
            [np.concatenate(one)[back] for one in zip(*(part.across for part in parts), strict=True)],
            [np.concatenate(one)[back] for one in zip(*(part.among for part in parts), strict=True)],
        )

    @classmethod
    def _of(
        cls, gram: Array, factor: Float[Array, "row noise"] | None, cast: Cast, personas: Array, length: float = 1.0
    ) -> Products:
        """Of some personas: (gram − factor factorᵀ) / length."""

        def between(first: Int[Array, "#persona i"], second: Int[Array, "#persona j"]) -> Float[Array, "persona i j"]:
            out = gram[first[:, :, None], second[:, None, :]]
            if factor is not None:
                out = out - factor[first] @ factor[second].transpose(0, 2, 1)
            return out * cast.apart[first[:, :, None], second[:, None, :]] / length

        own, texts = cast.paraphrases[personas], [rows[None] for rows in cast.references.values()]
        return cls(
            between(own, own),
            [between(rows, own) for rows in texts],
            [np.repeat(between(rows, rows), len(personas), axis=0) for rows in texts],
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws; the first is the data as they are.

    Attributes:
        own: [persona, draw, paraphrase] weights of the paraphrases of each persona; 0 for those that it does not have.
        texts: a reading each, [draw, text] weights of its texts.
        kinds: [reference, kind, draw, persona] of the personas, families drawn anew, in each kind; NaN where nobody is.
        pairs: the weights of the pairs of rows that count, in the form of the products; see `distances`.
    """

    own: Float[Array, "persona draw paraphrase"]
    texts: list[Float[Array, "draw _"]]
    kinds: Float[Array, "reference kind draw persona"]
    pairs: tuple[Array, Array, Array]

    @classmethod
    def of(cls, cast: Cast, n: int, rng: np.random.Generator) -> Draws:
        """`n` draws, after the data themselves."""
        weight = np.zeros((1 + n, len(cast.member)))
        for rows in [*cast.own, cast.references[UNPROMPTED]]:
            weight[0, rows] = 1 / len(rows)
            weight[1:, rows] = _resampled(cast.frame[rows], n, rng)
        kinds = np.full((len(cast.references), len(cast.kinds), 1 + n, len(cast.names)), np.nan)
        for r, k in np.ndindex(kinds.shape[:2]):
            if families := cast.families[r][k]:
                share = np.full((1 + n, len(families)), 1 / len(families))
                share[1:] = resampling.resample(len(families), n, rng) / len(families)
                kinds[r, k] = 0.0
                for f, members in enumerate(families):
                    kinds[r, k][:, members] = share[:, [f]] / len(members)
        there = np.arange(cast.paraphrases.shape[1]) < np.array([[len(rows)] for rows in cast.own])
        own = np.ascontiguousarray((weight[:, cast.paraphrases] * there).transpose(1, 0, 2))
        texts = [np.ascontiguousarray(weight[:, rows]) for rows in cast.references.values()]
        return cls(own, texts, kinds, _sums(Products.of(np.ones((len(cast.member),) * 2), cast), own, texts))

    def distances(self, products: Products) -> Float[Array, "draw reference persona"]:
        """The distance of every persona from each reading, in every draw."""
        alone, among, across = (
            total / pairs for total, pairs in zip(_sums(products, self.own, self.texts), self.pairs, strict=True)
        )
        return alone + among - 2 * across


def _sums(products: Products, own: Array, texts: list[Array]) -> tuple[Array, Array, Array]:
    """Weighted sums of products, of personas with themselves, of readings with themselves, and between them:
    [draw, 1, persona], [draw, reference, persona] and [draw, reference, persona]."""
    among = [np.einsum("pbi,bi->bp", text @ table, text) for text, table in zip(texts, products.among, strict=True)]
    across = [np.einsum("pbi,pbi->bp", text @ table, own) for text, table in zip(texts, products.across, strict=True)]
    alone = np.einsum("pbi,pbi->bp", own @ products.alone, own)
    return alone[:, None], np.stack(among, axis=1), np.stack(across, axis=1)


def _resampled(frame: Int[Array, " row"], n: int, rng: np.random.Generator) -> Float[Array, "draw row"]:
    """Weights of rows drawn anew; draws of one frame only are drawn again, as nothing could be crossed in them."""
    same = frame[:, None] == np.unique(frame)
    counts = resampling.resample(len(frame), n, rng, distinct=2)
    while len(poor := np.flatnonzero(((counts @ same) > 0).sum(axis=1) < 2)):
        counts[poor] = resampling.resample(len(frame), len(poor), rng, distinct=2)
    return counts / len(frame)
