"""The links of the Markdown pages lead somewhere."""

from pathlib import Path

import pytest
from conftest import ROOT
from links import anchors, dead_links

_NOT_OURS = {'.venv', '.git', 'build', 'install', 'log', 'outputs', 'dist', 'node_modules', 'site'}


def pages() -> list[Path]:
    """Every Markdown page of the tree, hidden folders included."""
    found = [page.relative_to(ROOT) for page in ROOT.rglob('*.md')]
    caches = {'.pytest_cache', '.mypy_cache', '.ruff_cache', '.hypothesis', '.cache'}
    return sorted(page for page in found if not (_NOT_OURS | caches) & set(page.parts))


def test_every_link_in_the_pages_leads_to_a_file_or_a_heading() -> None:
    assert len(pages()) > 30
    assert [said for page in pages() for said in dead_links(ROOT / page, ROOT)] == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs/other.md').write_text(
        '# A `node`, and its [maps](x.md)\n\n## Twice\n## Twice\n<a id="by_hand"></a>\n'
        '```\n# no heading\n```\n'
    )
    return tmp_path


def test_headings_have_the_anchors_that_github_gives_them(site: Path) -> None:
    assert anchors(site / 'docs/other.md') == {
        'a-node-and-its-maps', 'twice', 'twice-1', 'by_hand',
    }  # fmt: skip


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('[a](docs/other.md)', None),
        ('[a](docs/other.md#twice-1 "title")', None),
        ('[a](docs/)', None),
        ('[a](#here)\n\n# Here', None),
        ('[a](https://example.org/gone) <a href="mailto:x@example.org">', None),
        ('`[a](gone.md)`\n```\n[a](gone.md)\n```\n<!-- [a](gone.md) -->', None),
        ('[a](gone.md)', 'no such file'),
        ('![a](gone.png)', 'no such file'),
        ('[a][b]\n\n[b]: gone.md', 'no such file'),
        ('<img src="gone.png">', 'no such file'),
        ('[a](docs/other.md#thrice)', 'no such heading'),
        ('[a](#gone)', 'no such heading'),
        ('[a](../outside.md)', 'leads out of the tree'),
    ],
)
def test_a_link_is_dead_where_nothing_is(site: Path, text: str, said: str | None) -> None:
    page = site / 'page.md'
    page.write_text(text)
    found = list(dead_links(page, site))
    assert (found == []) if said is None else (len(found) == 1 and said in found[0])
