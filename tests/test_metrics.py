"""The metrics against definitions written out here and against transformers' CLIP."""

import math

import pytest
import torch

from textedit_core import metrics


def images(count: int = 2, size: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_tenth_of_the_range_is_20_db():
    grey = torch.zeros(1, 3, 8, 8)
    assert metrics.mse(grey, grey + 0.2).item() == pytest.approx(0.01)
    assert metrics.psnr(grey, grey + 0.2).item() == pytest.approx(20)


def test_psnr_of_equal_images_is_infinite_and_rows_are_separate():
    a = images()
    b = a.clone()
    b[1] = -b[1]
    first, second = metrics.psnr(a, b).tolist()
    assert first == math.inf
    assert second < 10


def test_values_outside_the_range_count_as_saved():
    white = torch.ones(1, 3, 16, 16)
    assert metrics.mse(white, white * 3).item() == 0
    assert metrics.ssim(white, white * 3).item() == 1


def test_one_image_is_compared_with_every_row():
    a = images(3)
    torch.testing.assert_close(metrics.psnr(a, a[:1])[1:], metrics.psnr(a[1:], a[:1].repeat(2, 1, 1, 1)))
    torch.testing.assert_close(metrics.ssim(a[:1], a), metrics.ssim(a, a[:1]))


@pytest.mark.parametrize("other", [images(3), images(2, 8), images()[0]])
def test_images_that_cannot_be_compared_are_refused(other):
    with pytest.raises(ValueError, match="one shape"):
        metrics.mse(images(2), other)


def test_ssim_is_the_mean_over_windows_of_the_published_formula():
    a = images(1, 13)
    b = (a + 0.5 * images(1, 13, seed=1)).clamp(-1, 1)
    x = torch.arange(11.0) - 5
    weights = torch.exp(-(x[:, None] ** 2 + x[None, :] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for channel in range(3):
        for top in range(3):
            for left in range(3):
                p, q = ((image[0, channel, top : top + 11, left : left + 11] + 1) / 2 for image in (a, b))
                mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
                var_p, var_q = (weights * (p - mean_p) ** 2).sum(), (weights * (q - mean_q) ** 2).sum()
                both = (weights * (p - mean_p) * (q - mean_q)).sum()
                top_part = (2 * mean_p * mean_q + 0.0001) * (2 * both + 0.0009)
                found.append(top_part / ((mean_p**2 + mean_q**2 + 0.0001) * (var_p + var_q + 0.0009)))
    assert metrics.ssim(a, b).item() == pytest.approx(torch.stack(found).mean().item(), abs=1e-5)


def test_ssim_falls_with_noise_and_needs_a_window():
    a = images(1, 32)
    noisy = [metrics.ssim(a, a + s * images(1, 32, seed=1)).item() for s in (0, 0.1, 0.4)]
    assert noisy[0] == pytest.approx(1)
    assert noisy[0] > noisy[1] > noisy[2]
    with pytest.raises(ValueError, match="11 x 11"):
        metrics.ssim(images(1, 8), images(1, 8))


def test_clip_score_is_a_hundred_cosines_of_transformers_clip(tiny):
    clip = tiny.clip
    a = torch.cat([images(4, clip.size), (3 * images(4, clip.size, seed=1)).clamp(-1, 1)])
    texts = ["a red hat", "smiling man", "blue glasses", "a portrait"] * 2
    pixels = ((a + 1) / 2 - clip.mean.view(3, 1, 1)) / clip.std.view(3, 1, 1)
    tokens = clip.tokenizer(texts, padding=True, return_tensors="pt")
    output = clip.model(pixel_values=pixels, **tokens)
    cosines = output.image_embeds @ output.text_embeds.T
    expected = 100 * cosines.diagonal().clamp(min=0)
    assert (cosines < 0).any(), "nothing negative to clamp"
    torch.testing.assert_close(metrics.clip_score(clip, a, texts), expected, rtol=1e-4, atol=1e-3)
    one_text = metrics.clip_score(clip, a, texts[1])
    torch.testing.assert_close(one_text, 100 * cosines[:, 1].clamp(min=0), rtol=1e-4, atol=1e-3)


def test_clip_similarity_is_one_for_equal_images_only(tiny):
    a = images(3, tiny.clip.size)
    found = metrics.clip_similarity(tiny.clip, a, a[:1])
    assert found[0].item() == pytest.approx(1, abs=1e-5)
    assert (found[1:] < 0.999).all()


def half(size: int = 16) -> torch.Tensor:
    """A mask of the left half."""
    mask = torch.zeros(1, 1, size, size)
    mask[..., : size // 2] = 1
    return mask


def test_a_region_is_measured_alone():
    a, mask = images(2), half()
    b = torch.where(mask == 1, a + 0.2, a)
    assert metrics.mse(a * 0.5, b * 0.5, 1 - mask).tolist() == [0, 0]
    grey = torch.zeros(1, 3, 16, 16)
    changed = torch.where(mask == 1, grey + 0.2, grey)
    assert metrics.psnr(grey, changed, mask).item() == pytest.approx(20)
    assert metrics.psnr(grey, changed, 1 - mask).item() == math.inf
    assert metrics.ssim(grey, changed, mask).item() < metrics.ssim(grey, changed).item()


def test_a_mask_of_everything_changes_nothing_and_an_empty_one_is_undefined():
    a, b = images(2), images(2, seed=1)
    for measure in (metrics.mse, metrics.psnr, metrics.ssim):
        torch.testing.assert_close(measure(a, b, torch.ones(1, 1, 16, 16)), measure(a, b))
        assert measure(a, b, torch.zeros(1, 1, 16, 16)).isnan().all()


def test_the_two_regions_make_up_the_whole():
    a, b, mask = images(2), images(2, seed=1), half()
    mask[..., 8:12, :] = 1
    share = mask.mean()
    parts = share * metrics.mse(a, b, mask) + (1 - share) * metrics.mse(a, b, 1 - mask)
    torch.testing.assert_close(parts, metrics.mse(a, b))


def test_the_background_is_taken_over_the_frame_as_in_pie_bench():
    a, b, mask = images(2), images(2, seed=1), half()
    unit_a, unit_b = (a + 1) / 2 * (1 - mask), (b + 1) / 2 * (1 - mask)
    torch.testing.assert_close(
        metrics.background_mse(a, b, mask), (unit_a - unit_b).square().mean(dim=(1, 2, 3))
    )
    torch.testing.assert_close(metrics.background_mse(a, b, mask), metrics.mse(a, b, 1 - mask) / 2)
    torch.testing.assert_close(
        metrics.background_psnr(a, b, mask), metrics.psnr(unit_a * 2 - 1, unit_b * 2 - 1)
    )
    torch.testing.assert_close(
        metrics.background_ssim(a, b, mask), metrics.ssim(unit_a * 2 - 1, unit_b * 2 - 1)
    )
    inside = torch.where(mask == 1, images(2, seed=2), a)
    assert metrics.background_psnr(a, inside, mask).tolist() == [math.inf] * 2


def test_a_mask_that_covers_everything_has_no_background():
    a, full = images(2), torch.cat([torch.ones(1, 1, 16, 16), half()])
    for measure in (metrics.background_mse, metrics.background_psnr, metrics.background_ssim):
        assert measure(a, images(2, seed=1), full).isnan().tolist() == [True, False]


@pytest.mark.parametrize("mask", [torch.ones(1, 1, 8, 8), torch.ones(16, 16), torch.ones(3, 1, 16, 16)])
def test_a_mask_of_another_picture_is_refused(mask):
    with pytest.raises(ValueError, match="mask"):
        metrics.mse(images(2), images(2), mask)


def test_every_pixel_measure_falls_with_noise():
    a, grain = images(1, 32), images(1, 32, seed=1)
    mask = half(32)
    for measure in (metrics.psnr, metrics.ssim):
        found = [measure(a, a + s * grain, mask).item() for s in (0.05, 0.2, 0.8)]
        assert found[0] > found[1] > found[2]


def test_the_edited_region_is_scored_alone(tiny):
    clip, mask = tiny.clip, half(32)
    a = images(2, clip.size)
    other = torch.where(mask == 1, a, images(2, clip.size, seed=1))
    scores = [metrics.clip_score_edited(clip, one, "red hat", mask) for one in (a, other)]
    torch.testing.assert_close(scores[0], scores[1])
    black = torch.where(mask == 1, a, torch.tensor(-1.0))
    torch.testing.assert_close(scores[0], metrics.clip_score(clip, black, "red hat"))


def test_clip_direction_is_the_cosine_of_the_two_changes(tiny):
    clip = tiny.clip
    a, b = images(3, clip.size), images(3, clip.size, seed=1)
    seen = clip.image_features(b) - clip.image_features(a)
    said = clip.text_features(["a red hat"]) - clip.text_features(["blue glasses"])
    expected = torch.nn.functional.cosine_similarity(seen, said)
    found = metrics.clip_direction(clip, a, b, "blue glasses", "a red hat")
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    back = metrics.clip_direction(clip, b, a, "blue glasses", "a red hat")
    torch.testing.assert_close(back, -found)
    assert metrics.clip_direction(clip, a, a, "blue glasses", "a red hat").tolist() == [0, 0, 0]
    assert metrics.clip_direction(clip, a, b, "a red hat", "a red hat").tolist() == [0, 0, 0]


def test_the_exemplar_is_compared_with_the_box_of_the_mask(tiny):
    clip, exemplar = tiny.clip, images(1, 20, seed=3)
    image, mask = images(2, 64), torch.zeros(2, 1, 64, 64)
    mask[0, :, 10:30, 40:60] = 1
    mask[1, :, 5:25, 8:28] = 1
    image[0, :, 10:30, 40:60] = exemplar[0]
    found = metrics.exemplar_score(clip, image, exemplar, mask)
    assert found[0].item() == pytest.approx(100, abs=1e-3) and found[1].item() < 99.9
    with pytest.raises(ValueError, match="mask is empty"):
        metrics.exemplar_score(clip, image, exemplar, torch.zeros(1, 1, 64, 64))


def test_embeddings_are_the_features_with_their_length(tiny):
    a = images(2, 50)
    raw = metrics.clip_embeddings(tiny.clip, a)
    unit = torch.nn.functional.normalize(raw, dim=-1)
    torch.testing.assert_close(unit, tiny.clip.image_features(a).detach())
    wide = torch.cat([a, a.flip(3)], dim=3)
    squashed = metrics.clip_embeddings(tiny.clip, wide, squash=True)
    assert (squashed - metrics.clip_embeddings(tiny.clip, wide)).abs().max() > 1e-3


def test_identity_is_the_cosine_of_what_any_embedder_sees():
    class Mean:
        def embed(self, image):
            return image.mean(dim=(2, 3))

    a = images(3)
    assert metrics.identity(Mean(), a, a).tolist() == pytest.approx([1, 1, 1])
    assert metrics.identity(Mean(), a, -a).tolist() == pytest.approx([-1, -1, -1])


def test_structure_is_kept_by_itself_alone_and_lost_with_noise(tiny):
    clip = tiny.clip
    a, grain = images(1, clip.size), images(1, clip.size, seed=1)
    found = [metrics.structure_distance(clip, a, a + s * grain).item() for s in (0, 0.1, 0.5, 2)]
    assert found[0] == pytest.approx(0, abs=1e-8)
    assert found[0] < found[1] < found[2] < found[3]
    patches = clip.model.vision_model(pixel_values=clip.pixels(a)).last_hidden_state[0, 1:]
    others = clip.model.vision_model(pixel_values=clip.pixels(grain)).last_hidden_state[0, 1:]
    cosine = torch.nn.functional.cosine_similarity
    by_hand = [
        (cosine(p, q, dim=0) - cosine(r, s, dim=0)) ** 2
        for p, r in zip(patches, others, strict=True)
        for q, s in zip(patches, others, strict=True)
    ]
    expected = torch.stack(by_hand).mean().item()
    assert metrics.structure_distance(clip, a, grain).item() == pytest.approx(expected, rel=1e-4)
