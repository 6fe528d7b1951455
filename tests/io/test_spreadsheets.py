"""Tables as spreadsheets of other countries save them: the same numbers, whatever parts cells and decimals."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from napari_medseg.errors import ReadError
from napari_medseg.evaluate.frames import evaluate_frames
from napari_medseg.io.spreadsheets import rows_of, table_of
from napari_medseg.jobs import run

TABLE = pd.DataFrame(
    {
        "name": ["0001", "0002", "0010"],
        "area (um^2)": [1.5, -2.25e-3, 1e6],
        "n": [1, 2, 3],
        "said": ["a", "1,5", "None"],
    }
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), ("\t", ","), (";", ".")])
def test_a_table_is_what_it_was(tmp_path: Path, separator: str, decimal: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    TABLE.to_csv(path, sep=separator, decimal=decimal, index=False, encoding=encoding)
    found = table_of(path, words=("name", "said"))
    pd.testing.assert_frame_equal(found, TABLE, check_dtype=False)
    text = table_of(path, text=True)
    assert text["name"].tolist() == ["0001", "0002", "0010"]
    assert [float(cell) for cell in text["area (um^2)"]] == TABLE["area (um^2)"].tolist()
    assert rows_of(path)[0] == list(TABLE)


def test_words_with_commas_stay_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sep=;\nx;y\n1,5;1,2,3\n2;b,c\n", encoding="utf-8")
    found = table_of(tmp_path / "a.csv")
    assert found["x"].tolist() == [1.5, 2]
    assert found["y"].tolist() == ["1,2,3", "b,c"]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a,b\n"1,2\n', encoding="utf-8")
    for read in (table_of, rows_of):
        with pytest.raises(ReadError, match="cannot be read as a table"):
            read(tmp_path / "a.csv")
        with pytest.raises(ReadError, match="cannot be read as a table"):
            read(tmp_path / "none.csv")


def test_frames_of_a_table_with_decimal_commas(tmp_path: Path) -> None:
    score = pd.DataFrame({"frame": range(4), "label": ["nerve", "other"] * 2, "p_nerve": [0.9, 0.2, 0.7, 0.4]})
    score["p_other"] = 1 - score["p_nerve"]
    truth = score[["frame"]].assign(label=["nerve", "other", "other", "nerve"])
    found = []
    for k, options in enumerate(({}, {"sep": ";", "decimal": ","})):
        for name, table in (("frames", score), ("truth", truth)):
            table.to_csv(tmp_path / f"{name}{k}.csv", index=False, **options)
        found.append(run(evaluate_frames(tmp_path / f"frames{k}.csv", tmp_path / f"truth{k}.csv")))
    assert found[1].accuracy == 0.5
    pd.testing.assert_frame_equal(found[0].scores, found[1].scores)
