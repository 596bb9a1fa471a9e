"""Imagic's best of several seeds, its suggested eta, and what it does on the trained models."""

import pytest
import torch

from tests.methods.fits import PROMPT
from textedit_core import metrics
from textedit_core.knobs import knobs
from textedit_core.methods import imagic
from textedit_core.models.diffusion.latent_diffusion import count_rows
from textedit_core.steps import last


def test_seeds_are_ranked_by_both_scores_in_one_batch(tiny, model, image, fitted):
    with count_rows(model) as count:
        steps = list(imagic.rank_seeds(model, tiny.clip, fitted, image, seeds=4, seed=10, steps=3))
    assert (count.rows, count.calls) == (4 * 2 * 3, 3)
    assert [(step.done, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    ranked = steps[-1].value
    assert sorted(one.seed for one in ranked) == [10, 11, 12, 13]
    scores, likeness = [one.clip_score for one in ranked], [one.similarity for one in ranked]
    sums = [
        sum((x - min(c)) / ((max(c) - min(c)) or 1) for x, c in ((a, scores), (b, likeness)))
        for a, b in zip(scores, likeness, strict=True)
    ]
    assert sums == sorted(sums, reverse=True)
    assert sums[0] > sums[-1]
    best = ranked[0]
    alone = last(imagic.edit(model, fitted, seed=best.seed, steps=3))
    torch.testing.assert_close(best.image, alone, rtol=0, atol=1e-3)
    assert best.clip_score == pytest.approx(metrics.clip_score(tiny.clip, alone, PROMPT).item(), abs=0.05)
    assert best.similarity == pytest.approx(metrics.clip_similarity(tiny.clip, alone, image).item(), abs=1e-3)


def test_many_seeds_come_in_batches_of_eight(tiny, model, image, fitted):
    with count_rows(model) as count:
        steps = list(imagic.rank_seeds(model, tiny.clip, fitted, image, seeds=9, steps=1, seed=2**31 - 1))
    assert (count.rows, count.calls) == (18, 2)
    assert [(step.done, len(step.value)) for step in steps] == [(1, 8), (2, 9)]
    assert {one.seed for one in steps[-1].value} == {2**31 - 1, *range(8)}


@pytest.mark.parametrize(
    ("clip_scores", "similarities", "knee"),
    [
        ([20, 21, 29, 30, 30], [1, 0.99, 0.95, 0.6, 0.5], 2),
        ([20, 29, 30, 30, 30], [1, 0.9, 0.5, 0.3, 0.0], 1),
        ([20, 20.5, 21, 22, 30], [1, 0.9, 0.8, 0.7, 0], 0),  # worse than a straight trade: the source
        ([20, 22.5, 25, 27.5, 30], [1, 0.75, 0.5, 0.25, 0], 2),  # a straight trade: the middle
        ([20, 20, 20, 20, 20], [1, 0.9, 0.8, 0.7, 0.6], 0),  # the text gains nothing: stay with the source
        ([20, 21, 22, 23, 24], [1, 1, 1, 1, 1], 4),  # nothing is lost: take all
    ],
)
def test_the_knee(clip_scores, similarities, knee):
    etas = [0, 0.25, 0.5, 0.75, 1]
    assert imagic.suggest_eta(etas, clip_scores, similarities) == knee
    backwards = imagic.suggest_eta(etas[::-1], clip_scores[::-1], similarities[::-1])
    assert etas[::-1][backwards] == etas[knee]


@pytest.mark.parametrize("lists", [([], [], []), ([0, 1], [1], [1, 0])])
def test_the_knee_of_nothing_is_refused(lists):
    with pytest.raises(ValueError, match="every eta"):
        imagic.suggest_eta(*lists)


@pytest.fixture(scope="module")
def toon_fit(toon, portrait):
    preset = {k: v for k, v in toon.presets["imagic"].items() if k in knobs(imagic.fit)}
    return last(imagic.fit(toon.diffusion, portrait, "a sad woman with long pink hair", **preset))


def test_toon_eta_zero_rebuilds_the_source(toon, portrait, toon_fit):
    bound = metrics.psnr(toon.diffusion.decode(toon.diffusion.encode(portrait)), portrait).item()
    rebuilt = last(imagic.edit(toon.diffusion, toon_fit, eta=0, guidance_scale=1, steps=30))
    assert metrics.clip_similarity(toon.clip, rebuilt, portrait).item() > 0.9
    assert metrics.psnr(rebuilt, portrait).item() > min(18, bound - 6)


def test_toon_eta_leads_away_from_the_source(toon, portrait, toon_fit):
    strip = last(imagic.edit(toon.diffusion, toon_fit, eta=[0, 1, 1.5], guidance_scale=2, steps=20))
    kept = metrics.psnr(strip, portrait).tolist()
    assert kept == sorted(kept, reverse=True), kept
    told = metrics.clip_score(toon.clip, strip, "a sad woman with long pink hair").tolist()
    assert told[1] > told[0] + 2, told
