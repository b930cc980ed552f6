"""A chat template that would take all time or memory is refused, and others are left alone."""

from __future__ import annotations

import resource
import threading
import time
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import template_limits
from selfrep.prompts.chat import chat_format

from .conftest import CHATML, GEMMA, LLAMA2


@pytest.fixture(autouse=True)
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "SECONDS", 0.5)


_LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
_DOUBLING = "{% set n = namespace(s='x') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (_LOOPS, "longer than 0.5 seconds"),
        ("{% for x in range(1000000000) %}{% endfor %}", "Range too big"),
        ("{{ 'x' * 10000000000 }}", "multiplies by whole numbers up to 100"),
        ("{{ 'x' * (messages | length) }}", "multiplies"),
        ("{{ 10 ** 1000000000 }}", "no power"),
        ("{{ 1 | round(1000000000, 'ceil') }}", "no filter 'round'"),
        ("{{ 'x' | center(50000000000) }}", "more than 256 MB"),
        ("{{ '%50000000000d' % 1 }}", "more than 256 MB"),
        ("{{ 'x'.ljust(50000000000) }}", "more than 256 MB"),
        (_DOUBLING, "it "),
        ("{{ 'x' | center(5000000) }}", "makes 5,000,"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ ().__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% for i in range(99999) %}{{ strftime_now('%Y' ~ i) }}{% endfor %}", "more than 100 forms of the time"),
        ("{{ 'x' | truncate(1, true, 'y', -9) }}", "leeway"),
        ("{{ raise_exception('selfrep_times: %Y') }}{{ strftime_now('%Y') }}", "selfrep_times"),
        ("{{ strftime_now('x' | center(5000)) }}", "or for a longer one"),
        ("{{ strftime_now('\ud800') }}", "surrogates not allowed"),
        ("{{ messages | tojson(indent='x' | center(1000000000)) }}", "it "),
        ("{{ messages[99]['content'].x.y }}", "no element 99"),
    ],
)
def test_it_is_refused_soon_and_leaves_nothing(template: str, words: str, chatml: Any) -> None:
    began, before = time.perf_counter(), resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(SelfrepError, match="chat template refuses a conversation") as caught:
        chat_format(chatml, template + CHATML)
    assert words in str(caught.value)
    assert time.perf_counter() - began < 10
    assert resource.getrlimit(resource.RLIMIT_AS) == before, "memory is to be had again"


@pytest.mark.parametrize(
    "template",
    [CHATML, LLAMA2, GEMMA, "{{ '-' * 20 }}" + CHATML, "{% generation %}{% endgeneration %}" + CHATML,
     "{% for a in range(9) %}{% if a > 3 %}{% break %}{% endif %}{% endfor %}" + CHATML],
)  # fmt: skip
def test_usual_templates_are_taken(template: str, chatml: Any) -> None:
    assert chat_format(chatml, template).text == template


def test_two_threads_have_a_time_of_their_own_and_no_exception_arrives_late() -> None:
    said: list[str] = []

    def work(seconds: float) -> None:
        try:
            with template_limits.limited():
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    pass
            said.append("done")
        except template_limits.TooMuch:
            said.append("stopped")

    threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (20.0, 0.01)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["done", "stopped"]
    time.sleep(0.7)  # longer than the limit: a timer that was not stopped would ring here


def test_a_machine_without_memory_is_no_fault_of_the_template(chatml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Timer.start", none)
    with pytest.raises(MemoryError, match="can't start new thread"):
        chat_format(chatml, "{# never seen before #}" + CHATML)
