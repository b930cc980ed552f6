"""π: how well each persona's prompt predicts texts in character, author by author, and who is speaking by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import PER_PROMPT, Context, Stage, Tick, within
from selfrep.analyses.posterior import PosteriorPart
from selfrep.analyses.posterior.estimate import posterior, prior, recognition
from selfrep.analyses.posterior.material import Texts
from selfrep.analyses.posterior.predictions import prior_log_probs, text_log_probs


def runs(context: Context, part: PosteriorPart) -> Iterator[Stage]:
    """The texts, author by author; whom the model leans to before a word; the posterior, and who is recognised."""
    texts, directory = part.load(), context.directory
    people = context.people.select(texts.authors())
    groups = {author: f"texts/{i:02d}" for i, author in enumerate(texts.authors())}

    def lean(tick: Tick) -> None:
        prompted, plain = prior_log_probs(context.lm, people, paraphrase=part.paraphrase)
        directory.write("text_priors", xr.Dataset({"asked": prompted, "plain": plain}))

    def log_probs() -> xr.Dataset:
        return side_by_side([context.read(group) for group in groups.values()])

    def estimate() -> xr.Dataset:
        leaning = None if part.prior == "uniform" else context.read("text_priors")
        believed = posterior(log_probs(), None if leaning is None else prior(leaning.asked, leaning.plain))
        labels = [people[name].label for name in map(str, believed.persona.to_numpy())]
        return believed.assign_coords(persona_label=("persona", labels))

    for author, group in groups.items():
        n = 2 * len(texts.by(author)) * (len(groups) + 1)
        work = _predictions(context, part, texts, author, group)
        yield Stage(f"texts by {author}", PER_PROMPT * n, partial(directory.has, group), work, prompts=n)
    if part.prior == "model":
        n = 2 * len(groups)
        yield Stage("who is expected", PER_PROMPT * n, partial(directory.has, "text_priors"), lean, prompts=n)
    yield context.estimating("the persona posterior", "posterior", estimate)
    # What is recognised is recognised by the text: nobody is ahead before its first word.
    yield context.estimating(
        "who is recognised", "recognition", lambda: recognition(posterior(log_probs()), seed=context.seed)
    )


def side_by_side(parts: list[xr.Dataset]) -> xr.Dataset:
    """Texts of several groups side by side, NaN past the end of each."""
    blank = {"log_prob": np.nan, "log_prob_neutral": np.nan, "counted": True, "piece": ""}
    numbered = [part.assign_coords(token=np.arange(part.sizes["token"])) for part in parts]
    return xr.concat(numbered, "text", join="outer", fill_value=blank).drop_vars("token")


def _predictions(
    context: Context, part: PosteriorPart, texts: Texts, author: str, group: str
) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        log_probs = text_log_probs(
            context.lm,
            texts.by(author),
            context.people.select(texts.authors()),
            paraphrase=part.paraphrase,
            seed=context.seed,
            progress=within(tick),
        )
        context.directory.write(group, log_probs)

    return work
