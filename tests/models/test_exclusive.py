"""A model that is held: as it computes by itself, by one thread, and afterwards as it was."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
from tests.tiny import logits, ragged, tiny_hf

from selfrep.errors import SelfrepError
from selfrep.models.exclusive import current_state, exclusive

IDS = ragged([9], seed=1)[0]


def test_dropout_is_off_while_it_is_held_and_on_again_after() -> None:
    hf = tiny_hf("gpt2").train()
    hf.transformer.h[1].eval()  # a part that the user has frozen
    flags = [module.training for module in hf.modules()]
    wanted = logits(tiny_hf("gpt2"), IDS)
    with suppress(KeyboardInterrupt), exclusive(hf):
        assert torch.equal(logits(hf, IDS), wanted)
        raise KeyboardInterrupt
    assert [module.training for module in hf.modules()] == flags
    assert not torch.allclose(logits(hf, IDS), wanted, atol=1e-2), "the control: it has dropout"


def test_it_computes_in_its_own_precision_and_without_gradients() -> None:
    hf = tiny_hf()
    wanted = logits(hf, IDS)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert not torch.allclose(logits(hf, IDS), wanted, atol=1e-4), "the control: autocast is on"
        with exclusive(hf):
            torch.testing.assert_close(logits(hf, IDS), wanted, rtol=1e-6, atol=1e-6)
            assert not torch.is_inference_mode_enabled()
            assert not hf(IDS[None]).logits.requires_grad


def test_one_thread_holds_it_and_others_wait() -> None:
    hf, order = tiny_hf(), []

    def hold(name: str) -> None:
        with exclusive(hf), exclusive(hf):  # may be nested
            order.append(name)
            time.sleep(0.05)
            order.append(name)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(hold, "abc"))
    assert order[::2] == order[1::2]
    assert sorted(order[::2]) == ["a", "b", "c"]


def test_weights_that_change_while_it_is_held_are_refused() -> None:
    hf = tiny_hf()
    with pytest.raises(SelfrepError, match=r"must not change.*the weights of toy have"), exclusive(hf, "toy"):
        threading.Thread(target=lambda: hf.lm_head.weight.data.add_(1.0)).run()
    with exclusive(hf, "toy"):
        pass


@pytest.mark.parametrize("kind", ["whole", "blocks", "forward"])
def test_what_is_compiled_runs_as_the_code_it_was_made_from(kind: str) -> None:
    hf, heard = tiny_hf(), []
    if kind == "whole":
        hf.compile(backend="eager")
    elif kind == "blocks":
        for block in hf.model.layers:
            block.compile(backend="eager")
    else:
        hf.forward = torch.compile(hf.forward, backend="eager")  # type: ignore[method-assign]
    logits(hf, IDS)
    handle = hf.model.layers[1].mlp.register_forward_hook(lambda *_: heard.append(1))  # after it was compiled

    def calls() -> int:
        heard.clear()
        logits(hf, IDS)
        return len(heard)

    assert calls() == 0, "the control: compiled code does not look for hooks"
    other = tiny_hf()
    other.compile(backend="eager")
    with exclusive(hf):
        with exclusive(other):
            assert calls() == 1
        assert calls() == 1, "whoever else is done"
    assert calls() == 0, "and it is compiled again"
    handle.remove()


def test_the_state_is_that_in_which_it_was_taken() -> None:
    hf = tiny_hf()
    with exclusive(hf) as state:
        assert current_state(hf) is state
    assert current_state(hf) == state
    hf.lm_head.weight.data.add_(1.0)
    assert current_state(hf) != state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_threads_it_does_not_have() -> None:
    hf: Any = torch.nn.Linear(2, 2)
    started, done = threading.Event(), threading.Event()

    def hold() -> None:
        with exclusive(hf):
            started.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    started.wait(20)
    child = os.fork()
    if child == 0:
        with exclusive(hf):
            os._exit(7 if torch.get_num_threads() == 1 else 1)
    deadline, ended = time.monotonic() + 20, (0, 0)
    while ended == (0, 0) and time.monotonic() < deadline:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    done.set()
    thread.join()
    if ended == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 7
