"""The report: everything in one file, everything escaped, numbers with units."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from napari_medseg.cli.main import main
from napari_medseg.errors import MissingDependencyError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.write import write
from napari_medseg.measure import measure, summarise
from napari_medseg.report import WARNING, report
from napari_medseg.samples import load_sample

EVIL = '<script>alert(1)</script> & "quotes"'


class _Reader(HTMLParser):
    """Tags, texts and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


@pytest.fixture
def case() -> tuple[Image, Image]:
    mask = np.zeros((40, 30), np.uint8)
    mask[5:15, 5:15], mask[20:30, 10:20] = 1, 2
    image = Image(mask * 90 + 20, "YX", (0.5, 0.5), ("micrometer",) * 2, name="scan")
    return image, image.labels_like(mask)


def test_page_holds_pictures_numbers_settings_and_the_warning(case: tuple[Image, Image], tmp_path: Path) -> None:
    image, labels = case
    facts = {"method": "afm-unet", "checkpoint_sha256": "a" * 64, "settings": {"tta": False, "tile": 512}, "empty": ""}
    table, summary = measure("afm", labels, image), summarise("afm", labels, image)
    page = _Reader(report(tmp_path / "r.html", image, labels, table, facts, summary=summary).read_text("utf-8"))
    assert WARNING in page.text
    assert "0.5x0.5 um" in page.text
    for words in ("a" * 64, "afm-unet", "tta", "512", "coverage (%)", "napari-medseg", "Result; labelled 16.7%"):
        assert words in page.text
    assert "empty" not in page.text
    sizes = []
    for source in page.sources:
        assert source.startswith("data:image/png;base64,")
        picture = Pillow.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        sizes.append(picture.size)
    assert sizes == [(30, 40)] * 2
    assert "script" not in page.tags


def test_everything_is_escaped(case: tuple[Image, Image], tmp_path: Path) -> None:
    image, labels = case
    table = pd.DataFrame({EVIL: [EVIL, 1.5], "b": [np.nan, 2]})
    path = report(
        tmp_path / "r.html", image.replace(name=EVIL), labels, table, {EVIL: EVIL, "settings": {EVIL: [EVIL]}},
        summary=table,
    )  # fmt: skip
    text = path.read_text("utf-8")
    assert "<script" not in text
    assert _Reader(text).text.count(EVIL) >= 6
    assert not re.search(r"https?://", text)


def test_long_tables_say_what_is_not_shown(case: tuple[Image, Image], tmp_path: Path) -> None:
    table = pd.DataFrame(np.arange(30 * 12).reshape(30, 12), columns=[f"c{i} (um)" for i in range(12)])
    text = _Reader(report(tmp_path / "r.html", *case, table, {}).read_text("utf-8")).text
    assert "18 of 30 objects" in text
    assert "c11 (um)" in text
    assert "No objects" in report(tmp_path / "e.html", *case, table[:0], {}).read_text("utf-8")


@pytest.mark.parametrize(("sample", "kind"), [("mri", "volume"), ("histology", "nuclei")])
def test_volumes_and_colour_images(sample: str, kind: str, tmp_path: Path) -> None:
    image, labels = load_sample(sample)[:2]
    path = report(tmp_path / "r.html", image, labels, measure(kind, labels, image), {"method": kind})
    assert len(_Reader(path.read_text("utf-8")).sources) == 2
    assert path.stat().st_size < 2_000_000


def test_both_pictures_show_the_plane_with_most_labelled_pixels(tmp_path: Path) -> None:
    data = np.zeros((5, 16, 16), np.uint8)
    data[0, :8] = data[3, :, :8] = 200
    mask = np.zeros_like(data)
    mask[0, 12:14, 12:14] = 1
    image = Image(data, "ZYX", (1.0,) * 3, ("millimeter",) * 3, name="v")
    page = _Reader(report(tmp_path / "r.html", image, image.labels_like(mask), pd.DataFrame(), {}).read_text("utf-8"))
    plain, drawn = (np.asarray(Pillow.open(io.BytesIO(base64.b64decode(s.split(",")[1])))) for s in page.sources)
    np.testing.assert_array_equal(plain[..., 0] > 0, data[0] > 0)
    np.testing.assert_array_equal((plain != drawn).any(-1), mask[0] > 0)


def test_heads_stand_where_their_numbers_stand(case: tuple[Image, Image], tmp_path: Path) -> None:
    table = pd.DataFrame({"area (um^2)": [1.5], "class": ["round"]})
    text = report(tmp_path / "r.html", *case, table, {}).read_text("utf-8")
    assert '<th class="number">area (um^2)</th><th>class</th>' in text
    assert '<td class="number">1.5</td><td>round</td>' in text


