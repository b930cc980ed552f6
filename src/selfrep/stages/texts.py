"""π: how well each persona's prompt predicts texts in character, author by author, and who is speaking by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from selfrep.analyses.posterior.estimate import posterior, prior, recognition
from selfrep.analyses.posterior.material import Texts
from selfrep.analyses.posterior.predictions import prior_log_probs, text_log_probs
from selfrep.parts import PosteriorPart
from selfrep.store.run_directory import RunDirectory
from selfrep.study.job import PER_PROMPT, Job, Stage, Tick


def texts(job: Job) -> Iterator[Stage]:
    """The stages of the part `posterior`."""
    if part := job.study.posterior:
        written = part.load(Path())
        groups = {author: f"texts/{i:02d}" for i, author in enumerate(written.authors())}
        for author, group in groups.items():
            cost = PER_PROMPT * 2 * len(written.by(author)) * (len(groups) + 1)
            done = _there(job.directory, group)
            yield Stage(f"texts by {author}", cost, done, _predict(job, part, written, author, group))
        if part.prior == "model":
            cost = PER_PROMPT * 2 * len(groups)
            yield Stage("who is expected", cost, _there(job.directory, "text_priors"), _lean(job, part, written))
        yield Stage("the persona posterior", 1.0, lambda: _done(job), lambda tick: _posterior(job, part, groups))


def joined(parts: list[xr.Dataset]) -> xr.Dataset:
    """Texts of several groups side by side, NaN past the end of each."""
    width = max(part.sizes["token"] for part in parts)
    blank = {"log_prob": np.nan, "log_prob_neutral": np.nan, "counted": True, "piece": ""}
    padded = [
        part.assign_coords(token=np.arange(part.sizes["token"])).reindex(token=np.arange(width), fill_value=blank)
        for part in parts
    ]
    return xr.concat(padded, "text").drop_vars("token")


def _there(directory: RunDirectory, group: str) -> Callable[[], bool]:
    return lambda: directory.has(group)


def _done(job: Job) -> bool:
    return job.directory.has("posterior") and job.directory.has("recognition")


def _predict(job: Job, part: PosteriorPart, written: Texts, author: str, group: str) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        runs = text_log_probs(
            job.lm,
            written.by(author),
            job.study.people.select(written.authors()),
            paraphrase=part.paraphrase,
            seed=job.study.seed,
            progress=lambda done, total: tick(done / total),
        )
        job.directory.write(group, runs)

    return work


def _lean(job: Job, part: PosteriorPart, written: Texts) -> Callable[[Tick], None]:
    def work(tick: Tick) -> None:
        people = job.study.people.select(written.authors())
        asked, plain = prior_log_probs(job.lm, people, paraphrase=part.paraphrase)
        job.directory.write("text_priors", xr.Dataset({"asked": asked, "plain": plain}))

    return work


def _posterior(job: Job, part: PosteriorPart, groups: dict[str, str]) -> None:
    runs = joined([job.directory.read(group) for group in groups.values()])
    lean = None
    if part.prior == "model":
        said = job.directory.read("text_priors")
        lean = prior(said.asked, said.plain)
    job.directory.write("posterior", posterior(runs, lean))
    # What is recognised is recognised by the text: nobody is ahead before its first word.
    job.directory.write("recognition", recognition(posterior(runs), seed=job.study.seed))
