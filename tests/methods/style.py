"""What StyleCLIP's tests share: nothing of the models may be different after a method has run."""

from contextlib import contextmanager

from textedit_core.models.style.models import digest


def state(models):
    """All tensors of the models and whether they want gradients, and in which mode they are."""
    networks = [models.generator.network, models.encoder.network, models.identity.network, models.clip.model]
    return [
        (digest(network), network.training, [(p.requires_grad, p.grad) for p in network.parameters()])
        for network in networks
    ]


@contextmanager
def untouched(models):
    before = state(models)
    yield
    assert state(models) == before
