"""The recipe of Paint by Example: boxes, outlines, exemplars, how it begins, what is trained, answers."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.scenes import values_of_scenes
from textedit_core.models import zoo
from textedit_core.models.towers import layers
from textedit_core.toon import exemplar_data
from textedit_core.toon.classifier import AttributeClassifier
from textedit_core.toon.exemplar_data import Boxed, Folder, draw
from textedit_core.toon.parts import SHOWS, held_out_part_edits, part_boxes
from textedit_core.toon.portraits import Portraits
from textedit_core.toon.world import Scene
from textedit_core.training import exemplar_scores, paint_by_example
from textedit_core.training.example_parts import ExampleParts
from textedit_core.training.loop import Budget, trained

BOX, WIDTH, HEIGHT = (60, 40, 160, 120), 300, 200


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def source():
    """Six pictures of noise, each with one box."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return Boxed(images, np.arange(6), np.array([[4, 6, 20, 18]] * 6, dtype=np.int16))


def test_an_extended_box_grows_by_up_to_two_fifths_of_the_free_space(rng):
    boxes = np.array([exemplar_data.extended(BOX, WIDTH, HEIGHT, rng) for _ in range(2000)])
    assert boxes.min(axis=0).tolist() == [36, 24, 160, 120]
    assert boxes.max(axis=0).tolist() == [60, 40, 216, 152]


def test_a_box_as_a_mask_has_its_area():
    mask = exemplar_data.filled(BOX, WIDTH, HEIGHT)
    assert mask.sum() == 100 * 80 and mask[..., 40:120, 60:160].min() == 1


def test_an_outline_holds_the_box_and_stays_in_the_extended_one(rng):
    """Each curve leaves the box by at most half of what its side was extended, and its points shake."""
    wide = (20, 20, 240, 180)
    shake = 5 * WIDTH / 512 + 2
    areas = []
    for _ in range(50):
        mask = exemplar_data.outline(BOX, wide, WIDTH, HEIGHT, rng)[0, 0]
        rows, columns = mask.nonzero(as_tuple=True)
        assert rows.min() >= 30 - shake and rows.max() <= 150 + shake
        assert columns.min() >= 40 - shake and columns.max() <= 200 + shake
        inner = int(shake) + 1
        assert mask[40 + inner : 120 - inner, 60 + inner : 160 - inner].min() == 1
        areas.append(mask.sum().item())
    # Two thirds of a parabola's box beyond every side: 100 (10 + 30) 2/3 + 80 (20 + 40) 2/3 over the box.
    assert np.mean(areas) == pytest.approx(100 * 80 + 2 / 3 * (100 * 40 + 80 * 60), rel=0.03)
    assert len(set(areas)) > 40


def test_the_rim_of_an_exemplar_is_ten_pixels_of_512():
    assert exemplar_data.padded((100, 100, 200, 200), 512, 512) == (90, 90, 210, 210)
    assert exemplar_data.padded((4, 0, 64, 60), 64, 64) == (3, 0, 64, 61)


def test_a_crop_is_a_square_that_holds_the_box(rng):
    for width, height in ((300, 200), (200, 300)):
        sides = set()
        for _ in range(300):
            left, top, right, bottom = exemplar_data.square_around((60, 40, 160, 120), width, height, rng)
            assert right - left == bottom - top <= 200
            assert 0 <= left <= 60 and 0 <= top <= 40 and 160 <= right <= width and 120 <= bottom <= height
            sides.add(right - left)
        assert min(sides) == 140 and max(sides) == 200
    assert exemplar_data.square_around((9, 9, 20, 20), 64, 64, rng) == (0, 0, 64, 64)
    assert exemplar_data.square_around((9, 9, 250, 20), 300, 200, rng) == (0, 0, 300, 200)


def test_a_batch_has_its_shapes_and_follows_its_seed(source):
    first, again = (draw(source, 8, 32, 24, np.random.default_rng(3)) for _ in range(2))
    assert first.images.shape == (8, 3, 32, 32)
    assert first.masks.shape == (8, 1, 32, 32) and first.exemplars.shape == (8, 3, 24, 24)
    assert set(first.masks.unique().tolist()) == {0.0, 1.0}
    assert first.images.abs().max() <= 1 and first.exemplars.abs().max() <= 1.01
    for name in ("images", "masks", "exemplars"):
        assert torch.equal(getattr(first, name), getattr(again, name))


def test_without_augmentation_the_exemplar_is_the_padded_box_and_the_mask_the_box(source):
    found = draw(source, 4, 32, 18, np.random.default_rng(0), augmented=False)
    assert torch.equal(found.masks, exemplar_data.filled((4, 6, 20, 18), 32, 32).repeat(4, 1, 1, 1))
    cut = found.images[..., 5:19, 3:21]
    wanted = torch.nn.functional.interpolate(cut, (18, 18), mode="bilinear", antialias=True)
    torch.testing.assert_close(found.exemplars, wanted)


