"""CLIP's preprocessing and features against transformers' own processor and model."""

import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from textedit_core.models.clip import token_count, tokenize

try:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
except ImportError:  # transformers 5.0, whose CLIPImageProcessor is the one of PIL
    from transformers import CLIPImageProcessor as CLIPImageProcessorPil


def grainy(height: int, width: int) -> torch.Tensor:
    """A picture (1,3,H,W) in 8 bit steps, with grain that a resizer without antialiasing would alias."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    channels = torch.stack([torch.sin(x) * torch.cos(y), torch.cos(x + y), torch.sin(x * y / 3)])
    grain = torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    return ((channels + grain + 1) * 127.5).round().clamp(0, 255)[None] / 127.5 - 1


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (50, 90), (90, 41), (20, 24)])
def test_features_are_those_of_the_published_preprocessing(tiny, height, width):
    clip, image = tiny.clip, grainy(height, width)
    array = ((image[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": clip.size}, crop_size={"height": clip.size, "width": clip.size}
    )
    pixels = torch.from_numpy(np.stack(processor(Image.fromarray(array))["pixel_values"]))
    pooled = clip.model.vision_model(pixel_values=pixels).pooler_output
    expected = torch.nn.functional.normalize(clip.model.visual_projection(pooled), dim=-1)
    assert (clip.image_features(image) * expected).sum().item() > 0.999


def test_features_are_unit_vectors_and_tell_inputs_apart(tiny):
    image = torch.cat([grainy(32, 32), -grainy(32, 32)])
    for features in (tiny.clip.image_features(image), tiny.clip.text_features(["a red hat", "sad man"])):
        torch.testing.assert_close(features.norm(dim=-1), torch.ones(2))
        assert (features[0] @ features[1]).item() < 0.999


def test_the_gradient_reaches_the_image(tiny):
    image = grainy(48, 48).requires_grad_()
    tiny.clip.image_features(image)[0, 0].backward()
    assert image.grad.abs().sum() > 0


def test_padding_does_not_change_a_text(tiny):
    tokens = tiny.clip.tokenizer("a red hat", return_tensors="pt").input_ids
    pooled = tiny.clip.model.text_model(input_ids=tokens).pooler_output
    expected = torch.nn.functional.normalize(tiny.clip.model.text_projection(pooled), dim=-1)
    torch.testing.assert_close(tiny.clip.text_features(["a red hat"]), expected, rtol=1e-4, atol=1e-5)


def test_texts_that_are_counted_meanwhile_change_no_padding(tiny):
    """Two visitors at once: the prompt of one is checked while that of the other is encoded."""
    tokenizer, ended = tiny.clip.tokenizer, threading.Event()

    def count():
        while not ended.is_set():
            token_count(tokenizer, "a man in a red hat")

    counting = threading.Thread(target=count)
    counting.start()
    try:
        shapes = {tuple(tokenize(tokenizer, ["a man", ""]).shape) for _ in range(300)}
    finally:
        ended.set()
        counting.join()
    assert shapes == {(2, tokenizer.model_max_length)}


def test_tokens_are_padded_as_the_tokenizer_itself_does(tiny):
    texts = ["a man in a red hat", "", "zebra, man"]
    own = tiny.clip.tokenizer(texts, padding="max_length", return_tensors="pt").input_ids
    assert torch.equal(tokenize(tiny.clip.tokenizer, texts), own) and own.dtype == torch.int64


def test_tokens_are_padded_never_cut_and_counted_without_noise(tiny):
    tokenizer = tiny.clip.tokenizer
    assert tokenize(tokenizer, ["red", "a red hat"]).shape == (2, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert token_count(tokenizer, "hat " * 40) == 40
    assert token_count(tokenizer, "") == 0
    with pytest.raises(ValueError, match="40 tokens and this model reads at most 30"):
        tiny.clip.text_features(["hat " * 40])
