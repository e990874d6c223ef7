import uuid

from iii_trio._util import uuid_source


def test_uuids_are_random_ones_and_differ() -> None:
    new_uuid = uuid_source()
    made = [new_uuid() for _ in range(1000)]
    assert len(set(made)) == 1000
    for text in made:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert parsed.version == 4
        assert parsed.variant == uuid.RFC_4122
