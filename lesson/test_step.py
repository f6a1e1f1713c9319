"""Say whether your take_step is right, and if it is not, what to look at: gpujob run test_step.py."""

import sys
from copy import deepcopy

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

RATE = 0.1
ENOUGH = 0.8
"""Of the digits that the network was not trained on; guessing gets 0.1 right."""

HINTS = {
    "leaf Variable": "torch records all that is done with a weight, so it does not let you change one in place. Change the "
    "weights inside `with torch.no_grad():`.",
    "does not require grad": "There is nothing to go backward through: only the update belongs inside `torch.no_grad()`, the "
    "prediction and the loss do not.",
}
"""What to do about errors of torch, by words in them."""


class NotYetError(Exception):
    """What is not right yet, in words that help."""


def load():
    """Return 1,797 handwritten digits of 8 x 8 pixels, and which digits they are."""
    digits = load_digits()
    return torch.tensor(digits.images / 16, dtype=torch.float32), torch.tensor(digits.target)


def make_network():
    """Return a network with one hidden layer, the same each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def find_gradients(network, images, labels):
    """Return the gradient of each weight, without storing it in the network."""
    return torch.autograd.grad(cross_entropy(network(images), labels), list(network.parameters()))


def call(take_step, network, images, labels):
    """Return what take_step returns; explain the errors that most people meet."""
    try:
        return take_step(network, images, labels, RATE)
    except NotImplementedError:
        raise NotYetError("It is still empty. Open take_step.py, and replace `raise NotImplementedError`.") from None
    except RuntimeError as error:
        if hint := next((text for said, text in HINTS.items() if said in str(error)), ""):
            raise NotYetError(hint) from error
        raise
    except TypeError as error:
        if "NoneType" not in str(error):
            raise
        raise NotYetError("A weight has no gradient (.grad is None): call backward() on the loss first.") from error


def returns_the_loss(take_step):
    """It returns the loss from before the step."""
    network, (images, labels) = make_network(), load()
    expected = cross_entropy(network(images[:64]), labels[:64]).item()
    loss = call(take_step, network, images[:64], labels[:64])
    if loss is None:
        raise NotYetError("It returns nothing: end with `return loss`.")
    loss = float(torch.as_tensor(loss).detach())
    if abs(loss - expected) > 1e-4:
        raise NotYetError(f"It returned {loss:.3f}, but the loss of these images before the step is {expected:.3f}.")


def goes_downhill(take_step):
    """Each weight moves against its gradient, by rate times as much."""
    network, (images, labels) = make_network(), load()
    weights = list(network.parameters())
    before = deepcopy(weights)
    gradients = find_gradients(network, images[:64], labels[:64])
    call(take_step, network, images[:64], labels[:64])
    if any(one is not other for one, other in zip(weights, network.parameters(), strict=True)):
        raise NotYetError("The network has other weights now. Change the ones that it has: `weight -= ...`.")
    if moved_by(weights, before, gradients, -RATE):
        return
    changed = [not torch.equal(one, other) for one, other in zip(weights, before, strict=True)]
    if not any(changed):
        raise NotYetError(
            "No weight has changed. `weight = weight - ...` makes a new tensor; `weight -= ...` changes the weight. "
            "And a gradient that is set to zero before the update moves nothing."
        )
    if not all(changed):
        raise NotYetError("Some weights have not changed. Loop over all of network.parameters().")
    if moved_by(weights, before, gradients, RATE):
        raise NotYetError("Wrong direction: the gradient points uphill, and you want less loss. Subtract it.")
    if moved_by(weights, before, gradients, -1):
        raise NotYetError("The step is too large: multiply each gradient by rate.")
    raise NotYetError("The weights have changed, but not by rate times their gradients.")


def moved_by(weights, before, gradients, factor):
    """Return whether each weight has changed by its gradient times this factor."""
    return all(
        torch.allclose(weight, old + factor * gradient, atol=1e-6)
        for weight, old, gradient in zip(weights, before, gradients, strict=True)
    )


def forgets_old_gradients(take_step):
    """The second step uses only its own gradients."""
    network, (images, labels) = make_network(), load()
    weights = list(network.parameters())
    first = find_gradients(network, images[:64], labels[:64])
    call(take_step, network, images[:64], labels[:64])
    before = deepcopy(weights)
    second = find_gradients(network, images[64:128], labels[64:128])
    call(take_step, network, images[64:128], labels[64:128])
    if moved_by(weights, before, second, -RATE):
        return
    if moved_by(weights, before, [one + other for one, other in zip(first, second, strict=True)], -RATE):
        raise NotYetError(
            "The second step also used the gradients of the first: torch adds the new ones to them. "
            "Forget the old ones in each step: `weight.grad = None`, or network.zero_grad()."
        )
    raise NotYetError("The first step is right, the second is not. What does your function keep from one to the next?")


def learns_to_read(take_step):
    """A network learns with it."""
    network, (images, labels) = make_network(), load()
    for _ in range(30):
        for start in range(0, 1500, 50):
            call(take_step, network, images[start : start + 50], labels[start : start + 50])
    with torch.no_grad():
        right = (network(images[1500:]).argmax(dim=1) == labels[1500:]).float().mean().item()
    if right < ENOUGH:
        raise NotYetError(f"After 900 steps it reads {right:.0%} of new digits; it should be {ENOUGH:.0%} or more.")
    print(f"         After 900 of your steps, a network reads {right:.0%} of the digits that it has never seen.")


CHECKS = (returns_the_loss, goes_downhill, forgets_old_gradients, learns_to_read)


def check(take_step):
    """Print the checks that take_step passes, up to the first that fails; return whether it passes all."""
    for test in CHECKS:
        try:
            test(take_step)
        except NotYetError as missing:
            print(f"not yet  {test.__doc__}\n         {missing}")
            return False
        print(f"right    {test.__doc__}")
    print("All of it is right. This is the step with which every network here is trained.")
    return True


if __name__ == "__main__":
    from take_step import take_step

    sys.exit(not check(take_step))
