"""Fixtures of the engine's, the drawings' and the prompts' tests that analyses with runs of their own need too."""

from __future__ import annotations

import pytest
from tests.analyses.planted import described, finish, once, rich, with_subscales
from tests.engine.conftest import talker
from tests.plots.conftest import axis, identified, items, points, separation, shares, slopes, transfer
from tests.prompts.conftest import smollm
from tests.study.conftest import _no_browser

from selfrep.models.organisms import BATTERY
from selfrep.store.run_directory import RunDirectory

__all__ = [
    "_no_browser",
    "axis",
    "identified",
    "items",
    "points",
    "rich",
    "separation",
    "shares",
    "slopes",
    "smollm",
    "talker",
    "transfer",
]


@pytest.fixture(scope="session")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One run for all that is read from answers, on a model in which 0.4 of the persona leaks."""
    asked = with_subscales("organism:bleed?beta=0.4", "binding: {}\nbleed: {}\nidentification: {}\n")
    return RunDirectory.open(once("leaky", lambda folder: finish(asked, folder), tmp_path_factory))


@pytest.fixture(scope="session")
def apart(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """One run of what a model that keeps self and persona apart shows, with too few personas for halves of them."""
    asked = described(
        "organism:separate",
        "bleed: {}\nseparation: {item: who_are_you}\ndefault_axis: {item: who_are_you, default: [network]}\n",
        battery=f'{{file: "{BATTERY}", names: [who_are_you, what_writes, what_writes_in_danger]}}',
    )
    return RunDirectory.open(once("apart", lambda folder: finish(asked, folder), tmp_path_factory))
