"""Settings and their origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgia import settings
from forgia.errors import UserError


def test_the_nearer_source_wins_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text('organisation = "from-user"\nprofile = "from-user"\n')
    (tmp_path / "forgia.toml").write_text('home = "home"\nprofile = "from-project"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    found = settings.load(environment={"HOME": str(tmp_path)}, folder=below)
    assert found.home.root == tmp_path / "home"
    assert (found.profile, found.organisation) == ("from-project", "from-user")
    assert found.origin["profile"] == str(tmp_path / "forgia.toml")
    assert found.origin["catalogue"] == "default"
    environment = {"HOME": str(tmp_path), "FORGIA_PROFILE": "from-environment"}
    assert settings.load(environment=environment, folder=below).profile == "from-environment"
    flagged = settings.load(environment=environment, folder=below, flags={"profile": "from-flag"})
    assert (flagged.profile, flagged.origin["profile"]) == ("from-flag", "flag")


def test_every_unknown_setting_is_named_with_its_nearest(tmp_path: Path) -> None:
    (tmp_path / "forgia.toml").write_text('profil = "x"\nhom = "y"\n')
    with pytest.raises(UserError) as caught:
        settings.load(environment={"HOME": str(tmp_path)}, folder=tmp_path)
    assert "did you mean profile?" in caught.value.message
    assert "did you mean home?" in caught.value.message


@pytest.mark.parametrize("name", ["../escape", "UPPER", "a b", "a/b"])
def test_an_organisation_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="organisation"):
        settings.load(environment={"HOME": str(tmp_path), "FORGIA_ORGANISATION": name}, folder=tmp_path)
