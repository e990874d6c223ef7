"""The table of mutations fits the code: each has something to spoil, and a test to fail."""

import pathlib

import pytest

from tests.access_mutations import ACCESS_MUTATIONS
from tests.mutation_table import MUTATIONS, Mutation

TESTS = pathlib.Path(__file__).parent
PACKAGE = TESTS.parent / "iii_trio"


@pytest.mark.parametrize(
    "mutation", [*MUTATIONS, *ACCESS_MUTATIONS], ids=lambda mutation: mutation.what
)
def test_what_a_mutation_spoils_stands_once_in_the_code(mutation: Mutation) -> None:
    assert (PACKAGE / mutation.file).read_text().count(mutation.old) == 1
    assert mutation.old != mutation.new


@pytest.mark.parametrize(
    "test", sorted({one.test for one in (*MUTATIONS, *ACCESS_MUTATIONS)})
)
def test_the_test_that_a_mutation_names_exists(test: str) -> None:
    file, *names = test.partition("[")[0].split("::")
    text = (TESTS / file).read_text()
    assert all(name in text for name in names[:1])
