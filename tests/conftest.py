"""What must hold before any test imports selfrep: no network, shapes checked at run time."""

from __future__ import annotations

import gc
import os
import shutil
import sys

# The hub reads these when it is first imported; without them an unknown name costs half a minute of retries.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import jaxtyping
import pytest
from checking import Loader, outermost
from hypothesis import HealthCheck, settings

gc.disable()  # until all tests are collected: until then nothing is garbage

# Every annotation in selfrep, shapes included, is checked at each call (how: checking.py); but for those of functions
# inside functions, which would be compiled anew each time the outer one is called: half of the time of these tests.
# Must come before the first import of selfrep.
jaxtyping.jaxtyped = outermost(jaxtyping.jaxtyped)
jaxtyping._import_hook._JaxtypingLoader = Loader
jaxtyping.install_import_hook("selfrep", "checking.checked")

# The examples of all @given tests are the same at every run, and no clock decides whether they pass: a busy machine
# is slow, not wrong.
settings.register_profile("selfrep", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("selfrep")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs CUDA"))


def pytest_collection_finish() -> None:
    """What is there by now stays, and need not be looked over for garbage: each time that took a second."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a browser; a test that asks for it is skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if path := shutil.which(name):
            return path
    pytest.skip("needs Chrome or Chromium (scripts/install_chromium)")


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ends in this process silences what Python says at its end, for that test alone."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
