"""Exercise: write the function that makes a network learn. Check it with: gpujob run test_step.py."""

import torch
from torch.nn.functional import cross_entropy


def take_step(network, images, labels, rate):
    """Make the network less wrong about these images; return the loss from before.

    Use no optimizer of torch; it takes a few lines:

    1. Predict: what does the network say about the images?
    2. Compare: cross_entropy measures how wrong that is. This is the loss.
    3. Ask each weight how it contributed: backward() stores the answer in its .grad.
    4. Move each of network.parameters() a little against its gradient: by `rate` times as much.

    torch adds each new gradient to the one before, and records all that is done with a weight, unless you say otherwise.
    """
    raise NotImplementedError
