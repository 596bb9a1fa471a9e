"""Networks that two threads make at once come out as if each were made alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from textedit_core.building import ONE_AT_A_TIME, building
from textedit_core.models import zoo
from textedit_core.models.style.mapper import new_mapper


@pytest.fixture
def reading(tiny_folder, monkeypatch):
    """reading(): start to read a text-to-image model, and return in the middle of it."""
    from accelerate import init_empty_weights
    from diffusers import UNet2DConditionModel

    begun, real = threading.Event(), UNet2DConditionModel.from_pretrained

    def slow(*args, **kwargs):
        with init_empty_weights():  # as the library does, for longer
            begun.set()
            threading.Event().wait(0.5)
        return real(*args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", slow)
    with ThreadPoolExecutor() as threads:

        def start():
            found = threads.submit(lambda: zoo.load(str(tiny_folder), "cpu").diffusion)
            assert begun.wait(60)
            return found

        yield start


def test_a_part_that_is_loaded_while_another_is_read_has_its_weights(tiny_folder, reading):
    alone = zoo.load(str(tiny_folder), "cpu").generator.network.state_dict()
    other = zoo.load(str(tiny_folder), "cpu")
    found = reading()
    beside = other.generator.network.state_dict()
    assert beside.keys() == alone.keys() and all(torch.equal(beside[key], alone[key]) for key in alone)
    assert found.result().unet.conv_in.weight.device.type == "cpu"


def test_a_network_that_a_seed_draws_is_the_same_while_another_is_read(tiny_folder, reading):
    generator = zoo.load(str(tiny_folder), "cpu").generator.network
    alone = new_mapper(generator, "single", (), 3).state_dict()
    reading()
    beside = new_mapper(generator, "single", (), 3).state_dict()
    assert all(torch.equal(beside[key], alone[key]) for key in alone)


def test_two_threads_that_ask_for_a_part_get_one(tiny_folder):
    models, ready = zoo.load(str(tiny_folder), "cpu"), threading.Barrier(2)

    def ask():
        ready.wait()
        return models.generator

    with ThreadPoolExecutor() as threads:
        first, second = threads.submit(ask), threads.submit(ask)
    assert first.result() is second.result()


def test_random_numbers_of_the_process_are_as_they_were_and_the_lock_is_given_back():
    before = torch.random.get_rng_state()
    with pytest.raises(ZeroDivisionError), building(5), building(7):
        first = torch.rand(2)
        raise ZeroDivisionError
    assert torch.equal(torch.random.get_rng_state(), before)
    with building(7):
        assert torch.equal(torch.rand(2), first)

    def free() -> bool:
        if found := ONE_AT_A_TIME.acquire(timeout=1):
            ONE_AT_A_TIME.release()  # by the thread that has it: it would be held for ever
        return found

    with ThreadPoolExecutor() as threads:
        assert threads.submit(free).result()
