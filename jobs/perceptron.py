"""The perceptron in four acts: a rule, its limit, one hidden layer, and why deeper is smaller.

`python -m jobs.perceptron` writes perceptron.png, xor.png, parity.png and learning.gif. The four acts:

1. Rosenblatt's rule (1958) adds an example to the weights if it is misclassified. Novikoff (1962) proved that on examples
   that a line separates it makes at most (R / margin)^2 mistakes.
2. Minsky and Papert (1969): no line separates XOR. The rule goes round in a circle.
3. One hidden layer, trained by gradient descent, solves it.
4. Parity, XOR of many bits: two layers suffice, but grow with the bits; deeper networks stay small.
"""

# torch takes a second to import and --help must start at once, so the functions import what needs it.

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .program import Parser, check_folder, default_out, number, run_program, say

if TYPE_CHECKING:
    from .perceptrons.hidden import Networks
    from .perceptrons.problems import Problem

WIDTHS, STARTS = (2, 3, 4, 8), 50
"""Of the hidden layer, and from how many random weights each is trained."""
BITS, SHOWN_BITS = (2, 3, 4, 6, 8, 10, 12, 16, 32, 64, 128, 256, 512, 1024), (2, 4, 8, 12, 64, 1024)
FRAMES, EACH = 48, 4
"""Of the animation; each correction of the rule is shown for so many."""


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the program and return the folder with the pictures."""
    parser = Parser("jobs.perceptron", description="Rosenblatt's perceptron rule, its limit, and hidden layers.")
    parser.add_argument(
        "--out", type=Path, default=default_out(), metavar="DIR", help="folder for the pictures (%(default)s)"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="seed of order and weights (%(default)s)")
    asked = parser.parse_args(argv)
    return run_program("jobs.perceptron", lambda: run(asked.out, asked.seed))


def run(out: Path, seed: int) -> Path:
    """Run and draw the four acts."""
    check_folder(out)
    plane = show_rule(out, seed)
    net = show_exclusive_or(out, seed)
    show_parity(out)
    animate(out, plane, net)
    return out


def show_rule(out: Path, seed: int) -> "Problem":
    """Act 1: apply the rule to real data that a line separates; return the problem that is animated."""
    from .perceptrons.pictures import draw_rule
    from .perceptrons.problems import separable
    from .perceptrons.rule import learn, mistake_bound

    say("1. Rosenblatt's rule on data that a line separates: mistakes, and Novikoff's bound (R / margin)^2")
    problems, measured = separable(seed), []
    for problem in problems:
        learned, bound = learn(problem.points, problem.signs), mistake_bound(problem.points, problem.signs)
        measured.append((problem.name, learned.mistakes, bound))
        end = "" if learned.converged else f", not converged after {learned.passes:,} passes"
        say(f"   {problem.name:<20} {learned.mistakes:>5,} mistakes, at most {int(bound):>6,}{end}")
    first = problems[0]
    draw_rule(out / "perceptron.png", first, learn(first.points, first.signs).weights, measured)
    say(f"   {out / 'perceptron.png'}")
    return next(each for each in problems if each.name == "iris petal")


def show_exclusive_or(out: Path, seed: int) -> "list[Networks]":
    """Acts 2 and 3: the cycle, the best line, hidden layers; return the course of one network."""
    from .perceptrons import exclusive_or as xor
    from .perceptrons.pictures import draw_exclusive_or
    from .perceptrons.rule import right

    points, signs = xor.exclusive_or()
    cycle, (best, most) = xor.find_cycle(points, signs), xor.find_best_line(points, signs)
    scores = ", ".join(str(right(weights, points, signs)) for weights in cycle)
    sums = " and ".join(str(tuple(map(int, each.tolist()))) for each in xor.class_sums(points, signs))
    say(f"2. XOR: the rule repeats {len(cycle)} corrections forever; right after each: {scores} of 4")
    say(f"   the best line gets {most} of 4; lines divide the points in {xor.count_dichotomies(points)} of 16 ways")
    say(f"   none gets 4: with a 1 for the bias the classes add up to {sums}: their scores have the same sum")
    course = learn_exclusive_or(seed)
    draw_exclusive_or(out / "xor.png", cycle, best, course[-1])
    say(f"   {out / 'xor.png'}")
    return course


def learn_exclusive_or(seed: int) -> "list[Networks]":
    """Act 3: train hidden layers of several widths; return the course of one that learned XOR."""
    from .perceptrons.exclusive_or import exclusive_or
    from .perceptrons.hidden import STEPS, solved, start, train

    points, signs = exclusive_or()
    say(f"3. XOR with one hidden layer: how many of {STARTS} random starts learn all 4 points by gradient descent")
    course: list[Networks] = []
    for width in WIDTHS:
        found = train(points, signs, start(width, STARTS, seed), STEPS // FRAMES)
        good = solved(points, signs, found[-1])
        say(f"   {width} ReLUs: {int(good.sum())} of {STARTS}")
        if good.any() and not course:
            course = [each.pick(int(good.int().argmax())) for each in found]
    return course


def show_parity(out: Path) -> None:
    """Act 4: build networks for parity and check each on all inputs; print and draw their sizes."""
    from .errors import JobsError
    from .perceptrons.parity import KINDS, MEMORIZED, check, memorize
    from .perceptrons.pictures import draw_parity

    say("4. parity of many bits: hidden units, and layers, of networks that are right on every input")
    sizes: dict[str, dict[int, int]] = {}
    for name, build in KINDS.items():
        nets = {bits: build(bits) for bits in BITS if build is not memorize or bits <= MEMORIZED}
        if wrong := [bits for bits, net in nets.items() if not check(net, bits)]:
            raise JobsError(f"{name}: wrong for {wrong} bits")
        sizes[name] = {bits: net.units for bits, net in nets.items()}
        shown = ", ".join(f"{nets[bits].units:,} ({nets[bits].depth})" for bits in SHOWN_BITS if bits in nets)
        say(f"   {name + ':':<44} {shown}")
    say(f"   {'number of bits:':<44} {', '.join(f'{bits:,}' for bits in SHOWN_BITS)}")
    draw_parity(out / "parity.png", sizes)
    say(f"   {out / 'parity.png'}")


def animate(out: Path, problem: "Problem", course: "Sequence[Networks]") -> None:
    """Show the rule on two problems, and a hidden layer, as they learn."""
    from .perceptrons.animation import Panel, write_animation
    from .perceptrons.exclusive_or import exclusive_or, find_cycle
    from .perceptrons.hidden import STEPS
    from .perceptrons.pictures import line_of
    from .perceptrons.rule import learn, right

    points, signs = exclusive_or()
    lines = [
        (line_of(weights), f"a line: mistake {at}, {right(weights, problem.points, problem.signs)} of 100")
        for at, weights in enumerate(learn(problem.points, problem.signs).path)
        for _ in range(EACH)
    ]
    cycle = find_cycle(points, signs)
    circles = [
        (
            line_of(cycle[at % len(cycle)]),
            f"XOR: correction {at + 1}, {right(cycle[at % len(cycle)], points, signs)} of 4",
        )
        for at in range(FRAMES // EACH)
        for _ in range(EACH)
    ]
    nets = [
        (
            lambda some, net=net: net(some)[0],
            f"hidden layer: step {at * (STEPS // FRAMES)}, {net.right(points, signs)} of 4",
        )
        for at, net in enumerate(course)
    ]
    panels = [Panel(problem.points, problem.signs, lines), Panel(points, signs, circles), Panel(points, signs, nets)]
    write_animation(out / "learning.gif", panels, FRAMES)
    say(f"   {out / 'learning.gif'}")


if __name__ == "__main__":
    main()
