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
