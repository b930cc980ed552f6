"""What each item shows, in every run."""

from __future__ import annotations

from selfrep.store.run_directory import RunDirectory


def test_items_of_subscales_are_read_apart(leaky: RunDirectory) -> None:
    asked, shown = set(leaky.read("behaviour").item.values), set(leaky.read("items").item.values)
    assert {"s0", "s1"} < asked
    assert shown.isdisjoint({"s0", "s1"})
    assert "who_are_you" in shown
    assert float(leaky.read("items")["shift"].sel(item="who_are_you")) > 1


def test_what_was_scored_is_shared_and_no_more_is_run_than_needed(leaky: RunDirectory) -> None:
    made = {"behaviour", "binding", "bleed", "identification", "items", "persona_shifts", "referents", "truth"}
    assert set(leaky.groups()) == made
    page = leaky.report.read_text("utf-8")
    assert page.count("How this could mislead.") == 3, "what every study asks has no chapter"
