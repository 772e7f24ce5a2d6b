"""Counts in sentences: a noun and its verb take the form that their count asks for."""

_IRREGULAR = {
    'batch': 'batches',
    'city': 'cities',
    'fix': 'fixes',
    'process': 'processes',
    'query': 'queries',
}


def counted(count: int, one: str, many: str = '') -> str:
    """A count with its noun: `1 image`, `3 images`.

    one: what a single one is called. many: what others are called, where that is not just the
    plural of the last word: `counted(2, 'drive has', 'drives have')`.
    """
    return f'{count} {by_count(count, one, many or _plural(one))}'


def by_count(count: float, one: str, many: str) -> str:
    """The words that go with a count: `by_count(2, 'shows', 'show')`."""
    return one if count == 1 else many


def _plural(one: str) -> str:
    *before, noun = one.split(' ')
    return ' '.join([*before, _IRREGULAR.get(noun, f'{noun}s')])
