"""The perceptron in four acts: what the rule can learn and how soon, what no line can, and what layers add."""

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image, ImageChops

from jobs import perceptron
from jobs.perceptrons import exclusive_or as xor
from jobs.perceptrons.hidden import solved, start, train
from jobs.perceptrons.parity import KINDS, check, count_up, every_input, fold, memorize, parity
from jobs.perceptrons.pictures import write_rule
from jobs.perceptrons.problems import PETAL, digits, flowers, separable
from jobs.perceptrons.rule import learn, margin, mistake_bound, right, widest, with_bias


@limits(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_rosenblatts_rule_converges_within_novikoffs_bound(seed):
    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(3, generator=draw, dtype=torch.float64)
    points = torch.rand(200, 2, generator=draw, dtype=torch.float64) * 4 - 2
    score = with_bias(points) @ normal / normal.norm()
    points, signs = points[score.abs() > 0.1], score[score.abs() > 0.1].sign()
    assert margin(widest(points, signs), points, signs) >= 0.1 - 1e-6, (
        "the widest line is at least as wide as the one drawn"
    )
    learned = learn(points, signs)
    assert learned.converged
    assert learned.mistakes <= mistake_bound(points, signs) <= with_bias(points).norm(dim=1).max() ** 2 / 0.1**2 + 1e-3
    assert right(learned.weights, points, signs) == len(points)


def test_the_widest_line_is_that_of_a_support_vector_machine():
    from sklearn.svm import LinearSVC

    problem = flowers(PETAL, centred=True)
    machine = LinearSVC(C=1e4, loss="hinge", fit_intercept=False, tol=1e-8, max_iter=1_000_000)
    machine.fit(with_bias(problem.points).numpy(), problem.signs.numpy())
    theirs = torch.from_numpy(machine.coef_[0])
    ours = widest(problem.points, problem.signs)
    assert margin(ours, problem.points, problem.signs) == pytest.approx(
        margin(theirs, problem.points, problem.signs), rel=1e-3
    )


def test_the_bound_of_the_first_problem_is_near_the_mistakes_and_a_narrow_margin_costs_many():
    problems = separable(seed=0)
    learned = [learn(each.points, each.signs) for each in problems]
    bounds = [mistake_bound(each.points, each.signs) for each in problems]
    assert all(each.converged and each.mistakes <= bound for each, bound in zip(learned, bounds, strict=True))
    assert bounds == sorted(bounds)
    assert bounds[0] < 18
    assert learned[-1].mistakes > 50 * learned[0].mistakes


def test_points_that_no_line_separates_have_no_bound():
    assert mistake_bound(*xor.exclusive_or()) == float("inf")


def test_on_exclusive_or_the_rule_repeats_four_corrections_and_is_never_right_on_more_than_two():
    points, signs = xor.exclusive_or()
    cycle = xor.find_cycle(points, signs)
    assert [weights.tolist() for weights in cycle] == [[0, 0, -1], [0, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert [right(weights, points, signs) for weights in cycle] == [2, 1, 2, 0]
    stuck = learn(points, signs, epochs=50)
    assert not stuck.converged
    assert all(weights.equal(cycle[at % 4]) for at, weights in enumerate(stuck.path[1:]))
    easy = digits(0, 1)
    assert xor.find_cycle(easy.points, easy.signs) == []


def test_the_best_line_gets_three_of_four_and_two_of_sixteen_divisions_are_impossible():
    points, signs = xor.exclusive_or()
    best, most = xor.find_best_line(points, signs)
    assert (most, right(best, points, signs)) == (3, 3)
    assert xor.count_dichotomies(points) == 14
    minus, plus = xor.class_sums(points, signs)
    assert minus.equal(plus), "so no weights score one class above 0 and the other below"
    assert xor.find_best_line(points, torch.tensor([-1.0, -1, -1, 1]).double())[1] == 4, "AND has a line"


def test_a_hidden_layer_learns_exclusive_or_and_a_wider_one_more_often():
    points, signs = xor.exclusive_or()
    counts = [int(solved(points, signs, train(points, signs, start(width, 20, seed=0))[-1]).sum()) for width in (2, 8)]
    assert 1 <= counts[0] < counts[1] >= 15


@pytest.mark.parametrize("build", KINDS.values(), ids=lambda build: build.__name__)
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_each_network_computes_the_parity_of_every_input(build, bits):
    rows = every_input(bits)
    assert (build(bits)(rows) == parity(rows)).all()
    assert check(build(bits), bits)


def test_two_layers_grow_with_the_bits_and_deeper_networks_hardly():
    assert [memorize(bits).units for bits in (2, 8, 10)] == [2, 128, 512]
    assert [count_up(bits).units for bits in (2, 8, 1024)] == [2, 8, 1024]
    assert [(fold(bits).units, fold(bits).depth) for bits in (2, 8, 1024)] == [(2, 1), (6, 3), (20, 10)]
    assert check(fold(1024), 1024)
    right_one = fold(1024)
    wrong = replace(right_one, biases=(right_one.biases[0] - 1, *right_one.biases[1:]))
    assert not check(wrong, 1024), "and the check can fail"


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((0, 0, -1), "orange everywhere"),
        ((0, 0, 0), "no line: all weights are 0"),
        ((-1, -1, 1.5), "blue where - x - y + 1.5 > 0"),
        ((0, 2, 0), "blue where 2y > 0"),
    ],
)
def test_a_line_is_written_as_what_is_blue(weights, said):
    assert write_rule(torch.tensor(weights).double()) == said


def test_the_program_prints_each_act_and_draws_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(perceptron, "STARTS", 10)
    perceptron.main(["--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert re.search(r"iris petal, centred +2 mistakes, at most +17\n", said)
    assert "right after each: 2, 1, 2, 0 of 4" in said
    assert "the best line gets 3 of 4; lines divide the points in 14 of 16 ways" in said
    assert "8 ReLUs: 10 of 10" in said or "8 ReLUs: 9 of 10" in said
    assert re.search(r"folds the count in half: +2 \(1\), 4 \(2\), 6 \(3\), 8 \(4\), 12 \(6\), 20 \(10\)\n", said)
    assert {path.name for path in tmp_path.iterdir()} == {"perceptron.png", "xor.png", "parity.png", "learning.gif"}
    with Image.open(tmp_path / "learning.gif") as moving:
        first = moving.convert("RGB")
        moving.seek(moving.n_frames - 1)
        changed = ImageChops.difference(first, moving.convert("RGB"))
    thirds = [changed.crop((at * 256, 0, at * 256 + 256, 250)).getbbox() for at in range(3)]
    assert moving.n_frames == perceptron.FRAMES
    assert all(thirds), "each panel has moved"
