"""What the Prepare panel says after a change, and the step counts after a Stop: the handlers of the tabs."""

from threading import Event

import gradio as gr
import pytest

from demos.shared.tab import Run
from textedit_core.request import fit

LATENT = {"origin": "sample", "latent_seed": 3, "latent_truncation": 0.7, "image": None, "sizing": "crop"}


@pytest.fixture(scope="module")
def tabs(tiny_folder):
    """The three tabs that prepare, by method, on the tiny bundle in memory."""
    from demos.context import Context
    from demos.imagic import tab as imagic
    from demos.inversion import tab as null_text
    from demos.styleclip.optimizer_tab import OptimizerTab
    from demos.styleclip.picker import LatentPicker
    from textedit_core.models import zoo

    ctx = Context(zoo, str(tiny_folder), "cpu")
    for part in ("diffusion", "generator", "clip"):
        ctx.load(ctx.default, part)
    with gr.Blocks():
        models = gr.Dropdown([ctx.default], value=ctx.default)
        made = [imagic.build(ctx, models), null_text.build(ctx, models)]
        with gr.Tabs() as inner:
            made.append(OptimizerTab(ctx, models, LatentPicker(ctx, models), inner))
    return {tab.view.name: tab for tab in made}


def asked(tab, path: str, **more) -> dict:
    """The values of every widget of a tab as it is at first, with a picture and a text."""
    knobs = tab.view.knobs
    values = dict(zip(knobs, tab.use_presets(tab.ctx.default), strict=True)) | {"models": tab.ctx.default}
    values |= {"image": path, "sizing": "crop", "source_prompt": "a smiling man", "prompt": "a sad man"}
    if tab.view.name == "styleclip_optimizer":
        values |= LATENT | {name: one.value for name, one in tab.picker.projection.items()}
    return values | more


def prepared(tab, values: dict, stop_at: int | None = None) -> dict:
    """The updates of a preparation together, stopped after so many of its steps."""
    stop, merged = Event(), {}
    run = Run.of(tab.view.read(tab.ctx, values), stop, values)
    for done, updates in enumerate(tab.watch(run, fit(run.asked, costs=run.costs), tab.fit.status), 1):
        merged |= updates
        if stop_at is not None and done + 1 >= stop_at:
            stop.set()
    return merged


OTHERS = [
    ("imagic", {"prompt": "a happy man"}),
    ("imagic", {"sizing": "pad", "embedding_steps": 2}),
    ("imagic", {"image": None}),
    ("prompt_to_prompt", {"source_prompt": "a man"}),
    ("prompt_to_prompt", {"steps": 3}),
    ("styleclip_optimizer", {"latent_seed": 4}),
    ("styleclip_optimizer", {"l2_lambda": 0.5}),
]


@pytest.mark.parametrize(("method", "change"), OTHERS)
def test_what_was_prepared_is_said_of_nothing_else_and_again_when_it_is_asked(tabs, picture, method, change):
    tab, values = tabs[method], asked(tabs[method], picture())
    panel = tab.fit
    ended = prepared(tab, values)
    assert "Prepared for" in ended[panel.status] and " s." in ended[panel.status]
    same = tab.say_fit(shown_key=ended[panel.shown_key], **values)
    assert same == {panel.shown_key: ended[panel.shown_key]}, "what the run said of its end stays"
    other = tab.say_fit(shown_key=ended[panel.shown_key], **values | change)
    assert other == {panel.status: panel.invitation, panel.losses: "", panel.shown_key: ""}
    back = tab.say_fit(shown_key="", **values)
    assert "from the cache" in back[panel.status] and back[panel.shown_key] == ended[panel.shown_key]
    assert back[panel.losses].count("<polyline") == ended[panel.losses].count("<polyline")


def test_another_prompt_leaves_the_inversion_and_what_is_said_of_it(tabs, picture):
    tab = tabs["prompt_to_prompt"]
    values = asked(tab, picture())
    told = prepared(tab, values)[tab.fit.shown_key]
    for prompt in ("", "a man with glasses"):
        assert tab.say_fit(shown_key=told, **values | {"prompt": prompt}) == {tab.fit.shown_key: told}


