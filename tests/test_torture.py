import pytest

from tests.torture import damage, saves, training
from tests.torture.section import Section, Setting, Skip


def trials(setting):
    yield from ["", "lost", "", *["lost"] * 20]


def skips(setting):
    yield ""
    raise Skip("no compiler")


@pytest.fixture
def executed(tmp_path, capsys):
    def execute(run):
        section = Section("name", "what is done", run)
        section.execute(Setting(tmp_path, seed=0, share=1))
        return section, capsys.readouterr().err

    return execute


def test_trials_and_problems_are_counted_and_the_first_shown(executed):
    section, shown = executed(trials)
    assert (section.trials, section.failed) == (23, 21)
    assert section.row()[:4] == ("name", "what is done", "23", "2")
    assert shown.startswith("name: what is done\n  trial 2: lost\n  trial 4: lost\n")
    assert shown.count("lost") == 10


def test_section_that_cannot_be_run_says_why(executed):
    section, _ = executed(skips)
    assert section.row() == ("name", "what is done", "-", "-", "skipped: no compiler")
    assert not section.failed


@pytest.mark.parametrize(("share", "count"), [(1, 1000), (0.1, 100), (3, 3000), (1e-9, 1)])
def test_share_of_what_is_drawn_at_random(tmp_path, share, count):
    assert Setting(tmp_path, 0, share).count(1000) == count


def test_sections_have_names_of_their_own():
    names = [name for module in (saves, damage, training) for name, *_ in module.SECTIONS]
    assert len(names) == len(set(names)) == 11
