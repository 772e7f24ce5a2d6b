"""A part of the speed benchmarks is measured again and the rest of their page stays."""

import sys

from performance import measured_alone, updated
from sections import Section

PAGE = """# Performance

What stands above.

## Searching

| a | b |

A note.

## Running

| c | d |
"""


def section(title: str) -> Section:
    found = Section(title, 'What it means.')
    found.add('a step', 2.0, 'another way', 4.0)
    return found


def test_a_section_takes_the_place_of_the_one_with_its_title() -> None:
    found = updated(PAGE, [section('Searching')])
    assert found.startswith(
        '# Performance\n\nWhat stands above.\n\n## Searching\n\nWhat it means.'
    )
    assert '| a step | 2.00 ms | another way | 4.00 ms | 2.00 |' in found
    assert 'A note.' not in found and '| a | b |' not in found
    assert found.endswith('\n\n## Running\n\n| c | d |\n')


def test_a_new_section_comes_last() -> None:
    found = updated(PAGE, [section('Storing')])
    assert found.startswith(PAGE) and found.count('## ') == 3
    assert updated(found, [section('Storing')]) == found


def test_a_section_of_another_run_says_how_it_came_there() -> None:
    found = measured_alone(section('Storing'), 'fleet', 3.25)
    assert "make bench ARGS='--only fleet'" in found.markdown()
    assert 'kept 3.2 cores busy' in found.markdown()


def test_who_imports_the_benchmarks_finds_no_other_packages_than_before() -> None:
    """OpenVINO is kept apart for them; in the tests' process it breaks what handles signals."""
    assert not [path for path in sys.path if path.endswith('/openvino')]