def test_models_that_are_not_in_memory_are_not_loaded_to_say_so(tabs, picture):
    tab = tabs["imagic"]
    said = tab.say_fit(shown_key="x", **asked(tab, picture()) | {"models": "sd"})
    assert said[tab.fit.status] == tab.fit.invitation


def test_a_stopped_fit_is_used_and_leaves_the_step_counts_as_they_were(tabs, picture):
    tab = tabs["imagic"]
    values = asked(tab, picture(), finetune_steps=40)
    ended = prepared(tab, values, stop_at=5)
    assert not {tab.controls[name] for name in tab.view.keeps} & ended.keys()
    assert "Kept 3 of 3 embedding and" in ended[tab.fit.status]
    unfinished, told = ended[tab.fit.unfinished], ended[tab.fit.shown_key]
    now = values | {"unfinished": unfinished}
    used = tab.asked(now)
    assert used.settings["embedding_steps"] == 3 and 1 <= used.settings["finetune_steps"] < 40
    assert used.at(eta=0).settings == tab.sweep.asked(now, {"eta": [0, 1]})[""].settings
    assert tab.sweep.asked(now, {"finetune_steps": [2, 4]})[""].settings["finetune_steps"] == 2
    assert tab.say_fit(shown_key=told, **now) == {tab.fit.shown_key: told}, "it still says what was kept"
    assert tab.say_fit(shown_key="", **now)[tab.fit.status] == ended[tab.fit.status], "and says it again"
    merged, run = {}, Run.of(used, Event(), now)
    for updates in tab.watch(run, fit(used, costs=run.costs), tab.fit.status):
        merged |= updates
    assert merged == {tab.fit.status: ended[tab.fit.status], tab.fit.losses: ended[tab.fit.losses]}, (
        "an edit that uses it leaves it for the next"
    )

    other = now | {"image": picture(1)}
    assert tab.say_fit(shown_key=told, **other)[tab.fit.status] == tab.fit.invitation
    assert tab.asked(other).settings["finetune_steps"] == 40
    assert tab.asked(now | {"finetune_steps": 7}).settings["finetune_steps"] == 7, "what is set now counts"


def test_a_whole_preparation_after_a_stop_takes_its_place(tabs, picture):
    tab = tabs["imagic"]
    values = asked(tab, picture(), finetune_steps=6)
    first = prepared(tab, values, stop_at=5)
    assert first[tab.fit.unfinished]["kept"]["finetune_steps"] < 6
    whole = prepared(tab, values | {"unfinished": first[tab.fit.unfinished]})
    assert whole[tab.fit.unfinished] == {} and "Prepared for" in whole[tab.fit.status]


def test_a_stopped_way_is_followed_to_its_end_from_the_next_latent(tabs, picture):
    tab = tabs["styleclip_optimizer"]
    values = asked(tab, picture(), steps=60)
    unfinished = prepared(tab, values, stop_at=4)[tab.fit.unfinished]
    assert 0 < unfinished["kept"]["stop_after"] < 60
    assert tab.asked(values | {"unfinished": unfinished}).settings["stop_after"] > 0
    assert tab.asked(values | {"unfinished": unfinished, "latent_seed": 9}).settings["stop_after"] == 0


@pytest.mark.parametrize("method", ["imagic", "prompt_to_prompt", "styleclip_optimizer"])
def test_the_panel_is_wired_to_all_that_a_preparation_is_made_for(tabs, method):
    tab = tabs[method]
    blocks = tab.fit.status.parent
    while blocks.parent is not None:
        blocks = blocks.parent
    found = []
    for one in blocks.fns.values():
        if getattr(one.fn, "__name__", "") == "say_fit" and getattr(one.fn, "__self__", None) is tab:
            heard = blocks.fns[one.trigger_after]
            found.append({component for component, event in heard.targets if event == "change"})
    fields = {one._id for one in tab.fit_fields.values()}
    knobs = {tab.controls[name]._id for name in tab.view.fit_knobs}
    all_at_once = fields | knobs | {tab.models._id, tab.fit.shown_key._id}
    assert found == [all_at_once], "two events may answer in another order than they were asked"