def test_distortions_happen_as_often_as_said_and_can_be_none(monkeypatch, rng):
    matrices = np.stack([exemplar_data._affine(rng) for _ in range(2000)])
    turned = np.linalg.det(matrices[..., :2])
    assert np.mean(turned < 0) == pytest.approx(0.5, abs=0.04)
    plain = np.isclose(np.abs(matrices[:, 0, 0]), 1) & np.isclose(matrices[:, 0, 1], 0)
    assert plain.mean() == pytest.approx(0.5 * 0.7, abs=0.04)
    pictures = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(exemplar_data.distorted(pictures, rng), pictures)
    for chance in ("FLIP", "ROTATE", "BLUR", "BEND"):
        monkeypatch.setattr(exemplar_data, chance, 0)
    torch.testing.assert_close(exemplar_data.distorted(pictures, rng), pictures, rtol=0, atol=1e-5)
    monkeypatch.setattr(exemplar_data, "FLIP", 1)
    torch.testing.assert_close(exemplar_data.distorted(pictures, rng), pictures.flip(3), rtol=0, atol=1e-5)


def test_blur_is_a_mean_over_its_reach():
    dot = torch.zeros(1, 1, 9, 9)
    dot[..., 4, 4] = 1
    whole, part = (exemplar_data._box_blur(dot, reach)[0, 0, 4] for reach in (1, 1.5))
    assert whole.tolist() == pytest.approx([0, 0, 0, 1 / 9, 1 / 9, 1 / 9, 0, 0, 0])
    assert part.tolist() == pytest.approx([0, 0, 1 / 32, 1 / 16, 1 / 16, 1 / 16, 1 / 32, 0, 0])


def test_a_folder_with_boxes_is_a_source(tmp_path, rng):
    Image.effect_noise((60, 40), 50).save(tmp_path / "a.png")
    lines = [{"image": "a.png", "boxes": [[5, 5, 25, 25], [0, 0, 60, 40], [1, 1, 3, 3]]}]
    (tmp_path / "boxes.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    folder = Folder(tmp_path, tmp_path / "boxes.jsonl")
    assert len(folder) == 1  # the others are too large and too small
    assert folder.example(0)[1] == (5, 5, 25, 25)
    assert draw(folder, 3, 32, 24, rng).images.shape == (3, 3, 32, 32)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nonsense", "line 1 of"),
        ('{"image": "a.png"}', "line 1 of"),
        ('{"image": "a.png", "boxes": [[1, 2, 3]]}', "a box has four numbers"),
        ('{"image": "lost.png", "boxes": [[0, 0, 30, 30]]}', "line 1 of.*lost.png"),
        ('{"image": "a.png", "boxes": [[0, 0, 1, 1]]}', "no box of 2 to 80 %"),
    ],
)
def test_a_broken_list_of_boxes_is_a_sentence(tmp_path, text, says):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (tmp_path / "boxes.jsonl").write_text(text)
    with pytest.raises(ValueError, match=says):
        len(Folder(tmp_path, tmp_path / "boxes.jsonl"))


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_it_begins_as_the_text_to_image_model(tiny):
    """Zero weights for the new channels: the hole does not matter yet, and the noise is the old model's."""
    unet = tiny.diffusion.unet
    wide = paint_by_example.widened(unet).eval()
    z, around, token = noise(1, 4, 8, 8), noise(1, 5, 8, 8), noise(1, 1, 32)
    found = wide(torch.cat([z, around], dim=1), 300, encoder_hidden_states=token).sample
    assert torch.equal(found, unet(z, 300, encoder_hidden_states=token).sample)
    assert wide.config.in_channels == 9 and wide.conv_in.weight[:, 4:].abs().max() == 0


def test_the_tower_is_clips_and_frozen(tiny):
    painter = paint_by_example.build(tiny.diffusion.unet, tiny.clip.model)
    tower = layers(tiny.clip.model.vision_model).state_dict()
    assert all(
        torch.equal(value, tower[name]) for name, value in layers(painter.encoder.model).state_dict().items()
    )
    assert not any(p.requires_grad for p in painter.encoder.model.parameters())
    assert painter.encoder.config.projection_dim == tiny.diffusion.unet.config.cross_attention_dim


def test_dropped_rows_see_the_learned_vector_alone(tiny):
    painter = paint_by_example.build(tiny.diffusion.unet, tiny.clip.model).eval()
    rows, exemplars = noise(2, 9, 8, 8), noise(2, 3, 32, 32)
    dropped = torch.tensor([True, False])
    found = painter(rows, torch.tensor([5, 5]), exemplars, dropped)
    other = painter(rows, torch.tensor([5, 5]), -exemplars, dropped)
    assert torch.equal(found[0], other[0]) and not torch.equal(found[1], other[1])


def test_training_changes_the_unet_and_leaves_the_tower(tiny, source, tmp_path, monkeypatch):
    monkeypatch.setattr(paint_by_example, "BATCH", 4)
    models = tiny.diffusion.vae, tiny.clip.model, tiny.diffusion.unet
    begun = paint_by_example.build(tiny.diffusion.unet, tiny.clip.model)
    painter = paint_by_example.fit(source, *models, tmp_path / "p", Budget(2), seed=0, device="cpu")
    assert trained(tmp_path / "p")["steps"] == 2
    before, after = begun.state_dict(), painter.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert "unet.conv_in.weight" in changed and "encoder.proj_out.weight" in changed
    assert "encoder.uncond_vector" in changed
    idle = [name for name in changed if ".attn2.to_q" in name or ".attn2.to_k" in name or ".model." in name]
    assert idle == []  # a single key has no use for queries and keys, and CLIP is frozen


