"""The linear support vector machine of InterFaceGAN: its optimum, what it separates, units."""

import pytest
import torch

from textedit_core.models.style import interfacegan


def blobs(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """400 codes (400,5) in two clouds `distance` apart, and their labels."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.where(torch.rand(400, generator=draw, dtype=torch.float64) < 0.5, -1.0, 1.0).double()
    x = torch.randn(400, 5, generator=draw, dtype=torch.float64)
    x[:, 0] += labels * distance / 2
    return x + 7, labels


@pytest.mark.parametrize("distance", [0.5, 2.0, 12.0])
def test_the_optimum_of_the_machine_has_no_gradient(distance):
    x, labels = blobs(distance)
    x = interfacegan.with_bias(x - x.mean(dim=0))
    z = interfacegan.minimise(x, labels).requires_grad_()
    value = interfacegan.objective(x, labels, z)
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient.abs().max() < 1e-8 * len(x)
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        aside = z.detach() + 0.01 * torch.randn(6, generator=draw, dtype=torch.float64)
        assert interfacegan.objective(x, labels, aside) > value


def test_the_machine_separates_what_can_be_separated():
    x, labels = blobs(12.0)
    z = interfacegan.fit_svm(x, labels)
    assert ((interfacegan.with_bias(x) @ z) * labels > 0).all()
    assert z[0] / z[:-1].norm() > 0.95, "the clouds lie apart in the first dimension"


def test_the_boundary_does_not_depend_on_the_unit_or_the_origin_of_the_codes():
    x, labels = blobs(2.0)
    plain, other = interfacegan.fit_svm(x, labels), interfacegan.fit_svm(100 * x - 3, labels)
    torch.testing.assert_close(other[:-1] * 100, plain[:-1])
    torch.testing.assert_close(interfacegan.with_bias(100 * x - 3) @ other, interfacegan.with_bias(x) @ plain)
