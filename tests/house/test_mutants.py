"""What `make mutants` looks at."""

from tests.mutants import NEAREST, PROGRAMS, REPOSITORY


def test_every_module_that_is_mutated_is_there_and_so_are_its_tests():
    named = [*NEAREST, *PROGRAMS, *(test for tests in NEAREST.values() for test in tests)]
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []
    assert set(PROGRAMS) < set(NEAREST)
