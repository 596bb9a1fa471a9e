"""StyleGAN2's synthesis as its paper defines it, from a state dict, row by row and slow."""

import torch
import torch.nn.functional as F


def conv_of_the_definition(state, name, x, w, demodulate=True):
    """The modulated convolution as in the paper: weights of their own for every row, in one grouped conv."""
    weight = state[f"{name}.conv.weight"]
    (_, n_out, n_in, side, _), rows = weight.shape, len(x)
    affine = state[f"{name}.conv.modulation.weight"] / weight.new_tensor(w.shape[1]).sqrt()
    s = w @ affine.T + state[f"{name}.conv.modulation.bias"]
    weight = weight / weight.new_tensor(n_in * side**2).sqrt() * s[:, None, :, None, None]
    if demodulate:
        weight = weight * (weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    grouped = x.reshape(1, rows * n_in, *x.shape[2:])
    if f"{name}.conv.blur.kernel" not in state:
        out = F.conv2d(grouped, weight.flatten(0, 1), padding=side // 2, groups=rows)
        return out.view(rows, n_out, *out.shape[2:])
    out = F.conv_transpose2d(grouped, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=rows)
    return fir(out.view(rows, n_out, *out.shape[2:]), state[f"{name}.conv.blur.kernel"], (1, 1))


def fir(x, kernel, pad):
    """A true convolution of every channel with the kernel."""
    flat = F.pad(x.flatten(0, 1)[:, None], (*pad, *pad))
    out = F.conv2d(flat, kernel.flip(0, 1)[None, None])
    return out.view(*x.shape[:2], *out.shape[2:])


def image_of_the_definition(state, w_plus, blocks):
    def styled(name, x, row, noise):
        x = conv_of_the_definition(state, name, x, w_plus[:, row])
        x = x + state[f"{name}.noise.weight"] * state[f"noises.noise_{noise}"]
        return F.leaky_relu(x + state[f"{name}.activate.bias"].view(1, -1, 1, 1), 0.2) * 2**0.5

    def to_rgb(name, x, row):
        rgb = conv_of_the_definition(state, name, x, w_plus[:, row], demodulate=False)
        return rgb + state[f"{name}.bias"]

    x = styled("conv1", state["input.input"].repeat(len(w_plus), 1, 1, 1), 0, 0)
    image = to_rgb("to_rgb1", x, 1)
    for block in range(1, blocks + 1):
        i = 2 * block - 1
        x = styled(f"convs.{i - 1}", x, i, i)
        x = styled(f"convs.{i}", x, i + 1, i + 1)
        sparse = torch.zeros(*image.shape[:2], *(2 * side for side in image.shape[2:]), dtype=image.dtype)
        sparse[..., ::2, ::2] = image
        kernel = state[f"to_rgbs.{block - 1}.upsample.kernel"]
        image = to_rgb(f"to_rgbs.{block - 1}", x, i + 2) + fir(sparse, kernel, (2, 1))
    return image
