"""Who hears of progress: nobody, a function of (done, total), or a bar on the screen. In one place for all verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Tick = Callable[[int, int], None]
"""Called with (done, total) as work goes on."""
StageTick = Callable[[str, float, float], None]
"""Called with (stage, done, total) as a study goes on."""
Progress = Tick | bool | None
"""What verbs take: True for a bar (tqdm), a function of (done, total), or None or False for silence."""


def after(progress: Callable[[int], None], before: int) -> Callable[[int], None]:
    """The progress of a part of the work, where so much was done before it."""
    return lambda done: progress(before + done)


def ticker(progress: Progress, unit: str) -> Tick:
    """A function of (done, total) for any kind of progress. A bar comes with the first tick and is closed by the last.

    Args:
        unit: what is counted, for the bar: "run", "prompt".
    """
    if progress is None or progress is False:
        return lambda done, total: None
    if progress is not True:
        return progress
    bars: list[Any] = []

    def tick(done: int, total: int) -> None:
        from tqdm.auto import tqdm  # here, since it looks for a notebook when it is imported

        if not bars:
            bars.append(tqdm(total=total, unit=unit))
        bars[0].update(done - bars[0].n)
        if done >= total:
            bars[0].close()  # ticks after the last do nothing

    return tick


@contextmanager
def stages_shown(progress: StageTick | bool | None) -> Iterator[StageTick]:
    """A function of (stage, done, total) for any kind of progress; a bar stands as long as the `with` block."""
    if progress is None or progress is False:
        yield lambda stage, done, total: None
    elif progress is not True:
        yield progress
    else:
        from tqdm.auto import tqdm

        with tqdm(total=100, unit="%", bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed} < {remaining}") as bar:

            def tick(stage: str, done: float, total: float) -> None:
                bar.set_description_str(stage, refresh=False)
                bar.update(100 * done / total - bar.n if total else 100 - bar.n)

            yield tick
