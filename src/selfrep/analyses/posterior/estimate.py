"""π, the persona posterior: which of several personas is speaking, token by token, in the model's own judgement.

Under "you are JFK" the model predicts a text differently than under "you are HAL". By Bayes' rule each token y_t speaks
for the personas that expected it: log π_t(k) = log π_{t−1}(k) + log p(y_t | system_k, y_<t), renormalised. The prior
π_0 is the model's leaning before the text, without how likely the words of the descriptions are by themselves
(pointwise mutual information against neutral). A name that is copied from the system text is no evidence of character,
so such tokens can be left out.
"""

from __future__ import annotations

from math import factorial, log

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy.special import log_softmax, logsumexp

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.families import FEWEST, averages
from selfrep.stats.rounding import ROUNDING

Array = np.ndarray


def prior(answer: xr.DataArray, baseline: xr.DataArray) -> xr.DataArray:
    """π_0: how much the model leans to each persona before the text, by pointwise mutual information.

    Args:
        answer: (persona) log probability (nats) of each persona's description where the model is to say who it is,
            under the neutral prompt.
        baseline: (persona) that of the same words where no one is asked: how likely the string is by itself.

    Returns:
        (persona) probabilities that sum to 1: softmax of answer − baseline.

    Raises:
        SelfrepError: the two are of different personas, or not finite.

    Source: pointwise mutual information against surface form competition (Holtzman et al. 2021).

    Example:
        >>> who = {"dims": "persona", "coords": {"persona": ["jfk", "hal"]}}
        >>> prior(xr.DataArray(np.log([0.4, 0.2]), **who), xr.DataArray(np.log([0.1, 0.2]), **who)).round(2).values
        array([0.8, 0.2])
    """
    if answer.dims != ("persona",) or not answer.persona.equals(baseline.persona):
        raise SelfrepError(
            "The prior needs log probabilities of the same personas (dim persona), of the answer and of its baseline."
        )
    pmi = answer - baseline
    if not np.isfinite(pmi).all():
        bad = pmi.persona.values[~np.isfinite(pmi.values)].tolist()
        raise SelfrepError(f"The prior needs finite log probabilities; those of {bad} are not.")
    return xr.DataArray(np.exp(log_softmax(pmi.to_numpy())), dims="persona", coords={"persona": pmi.persona})


def posterior(texts: xr.Dataset, prior: xr.DataArray | None = None) -> xr.Dataset:
    """π: how probable each persona is as the speaker, after every token of every text, by Bayes' rule.

    log π_t(k) = log π_{t−1}(k) + log p(y_t | system text of k, y_<t), renormalised over the personas.

    Args:
        texts: `log_prob` (persona, text, token), nats: log p(y_t | the system text of the persona, y_<t); NaN past the
            end of a text, for all personas at once. May hold `log_prob_neutral` (text, token), the same under the
            neutral prompt, and `counted` (text, token), False for tokens that do not count, such as names.
            `text_log_probs` makes this from a model.
        prior: from `prior` (persona); uniform when None.

    Returns:
        Dataset; coordinates of `text`, such as author, are kept.

        * `posterior` (persona, text, token): sums to 1 over personas; NaN past the end.
        * `prior` (persona): π_0.
        * `entropy` (text, token): nats, 0 … log K.
        * `final` (persona, text): π after the last token.
        * `n_tokens` (text): how many tokens count.
        * `evidence` (persona, text, token): nats, only with a neutral prompt: how much better the persona has predicted
          the text so far than no persona. A text for which all are negative is by none of them.

    Raises:
        SelfrepError: fewer than two personas; a prior of other personas; texts without a token; personas that disagree
            on where a text ends; log probabilities above 0, or −inf under every persona.

    Source: Bayes' rule.

    Example:
        >>> p = np.array([[[0.5, 0.8]], [[0.5, 0.2]]])  # of 2 tokens, under 2 personas
        >>> coords = {"persona": ["jfk", "hal"]}
        >>> texts = xr.Dataset({"log_prob": (("persona", "text", "token"), np.log(p))}, coords=coords)
        >>> out = posterior(texts)
        >>> out.posterior.sel(persona="jfk").round(2).values, out.entropy.round(2).values
        (array([[0.5, 0.8]]), array([[0.69, 0.5 ]]))
    """
    if "log_prob" not in texts or set(texts.log_prob.dims) != {"persona", "text", "token"}:
        raise SelfrepError("The posterior is made from log_prob over (persona, text, token).")
    values = texts.log_prob.transpose("persona", "text", "token").to_numpy().astype(float)
    names = texts.persona.values.tolist()
    if len(names) < 2:
        raise SelfrepError(f"A posterior chooses between at least two personas; got {names}.")
    there = _there(values, texts)
    steps = np.where(there & _counted(texts), values, 0.0)
    begin = np.full(len(names), 1 / len(names))
    if prior is not None:
        if sorted(prior.persona.values.tolist()) != sorted(names):
            raise SelfrepError(f"The prior must be of the same personas, {names}; got {prior.persona.values.tolist()}.")
        begin = prior.sel(persona=names).to_numpy()
    if (begin < -ROUNDING).any() or not np.isclose(begin.sum(), 1):
        raise SelfrepError(f"A prior is made of probabilities that sum to 1; got {begin.tolist()}.")
    begin = begin.clip(min=0.0)
    with np.errstate(divide="ignore"):
        joint = np.log(begin)[:, None, None] + steps.cumsum(axis=2)
    if np.isneginf(joint).all(axis=0).any():
        text = int(np.argwhere(np.isneginf(joint).all(axis=0))[0][0])
        raise SelfrepError(f"Text {text} is impossible under every persona (log probability −inf); none can be chosen.")
    log_pi = np.where(there, joint - logsumexp(joint, axis=0), np.nan)
    pi = np.exp(log_pi)
    last = there.sum(axis=1) - 1
    out = xr.Dataset(
        {
            "posterior": (("persona", "text", "token"), pi),
            "prior": ("persona", begin),
            "entropy": (("text", "token"), _entropy(pi, log_pi)),
            "final": (("persona", "text"), np.take_along_axis(pi, last[None, :, None], axis=2)[:, :, 0]),
            "n_tokens": ("text", (there & _counted(texts)).sum(axis=1)),
        },
        coords={k: v for k, v in texts.coords.items() if set(v.dims) <= {"persona", "text", "token"}},
        attrs={"highest_entropy": log(len(names)), "prior": "uniform" if prior is None else "given"},
    )
    if "log_prob_neutral" in texts:
        plain = texts.log_prob_neutral.transpose("text", "token").to_numpy()
        if np.isnan(plain[there]).any():
            raise SelfrepError("The neutral prompt must predict the same tokens; log_prob_neutral lacks some.")
        gain = np.where(there & _counted(texts), values - plain, 0.0).cumsum(axis=2)
        out["evidence"] = (("persona", "text", "token"), np.where(there, gain, np.nan))
    return out


