"""An edit at Stable Diffusion's 64 x 64 latents needs a fraction of the memory that attention maps take."""

from studies.attention_memory import compare


def test_the_peak_is_at_most_a_quarter_of_a_version_that_makes_every_map(model):
    here, there, apart = compare(model, 64)
    assert there > 2 * 3 * 2 * 4 * (64 * 64) ** 2 * 0.95, "two maps of three rows and two heads, in bytes"
    assert here <= there / 4
    assert apart < 1e-4