@pytest.mark.parametrize("suffix", ["html", "pdf"])
def test_a_file_name_that_is_no_text_appears_escaped(case: tuple[Image, Image], suffix: str, tmp_path: Path) -> None:
    if suffix == "pdf":
        pytest.importorskip("reportlab")
    image, labels = case
    name = "scan\udcff"  # how Python reads the byte 0xff of a file name
    path = report(
        tmp_path / f"r.{suffix}", image.replace(name=name), labels, pd.DataFrame({name: [name]}), {name: name}
    )
    if suffix == "html":
        assert _Reader(path.read_text("utf-8")).text.count(r"scan\udcff") == 6
    else:
        pypdf = pytest.importorskip("pypdf")
        assert r"scan\udcff" in pypdf.PdfReader(path).pages[0].extract_text()


def test_command_takes_the_kind_from_the_labels(
    case: tuple[Image, Image], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, labels = case
    write(tmp_path / "scan.tif", image)
    write(tmp_path / "plain.tif", labels)
    write(tmp_path / "made.tif", labels.replace(metadata={"medseg": {"method": "afm-unet", "version": "1"}}))
    words = ["report", str(tmp_path / "scan.tif"), str(tmp_path / "made.tif"), "-o", str(tmp_path / "r.html")]
    assert main(words) == 0
    assert "area (um^2)" in (tmp_path / "r.html").read_text("utf-8")
    words[2] = str(tmp_path / "plain.tif")
    assert main(words) == 2
    assert "--kind" in capsys.readouterr().err
    assert main([*words, "--kind", "volume"]) == 0


def test_other_names_are_refused(case: tuple[Image, Image], tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"ending in \.html or \.pdf"):
        report(tmp_path / "r.docx", *case, pd.DataFrame(), {})
    assert not (tmp_path / "r.docx").exists()


# ---- PDF
def test_pdf_says_what_the_page_says(case: tuple[Image, Image], tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    image, labels = case
    facts = {"method": "afm-unet", "checkpoint_sha256": "a" * 64, "settings": {"tta": False, "tile": 512}}
    table, summary = measure("afm", labels, image), summarise("afm", labels, image)
    pages = pypdf.PdfReader(report(tmp_path / "r.pdf", image, labels, table, facts, summary=summary)).pages
    assert len(pages) == 1
    assert [round(float(x)) for x in pages[0].mediabox[2:]] == [595, 842]  # A4 in points
    assert [picture.image.size for picture in pages[0].images] == [(30, 40)] * 2
    said = "".join(pages[0].extract_text().split())
    assert "a" * 64 in said
    for words in (WARNING, "scan", "0.5x0.5 um", "afm-unet", "tta", "512", "coverage (%)", "Result; labelled 16.7%"):
        assert words.replace(" ", "") in said
    for column in table.columns[:9]:
        assert str(column).replace(" ", "") in said


def test_any_name_and_any_length_fit_on_one_page(case: tuple[Image, Image], tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    image, labels = case
    name = f"{EVIL} Гистология 5 µm² ± Ω 組織 " + "x" * 200
    table = pd.DataFrame({f"c{i} (µm²) {EVIL}": [EVIL, *range(29)] for i in range(12)})
    facts = {f"fact {i}": EVIL * 3 for i in range(60)} | {"settings": {f"s{i}": i for i in range(60)}}
    pages = pypdf.PdfReader(report(tmp_path / "r.pdf", image.replace(name=name), labels, table, facts)).pages
    assert len(pages) == 1
    said = "".join(pages[0].extract_text().split())
    for words in (
        "Гистология",
        "5µm²±Ω",
        r"\u7d44\u7e54",
        "fact59",
        "s59",
        "18of30objects",
        "<script>alert(1)</script>&",
    ):
        assert words in said


def test_a_full_page_uses_its_width_and_stays_inside_it(case: tuple[Image, Image], tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    table = pd.DataFrame({f"c{i}": range(12) for i in range(9)})
    places = []

    def visit(text: str, outer: list[float], inner: list[float], *_: object) -> None:
        if text.strip():
            places.append(
                (
                    inner[4] * outer[0] + inner[5] * outer[2] + outer[4],
                    inner[4] * outer[1] + inner[5] * outer[3] + outer[5],
                )
            )

    path = report(tmp_path / "r.pdf", *case, table, {f"fact {i}": i for i in range(120)})
    pages = pypdf.PdfReader(path).pages
    pages[0].extract_text(visitor_text=visit)
    x, y = np.array(places).T
    assert len(pages) == 1
    assert 30 < x.min() < 50
    assert 500 < x.max() < 560
    assert 30 < y.min() < 100
    assert 750 < y.max() < 812


def test_pdf_without_the_package_says_how_to_get_it(
    case: tuple[Image, Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(MissingDependencyError, match=r"napari-medseg\[figure\]"):
        report(tmp_path / "r.pdf", *case, pd.DataFrame(), {})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(case: tuple[Image, Image], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(WriteError, match="taken"):
        report(tmp_path / "taken" / "r.pdf", *case, pd.DataFrame(), {})
