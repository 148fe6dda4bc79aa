"""Output in a locale that knows no more than ASCII."""

import subprocess
import sys

from small_runs import ROOT, TINY, command, environment

ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}


def said(*arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**ASCII),
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"UnicodeEncodeError" not in done.stderr
    return done.stdout.decode("ascii")


def test_ascii_is_enough_to_train_and_to_report(tmp_path):
    place = tmp_path / "d\u00e9j\u00e0-vu"
    options = TINY | {"epochs": 1, "output": place, "study": "\u03b3", "wandb": "offline"}
    assert "d\\udcc3\\udca9j" in said(*command(options)[1:])
    (folder,) = (place / "\u03b3").iterdir()
    assert (folder / "summary.json").exists()
    assert "M\\xfcller" in said("train.py", "--help")
    report = said("-m", "analyze", "report", str(place), "--out", str(place / "report"))
    assert "written to" in report
    page = (place / "report" / "index.html").read_text(encoding="utf-8")
    assert str(place / "report") in page
    study = tmp_path / "\u03b3.yaml"
    study.write_text("method: grid\nparameters: {dataset: {value: digits}}\n", encoding="utf-8")
    assert "1 waiting" in said("-m", "experiments", "list", str(study), "--output", str(place))