def recognition(
    posteriors: xr.Dataset, *, n_permutations: int = 10_000, n_bootstrap: int = 2000, seed: int = 0
) -> xr.Dataset:
    """Whether the posterior recognises who wrote each text: the mean final posterior of the author.

    Args:
        posteriors: from `posterior`, with the coordinate `author` on text: the persona under which it was written.
            Texts whose words were shuffled, as a control, are marked by a coordinate `shuffled` (bool). A persona
            without a `family` is one by itself.
        n_permutations: the most orders of the authors to try for p.
        n_bootstrap: the number of bootstrap draws behind the interval.
        seed: of the draws.

    Returns:
        Dataset of scalars.

        * `estimate`: the mean final posterior of the author, over families of authors; NaN where shuffled texts are
          recognised as well, as are its bounds, `p` and `null`.
        * `ci_low`, `ci_high`: 95 %; families of authors are resampled, then authors, then their texts. NaN with fewer
          than four families.
        * `p`: of no recognition; the names of the authors are permuted.
        * `null`: the 95th percentile of the estimate under permuted names.
        * `shuffled`: the estimate on shuffled texts; only where there are any.
        * `chance`: the mean prior of the authors.
        * `identified`: False where shuffled texts are recognised as well (the words give the author away, not the way
          of speaking), and with fewer than four families.
        * `reason`: why not, where not; "" otherwise.

    Raises:
        SelfrepError: no authors; unknown authors; too few of them to test.

    Source: permutation of the authors; hierarchical bootstrap.

    Example:
        Four texts, each of which its author predicts with probability 0.7 and the others with 0.1:

        >>> names = ["jfk", "hal", "nurse", "pirate"]
        >>> p = np.where(np.eye(4) == 1, 0.7, 0.1)[..., None]  # persona, text, one token
        >>> coords = {"persona": names, "author": ("text", names)}
        >>> texts = xr.Dataset({"log_prob": (("persona", "text", "token"), np.log(p))}, coords=coords)
        >>> out = recognition(posterior(texts))
        >>> round(float(out.estimate), 2), float(out.chance), round(float(out.p), 3)
        (0.7, 0.25, 0.042)
    """
    if "author" not in posteriors.coords:
        raise SelfrepError("Recognition needs to know who wrote each text: a coordinate `author` on text.")
    names = posteriors.persona.values.tolist()
    if unknown := sorted(set(posteriors.author.values.tolist()) - set(names)):
        raise SelfrepError(f"Authors are among the personas that are compared, {names}; unknown: {unknown}.")
    is_shuffled = (
        posteriors.shuffled.to_numpy().astype(bool)
        if "shuffled" in posteriors.coords
        else np.zeros(posteriors.sizes["text"], bool)
    )
    whole = posteriors.isel(text=np.flatnonzero(~is_shuffled))
    authors = sorted(set(whole.author.values.tolist()))
    if 1 / factorial(len(authors)) > resampling.ALPHA:
        raise SelfrepError(
            f"Too few authors to test: their names are permuted, and {len(authors)} give no smaller p than "
            f"{1 / factorial(len(authors)):.3g}. Add texts of other personas: four can reach .042."
        )
    rng = np.random.default_rng(seed)
    n, columns = len(authors), [names.index(a) for a in authors]
    families = posteriors.get("family", posteriors.persona).to_numpy()[columns]
    pool = averages(np.unique(families, return_inverse=True)[1])  # [family, author]
    weight = pool.mean(axis=0)
    number = np.array([authors.index(a) for a in whole.author.values.tolist()])
    final = whole.final.to_numpy()[columns].T  # [text, persona that is an author]
    means = np.array([final[number == a].mean(axis=0) for a in range(n)])
    orders = permutation.orders(n, n_permutations, rng)
    weights = np.zeros((len(orders), n, n))
    weights[np.arange(len(orders))[:, None], np.arange(n), orders] = weight
    test = permutation.permutation_test(means.reshape(1, -1), weights.reshape(len(orders), -1))
    estimate = float(np.diag(means) @ weight)
    out = {"estimate": estimate, "ci_low": np.nan, "ci_high": np.nan, "p": float(test.p[0])}
    out |= {"null": float(test.null_high[0]), "chance": float(posteriors.prior.to_numpy()[columns] @ weight)}
    reason = f"an interval needs at least {FEWEST} families of authors; there are {len(pool)}"
    if len(pool) >= FEWEST:
        even = np.full(len(pool), 1 / len(pool))
        of_author = resampling.resample_nested(pool.argmax(axis=0), even, n_bootstrap, rng)[:, number]
        draws = of_author * resampling.resample_within(number, n_bootstrap, rng)
        out["ci_low"], out["ci_high"] = map(
            float,
            resampling.interval(
                draws @ final[np.arange(len(number)), number], resampling.tail(len(pool), len(pool) - 1)
            ),
        )
        reason = ""
    if is_shuffled.any():
        control = posteriors.isel(text=np.flatnonzero(is_shuffled))
        out["shuffled"] = float(
            np.mean(
                [float(f.sel(persona=a)) for f, a in zip(control.final.T, control.author.values.tolist(), strict=True)]
            )
        )
        if out["shuffled"] >= out["ci_low"]:
            reason = (
                f"shuffled texts are recognised as well ({out['shuffled']:.2f} against {estimate:.2f}): the words "
                "betray the author, not the way of speaking"
            )
            out |= dict.fromkeys(("estimate", "ci_low", "ci_high", "p", "null"), np.nan)
    return xr.Dataset(
        dict(out) | {"identified": not reason, "reason": reason},
        attrs={
            "permuted": "the names of the authors",
            "n_labelings": len(orders),
            "smallest_p": 1 / len(orders),
            "n_authors": n,
            "n_families": len(pool),
            "n_texts": len(number),
            "seed": seed,
        },
    )


