"""Which code a run is of."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from small_runs import ROOT

from experiments.runs import provenance

ASK = """
import json
from experiments.runs import provenance
print(json.dumps([provenance.commit(), provenance._own_version()]))
"""


@pytest.fixture
def project(tmp_path):
    """A repository of someone else's, with this package in its environment, which it ignores."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("env\n")
    git(tmp_path, "add", ".")
    commit(tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "env" / "experiments")
    return tmp_path


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    git(folder, *who, "commit", "-q", "-m", "x")


def asked(folder, **environment):
    """The commit and the version that the package in a folder knows of itself."""
    words = [sys.executable, "-c", ASK]
    done = subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout)


def test_the_project_around_an_environment_is_not_the_code(project):
    assert asked(project / "env")[0] is None


def test_a_package_in_its_own_repository_has_its_commit(project):
    shutil.copy(ROOT / "pyproject.toml", project)
    shutil.move(project / "env" / "experiments", project)
    git(project, "add", "experiments")
    commit(project)
    head = git(project, "rev-parse", "HEAD")
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    assert asked(project) == [head, version]
    elsewhere = project / "elsewhere"  # as in the hooks of another repository
    elsewhere.mkdir()
    git(elsewhere, "init", "-q")
    assert asked(project, GIT_DIR=str(elsewhere / ".git"))[0] == head
    with (project / "experiments" / "runs" / "provenance.py").open("a") as file:
        file.write("\n")
    assert asked(project)[0] == f"{head}+"


def test_a_repository_of_another_owner_gives_no_commit(project, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for this
    assert provenance.commit() is None
    assert provenance.versions()["resnet-losses"]
