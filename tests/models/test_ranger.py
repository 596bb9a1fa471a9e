"""Ranger against published numbers, torch's rectified Adam, and the definitions of its other two parts."""

import pytest
import torch

from textedit_core.models.style.ranger import Ranger


def run(optimizer, p, gradients):
    """The weights after every step."""
    path = []
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
        path.append(p.detach().clone())
    return path


def gradients(count, shape):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw, dtype=torch.float64) for _ in range(count)]


def test_the_numbers_of_the_reference_implementation():
    p = torch.tensor([[1.0, 2], [3, 4]], requires_grad=True)
    path = run(Ranger([p], lr=0.5), p, [i * torch.tensor([[0.1, -0.2], [0.3, 0.4]]) for i in range(1, 6)])
    expected = torch.tensor([[0.2339845, 2.7660155], [3.2553387, 3.7446616]])
    torch.testing.assert_close(path[-1], expected, rtol=0, atol=2e-7)


def test_a_vector_without_lookahead_moves_as_under_rectified_adam():
    start = torch.linspace(-1, 1, 5, dtype=torch.float64)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    settings = {"lr": 0.05, "betas": (0.95, 0.999), "eps": 1e-5}
    steps = gradients(40, 5)
    expected = run(torch.optim.RAdam([theirs], **settings), theirs, steps)
    torch.testing.assert_close(run(Ranger([ours], k=1000, **settings), ours, steps), expected)


def test_every_kth_step_goes_back_to_between_the_slow_weights_and_the_fast():
    start = torch.linspace(-1, 1, 5, dtype=torch.float64)
    steps = gradients(3, 5)
    slow, fast = start.clone().requires_grad_(), start.clone().requires_grad_()
    looked = run(Ranger([slow], lr=0.05, k=3, alpha=0.25), slow, steps)
    straight = run(Ranger([fast], lr=0.05, k=1000), fast, steps)
    torch.testing.assert_close(looked[:2], straight[:2])
    torch.testing.assert_close(looked[2], start + 0.25 * (straight[2] - start))


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
def test_gradients_of_matrices_are_centred_per_output(shape):
    offset = torch.arange(1.0, 5, dtype=torch.float64).view(-1, *[1] * (len(shape) - 1))
    plain, shifted = (torch.zeros(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    steps = gradients(8, shape)
    expected = run(Ranger([plain], lr=0.05), plain, steps)
    torch.testing.assert_close(
        run(Ranger([shifted], lr=0.05), shifted, [g + offset for g in steps]), expected
    )
    dims = tuple(range(1, len(shape)))
    assert expected[0].mean(dim=dims).abs().max() < 1e-12 < expected[0].abs().max()


def test_a_saved_state_goes_on_as_if_nothing_had_happened():
    steps = gradients(12, (3, 2))
    whole = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    expected = run(Ranger([whole], lr=0.05), whole, steps)
    first = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    optimizer = Ranger([first], lr=0.05)
    run(optimizer, first, steps[:7])
    second = first.detach().clone().requires_grad_()
    resumed = Ranger([second], lr=1.0)
    resumed.load_state_dict(optimizer.state_dict())
    torch.testing.assert_close(run(resumed, second, steps[7:])[-1], expected[-1])


def test_weights_without_a_gradient_stay_and_a_closure_gives_the_loss():
    used, unused = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = Ranger([used, unused], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss

    assert [optimizer.step(closure).item() for _ in range(50)][-1] < 0.5
    assert torch.equal(unused, torch.ones(2))