def _there(values: Float[Array, "persona text token"], texts: xr.Dataset) -> Bool[Array, "text token"]:
    """Where a text has a token."""
    known = ~np.isnan(values)
    there = np.asarray(known.all(axis=0))
    if (known.any(axis=0) != there).any():
        raise SelfrepError("Every persona predicts the same tokens; log_prob is NaN for some personas only.")
    if not there[:, 0].all() or (np.diff(there.astype(int), axis=1) > 0).any():
        raise SelfrepError(
            "A text is a run of tokens from the first on, with NaN after its last; some have gaps or none."
        )
    if (values[:, there] > 1e-6).any():
        raise SelfrepError(f"A log probability is at most 0; got {float(values[:, there].max()):.3g}.")
    return there


def _counted(texts: xr.Dataset) -> Bool[Array, "text token"]:
    if "counted" in texts:
        return texts.counted.transpose("text", "token").to_numpy().astype(bool)
    return np.ones((texts.sizes["text"], texts.sizes["token"]), dtype=bool)


def _entropy(
    pi: Float[Array, "persona text token"], log_pi: Float[Array, "persona text token"]
) -> Float[Array, "text token"]:
    terms = np.where(pi > 0, -pi * np.where(pi > 0, log_pi, 0.0), 0.0)
    return np.where(np.isnan(pi[0]), np.nan, terms.sum(axis=0))