class TinyStudio(ExampleParts):
    """What a Studio has, of the tiny models."""

    portraits = tokenizer = _frozen_vae = _load = None  # training and writing a model do without

    def __init__(self, tiny, out, source):
        self.tiny, self.out, self.source, self.size, self.device = tiny, out, source, 32, "cpu"

    def vae(self):
        return self.tiny.diffusion.vae

    def clip(self):
        return self.tiny.clip.model

    def text_to_latent(self):
        return self.tiny.diffusion

    def examples(self):
        return self.source

    def _preview_example(self, painter, step):
        self.previewed = step


@pytest.mark.parametrize(
    ("ablate", "tokens"), [("bottleneck", 17), ("guidance", 1), ("augmentation", 1), ("nothing", 1)]
)
def test_an_ablation_is_a_folder_that_loads(tiny, source, tmp_path, monkeypatch, ablate, tokens):
    monkeypatch.setattr(paint_by_example, "BATCH", 2)
    studio = TinyStudio(tiny, tmp_path, source)
    studio.ablate = ablate
    studio.train_example(tmp_path / "paint_by_example", budget=Budget(1), seed=0, device="cpu")
    assert studio.previewed == 1
    assert not (tmp_path / "paint_by_example").exists()
    model = zoo.load(tmp_path / "ablations" / ablate).paint_by_example
    condition = model.encode_exemplar(noise(1, 3, 32, 32))
    assert condition.tokens.shape == (1, tokens, 32)
    around = model.surroundings(torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32))
    assert model.guided_eps(noise(1, 4, 8, 8), 5, around, condition, 3.0).shape == (1, 4, 8, 8)


def test_parts_are_found_once_and_kept(tmp_path):
    scenes = [Scene(glasses="sunglasses", top=top) for top in ("long", "beanie")]
    values = values_of_scenes(scenes).numpy()
    two = Portraits(np.zeros((2, 64, 64, 3), dtype=np.uint8), values, values)
    found = part_boxes(two, 2, 64, tmp_path, workers=1)
    assert set(found.rows.tolist()) == {0, 1} and len(found) >= 6
    assert all(exemplar_data.fits(tuple(box), 64, 64) for box in found.boxes.tolist())
    again = part_boxes(two, 2, 64, tmp_path, workers=1)
    assert np.array_equal(again.boxes, found.boxes)


@pytest.fixture(scope="module")
def edits():
    return held_out_part_edits(5, 64)


def test_edits_with_a_known_answer(edits):
    assert [edit.part for edit in edits] == list(SHOWS)
    for edit in edits:
        shown = SHOWS[edit.part]
        assert (
            getattr(edit.answer, edit.asked)
            == getattr(edit.other, edit.asked)
            != getattr(edit.scene, edit.asked)
        )
        kept = set(vars(edit.scene)) - set(shown)
        assert all(getattr(edit.answer, name) == getattr(edit.scene, name) for name in kept)
        assert exemplar_data.fits(edit.box, 64, 64)
        assert edit.exemplar(64, 24).shape == (1, 3, 24, 24)


def test_the_true_answer_differs_inside_of_the_mask_alone(edits):
    """But for a hat's colour at the rim, which drawing blends into its neighbours."""
    for edit in edits[1:]:
        change = (edit.source(64) - edit.wanted(64)).abs()
        assert (change * edit.mask(64)).max() > 0.2
        assert (change * (1 - edit.mask(64))).max() < 0.2, edit.part


def test_scores_of_the_answer_the_source_and_pasting(edits):
    reader = AttributeClassifier().eval()
    edit = edits[1]
    answer = exemplar_scores.score(edit, edit.wanted(64), reader)
    assert answer["answer"] == float("inf")
    source = exemplar_scores.score(edit, edit.source(64), reader)
    assert source["outside"] == float("inf") and source["answer"] < 40
    pasted = exemplar_scores.pasted(edit, edit.source(64), edit.exemplar(64, 24))
    assert exemplar_scores.score(edit, pasted, reader)["outside"] == float("inf")


def test_the_quick_loop_of_the_scores_is_the_method(tiny):
    from textedit_core.methods.paint_by_example import edit
    from textedit_core.steps import last

    image, mask, exemplar = noise(1, 3, 32, 32).tanh(), torch.zeros(1, 1, 32, 32), noise(1, 3, 32, 32).tanh()
    mask[..., 8:20, 8:20] = 1
    model = tiny.paint_by_example
    found = exemplar_scores.paint(model, image, mask, exemplar, 3.0, seed=5, steps=3)
    wanted = last(edit(model, image, mask, exemplar, guidance_scale=3.0, seed=5, steps=3, feather=0))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
