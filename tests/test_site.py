"""The leaderboard as pages: what stands there, in HTML and as a browser shows it."""

import json
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.colors import to_hex
from PIL import Image

from skyfold.cli.main import main
from skyfold.config.files import load_blend, load_run
from skyfold.errors import ConfigError
from skyfold.files import read_csv
from skyfold.metrics.forecast_sums import read_sums
from skyfold.metrics.segmentation import MeanOfMaps
from skyfold.pipeline import mask_pictures
from skyfold.pipeline.leaderboard import leaderboard
from skyfold.pipeline.public_scores import Compared
from skyfold.pipeline.site import next_blend
from skyfold.pipeline.site.compare import _script
from skyfold.pipeline.site.next_blend import FILE, StoredMeans
from skyfold.pipeline.site.public import public_page
from skyfold.pipeline.site.write import write_site
from skyfold.pipeline.stored_masks import stored_masks
from skyfold.postprocess.evaluate import SampleScores
from skyfold.postprocess.measure import threshold_grid
from skyfold.reports.mask_plot import COLOURS, ERRORS
from skyfold.reports.paired_scores import pair_rows
from skyfold.reports.site.charts import Line, interval_bar, line_chart
from skyfold.reports.site.thumbnails import errors_webp, image_webp, masks_webp
from skyfold.store.folds import read_folds
from skyfold.store.public_scores import Submitted
from skyfold.store.records import write_record
from skyfold.store.rows import RowStore
from skyfold.store.runs import read_info
from skyfold.workspace import Workspace

pytestmark = pytest.mark.usefixtures("own_data")
BROWSER = shutil.which("chromium")
DATA = {
    "competition": "understanding_clouds",
    "name": "tiny",
    "folds": {"k": 2},
    "sample": {"train": 16, "test": 4, "height": 112},
}
FAMILIES = {"bright": "brightness", "lowest": "lowest_band"}
RUNS = [{"name": n, "model": {"family": "colour_threshold", "options": {"feature": f}}} for n, f in FAMILIES.items()]
CONFIG = {
    "data": DATA,
    "name": "both",
    "image": {"size": [56, 84]},
    "runs": RUNS,
    "postprocess": {"thresholds": 17, "min_areas": [0]},
    "bootstrap": 100,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, own_data):
    """A blend of two runs, a run of which one fold is trained, and one whose record was cut off."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "configs").mkdir()
    (folder / "both.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["run", str(folder / "both.yaml"), "--root", str(folder)]) == 0
    runs = folder / "oof" / "tiny"
    begun = vars(read_info(runs / "bright"))
    begun |= {"name": "<i>begun</i>", "fingerprint": begun["fingerprint"].to_json(), "scores": {"fold1": 0.61}}
    write_record(runs / "begun" / "run.json", {**begun, "classes": list(begun["classes"])})
    (runs / "cut").mkdir()
    (runs / "cut" / "run.json").write_text('{"name": "cu')
    return folder


@pytest.fixture(scope="module")
def site(project):
    assert main(["lb", "add", "both", "--public", "0.25", "--root", str(project)]) == 0
    folder = project / "site"
    assert main(["leaderboard", "tiny", "--html", str(folder), "--root", str(project)]) == 0
    return folder


ICE = """
name: tiny
data:
  competition: arctic_sea_ice
  name: ice
  options: {grid: [28, 19]}
  folds: {years: [2000, 2002]}
  sample: {years: 8}
baseline: last_year
forecasts:
  - {name: last_year, family: mean_of_years, options: {years: 1}}
  - {name: persistence, family: persistence}
"""


@pytest.fixture(scope="module")
def ice(tmp_path_factory, own_data):
    """Two forecasts of three years, pictures of one of them, and the site."""
    folder = tmp_path_factory.mktemp("ice")
    (folder / "configs").mkdir()
    (folder / "ice.yaml").write_text(ICE)
    root = ["--root", str(folder)]
    assert main(["run", str(folder / "ice.yaml"), *root]) == 0
    assert main(["plot", str(folder / "ice.yaml"), "--id", "1999-12", "--forecast", "persistence", *root]) == 0
    assert main(["leaderboard", "ice", "--html", str(folder / "site"), *root]) == 0
    return folder


CODES = {"sky": 100, "outside": 0, "cloud": 255}  # in no alphabetical order


@pytest.fixture(scope="module")
def filled(tmp_path_factory, own_data):
    """Predictions of three frameworks for masks of three classes that exclude each other; two of them are alike."""
    folder, rng = tmp_path_factory.mktemp("filled"), np.random.default_rng(0)
    (folder / "configs").mkdir()
    options = {"classes": CODES, "background": None, "grid": [12, 16]}
    folds = {"k": 2, "phash_max_distance": -1}
    data = {"competition": "mask_folder", "name": "dome", "options": options, "folds": folds}
    (folder / "data.yaml").write_text(yaml.safe_dump({"data": data}, sort_keys=False))
    codes = rng.choice([*CODES.values()], size=(8, 12, 16)).astype(np.uint8)
    for part, arrays in (("images", rng.integers(0, 256, (8, 12, 16, 3), np.uint8)), ("masks", codes)):
        (folder / "data" / "dome" / part).mkdir(parents=True)
        for number, values in enumerate(arrays):
            Image.fromarray(values).save(folder / "data" / "dome" / part / f"{number}.png")
    config, root = str(folder / "data.yaml"), ["--root", str(folder)]
    assert main(["prepare", config, *root]) == 0
    truth = np.stack([codes == code for code in CODES.values()], axis=-1)
    one, other, third = (np.random.default_rng(number).random(truth.shape) for number in range(3))
    for name, noise in (("one", one), ("other", other), ("alike", 0.9 * one + 0.1 * third)):
        np.save(folder / f"{name}.npy", np.clip(0.4 * truth + noise * 0.6, 0, 1).astype(np.float32))
        assert main(["import", name, "--data", config, "--oof", str(folder / f"{name}.npy"), *root]) == 0
    assert main(["leaderboard", "dome", "--html", str(folder / "site"), "--no-images", *root]) == 0
    return folder, truth


class Tables(HTMLParser):
    """Texts of the cells of every table, row by row."""

    def __init__(self, html):
        super().__init__()
        self.tables, self.cell = [], None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)


def as_dicts(table):
    return {row[0]: dict(zip(table[0], row, strict=True)) for row in table[1:]}


def test_the_board_shows_the_figures_of_the_leaderboard(project, site, capsys):
    html = (site / "index.html").read_text()
    assert "mean dice</b>, higher is better" in html
    assert "<b>16</b> scored samples" in html
    board, baselines = Tables(html).tables[:2]
    rows = as_dicts([row[1:] for row in board])  # after the boxes to pick
    scores = json.loads((project / "oof/tiny/both/blend.json").read_text())["scores"]["final"]
    row = rows["both blend"]
    assert (row["score"], row["in-sample"]) == (f"{scores['cv_cross_fitted']:.4f}", f"{scores['cv_in_sample']:.4f}")
    assert row["95 % interval"] == f"{scores['low']:.4f} to {scores['high']:.4f}"
    unfinished = "unfinished (1 of 2 folds, mean 0.6100): run skyfold train again"
    assert (row["public"], row["submission"]) == ("0.2500", "both.csv")
    assert sum(map(float, row["by fold"].split())) / 2 == pytest.approx(scores["cv_cross_fitted"], abs=1e-3)
    assert rows[f"<i>begun</i> run: {unfinished}, in the folder 'begun'"]["score"] == ""
    assert [row[0].startswith("all empty") for row in baselines].count(True) == 1
    assert re.search(r"<b>cut</b>: .*not whole JSON", html)
    assert "<i>" not in html


def test_the_table_is_written_as_csv_too(project, tmp_path):
    assert main(["leaderboard", "tiny", "--csv", str(tmp_path / "board.csv"), "--root", str(project)]) == 0
    head, first = (tmp_path / "board.csv").read_text().splitlines()[:2]
    assert head.startswith("name,kind,")
    best = leaderboard("tiny", Workspace(project))[0]
    assert first.split(",")[head.split(",").index("cv_cross_fitted")] == str(best.figures["cv_cross_fitted"])


def test_a_folder_of_other_files_is_left_alone(project, tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    for place, message in ((tmp_path, "holds other files"), (tmp_path / "thesis.tex", "a file")):
        with pytest.raises(ConfigError, match=message):
            write_site("tiny", Workspace(project), [], place)


def test_nothing_is_loaded_from_outside_and_every_link_leads_somewhere(site, ice):
    for page in (*site.rglob("*.html"), *(ice / "site").rglob("*.html")):
        for address in re.findall(r'(?:href|src)="([^"#]+)', page.read_text()):
            assert (page.parent / address).is_file(), f"{page}: {address}"
    assert len((site / "site.js").read_bytes()) < 30_000


def page_of(site, name):
    return (site / "entries" / f"{name}.html").read_text()


def test_the_page_of_a_blend_shows_what_it_is_made_of(project, site):
    html, made = page_of(site, "both"), json.loads((project / "oof/tiny/both/blend.json").read_text())
    members, steps, classes, folds = (as_dicts(table) for table in Tables(html).tables[:4])
    assert {name: row["weight"] for name, row in members.items()} == {"bright": "0.5000", "lowest": "0.5000"}
    gain = made["scores"]["gains"]["over_best_single"]
    assert steps["gain over the best single run, post-processed alike"]["gain"] == f"{gain['value']:+.4f}"
    mean = sum(float(row["score"]) for row in classes.values()) / len(classes)
    assert mean == pytest.approx(made["scores"]["final"]["cv_cross_fitted"], abs=1e-4)
    assert [row["samples"] for row in folds.values()] == ["8", "8"]
    assert html.count('<figure class="chart">') == 3
    assert made["rows"]["oof"] in html


def test_a_run_names_the_keys_that_its_nearest_run_has_otherwise(site):
    html = page_of(site, "lowest")
    changed = next(table for table in Tables(html).tables if table[0][:2] == ["key", "lowest"])
    assert ["model.options.feature", "lowest_band", "brightness"] in changed


def test_thumbnails_are_made_once_and_left_out_on_demand(project, site):
    html = page_of(site, "lowest")
    assert "Do not publish these pages" in html
    images = sorted((site / "images").glob("*.webp"))
    sizes = {Image.open(path).size for path in images}
    assert max(max(size) for size in sizes) <= 320
    shown = re.findall(r"<figcaption>(\S+) <b>([\d.]+)", html)
    rows = read_csv(project / "oof/tiny/lowest/rows.csv", text=("id", "group"), remedy="")
    scores = rows.filter(regex="^cv_cross_fitted ").mean(axis=1).sort_values()
    assert (shown[0][0], shown[12][0]) == (rows["id"][scores.index[0]], rows["id"][scores.index[-1]])
    written = {path: path.stat().st_mtime_ns for path in images}
    build = ["leaderboard", "tiny", "--root", str(project), "--html"]
    assert main([*build, str(site)]) == 0
    assert {path: path.stat().st_mtime_ns for path in (site / "images").glob("*.webp")} == written
    shared = project / "shared"
    shutil.copytree(site, shared)
    assert main([*build, str(shared), "--no-images"]) == 0
    assert list(shared.rglob("*.webp")) == []
    assert "<img" not in "".join(path.read_text() for path in shared.rglob("*.html"))
    assert "Do not publish" not in page_of(shared, "lowest")


def test_pages_of_entries_that_are_gone_are_removed(project, site, tmp_path):
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    entries = [entry for entry in leaderboard("tiny", Workspace(project)) if entry.name != "bright"]
    write_site("tiny", Workspace(project), entries, copy, images=False)
    assert {path.stem for path in (copy / "entries").iterdir()} == {"both", "lowest", "begun"}


def test_a_damaged_row_takes_no_page_down(project, site, tmp_path):
    copy = tmp_path / "work"
    shutil.copytree(project, copy)
    values = copy / "oof" / "tiny" / "lowest" / "oof" / "values.npy"
    data = bytearray(values.read_bytes())
    data[1000:] = bytes(len(data) - 1000)
    values.write_bytes(data)
    assert main(["leaderboard", "tiny", "--html", str(tmp_path / "site"), "--root", str(copy)]) == 0
    html = page_of(tmp_path / "site", "lowest")
    assert re.search(r"<h2>Predictions</h2>\n<p class=\"worse\">.*lowest/oof", html)
    assert "<img" in page_of(tmp_path / "site", "bright")


def submitted(name, cv, public):
    return Compared(Submitted(datetime(2026, 11, 30, tzinfo=UTC), name, public), cv, "")


def test_a_submission_that_parts_from_the_others_is_named(tmp_path):
    rng = np.random.default_rng(3)
    hard = rng.normal(0.6, 0.15, 400)
    stats = {name: (hard + rng.normal(0, 0.05, 400))[:, np.newaxis] for name in "abcd"}
    rows = pd.DataFrame({"id": [f"{n}" for n in range(400)], "fold": 0, "group": [f"{n // 2}" for n in range(400)]})
    scores = {name: SampleScores(tmp_path, MeanOfMaps(), rows, ("s",), own) for name, own in stats.items()}
    cv = {name: float(own.mean()) for name, own in stats.items()}
    told = [submitted(name, cv[name], cv[name] - 0.02 - 0.04 * (name == "c")) for name in "abcd"]
    told.append(submitted("elsewhere", 0.6, 0.59))
    page = public_page(
        told, {name: name for name in cv}, {}, scores, public_fraction=0.25, test_rows=400, cache=tmp_path
    )
    table = page.sections[1].table.rows
    assert [row[-1] for row in table] == ["as expected", "as expected", "behind the others", "as expected", None]
    draws = []  # a public part of 50 groups and 200 rows for cross-validation, drawn one by one
    sums = stats["a"].reshape(200, 2).sum(axis=1)
    for _ in range(4000):
        draws.append(sums[rng.integers(0, 200, 50)].mean() / 2 - sums[rng.integers(0, 200, 200)].mean() / 2)
    low, high = map(float, table[0][6].split(" to "))
    assert (low, high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.006)
    assert "within the" in page.facts[-1]
    assert public_page(told[:0], {}, {}, scores, public_fraction=0.25, test_rows=400, cache=tmp_path) is None


def test_public_scores_have_a_page(site):
    html = (site / "public.html").read_text()
    (row,) = Tables(html).tables[0][1:]
    assert (row[1], row[4]) == ("both", "0.2500")
    assert "a rank correlation needs 4" in html
    assert 'href="public.html"' in (site / "index.html").read_text()


def test_the_confusion_matrix_counts_every_pixel_once(filled, monkeypatch):
    folder, truth = filled
    table = next(one for one in Tables(page_of(folder / "site", "one")).tables if one[0][0] == "truth")
    pred = stored_bytes(folder, "one").argmax(axis=-1).ravel()
    expected = np.array([np.bincount(pred[own.ravel()], minlength=3) for own in np.moveaxis(truth, -1, 0)])
    shown = [[int(cell) for cell in row[1:5]] for row in table[1:4]]
    assert shown == np.column_stack([expected, expected.sum(axis=1)]).tolist()
    assert table[1][5] == f"{expected[0, 0] / expected[0].sum():.4f}"
    assert table[4][1] == f"{expected[0, 0] / expected[:, 0].sum():.4f}"
    monkeypatch.setattr("skyfold.postprocess.measure.confusion_counts", None)  # counted once
    build = ["leaderboard", "dome", "--no-images", "--root", str(folder), "--html", str(folder / "again")]
    assert main(build) == 0
    assert table in Tables(page_of(folder / "again", "one")).tables


def stored_bytes(folder, name):
    return np.round(np.load(folder / f"{name}.npy").astype(np.float64) * 255)


def dice_of(masks, truth):
    return 2 * (masks & truth).sum(axis=(1, 2)) / (masks.sum(axis=(1, 2)) + truth.sum(axis=(1, 2)))


def cross_fitted_scores(values, truth, fold):
    """Dice of every map, by the threshold that scores best in the other fold."""
    grid = threshold_grid(51)
    scores = np.stack([dice_of(values > threshold, truth) for threshold in grid])
    best = {held: scores[:, fold != held].mean(axis=1).argmax(axis=0) for held in (0, 1)}
    return np.array([[scores[best[fold[i]][k], i, k] for k in range(3)] for i in range(len(fold))])


@pytest.mark.parametrize("step", [1, 2])
def test_what_an_entry_adds_is_scored_without_the_fold_it_is_chosen_on(filled, monkeypatch, step):
    """Of large maps on every second pixel."""
    folder, truth = filled
    monkeypatch.setattr(next_blend, "LARGE", truth[0, ..., 0].size + 2 - step)
    pages = folder / f"step_{step}"
    assert main(["leaderboard", "dome", "--html", str(pages), "--no-images", "--root", str(folder)]) == 0
    html, truth = (pages / "correlation.html").read_text(), truth[:, ::step, ::step]
    table = next(one for one in Tables(html).tables if one[0][2:3] == ["gain"])
    best = re.search(r"What each adds to the best entry, (\w+)<", html)[1]
    fold = read_folds(folder / "oof" / "dome" / "folds.csv").fold
    own = stored_bytes(folder, best)[:, ::step, ::step]
    alone = cross_fitted_scores(own, truth, fold)
    assert len(table) == 3
    for name, _, gain, *_ in table[1:]:
        mean = np.rint((own + stored_bytes(folder, name)[:, ::step, ::step]) / 2)
        expected = (cross_fitted_scores(mean, truth, fold) - alone).mean()
        assert float(gain) == pytest.approx(expected, abs=1e-4)
    gains = {row[0]: float(row[2]) for row in table[1:]}
    assert max(gains, key=gains.get) == "other" or best == "other"


def test_classes_in_any_order_are_the_same_data(filled):
    entries = leaderboard("dome", Workspace(filled[0]))
    assert {entry.kind for entry in entries} == {"imported, folds not known"}  # none of them outdated


def test_the_next_blend_runs_and_is_made_of_what_is_stored(filled, monkeypatch, capsys):
    folder, _ = filled
    config = load_blend(folder / "site" / FILE)
    assert {run.name for run in config.runs} > {"other"}
    assert list(config.data.options["classes"]) == list(CODES)
    assert FILE in (folder / "site" / "correlation.html").read_text()
    monkeypatch.setattr(StoredMeans, "_computed", None)  # all is kept
    root = ["--root", str(folder)]
    assert main(["leaderboard", "dome", "--html", str(folder / "again"), "--no-images", *root]) == 0
    assert (folder / "again" / FILE).read_text() == (folder / "site" / FILE).read_text()
    assert main(["run", str(folder / "site" / FILE), *root]) == 0
    made = json.loads((folder / "oof/dome/next_blend/blend.json").read_text())
    assert [run["name"] for run in made["runs"]] == [run.name for run in config.runs]
    assert made["scores"]["gains"]["over_best_single"]["value"] > 0
    shutil.rmtree(folder / "oof/dome/next_blend")


def test_classes_that_may_overlap_have_no_confusion_matrix(site):
    assert "Confusion matrix" not in page_of(site, "both")


def test_the_worst_are_drawn_with_their_scores(project, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(mask_pictures, "draw_samples", lambda panels, **_: drawn.append(panels) or b"PNG")
    runs, root = project / "oof" / "tiny", ["--root", str(project)]
    rows = read_csv(runs / "both" / "rows.csv", text=("id", "group"), remedy="").set_index("id")
    plot = ["plot", str(project / "both.yaml"), "--worst", "3", *root]
    assert main(plot) == main([*plot, "--class", "Fish"]) == main([*plot, "--id", rows.index[5]]) == 0
    maps = rows.filter(regex="^cv_cross_fitted ")
    for panels, scores in ((drawn[0], maps.mean(axis=1)), (drawn[1], maps["cv_cross_fitted Fish"])):
        lowest = scores.sort_values(kind="stable")[:3]
        expected = [f"{name}: {score:.4f}" for name, score in lowest.items()]
        assert [one.caption.partition(" (")[0] for one in panels] == expected
    assert [one.truth.shape[-1] for one in (drawn[0][0], drawn[1][0])] == [4, 1]
    pictures = runs / "both" / "pictures"
    expected = ["worst.png", "worst_Fish.png", f"{Path(rows.index[5]).stem}.png", "worst.png"]
    assert capsys.readouterr().out.splitlines() == [f"written: {pictures / name}" for name in expected]
    shutil.rmtree(pictures)


def test_masks_of_pictures_leave_out_what_does_not_count(project):
    folder = project / "oof" / "tiny" / "lowest"
    store = RowStore.open(folder / "oof")
    valid = np.zeros((len(store), *store.values.shape[1:3]), dtype=bool)
    valid[:, 5:] = True
    mask = stored_masks(folder, store, None, valid)[0]
    assert mask[5:].any()
    np.testing.assert_array_equal(mask, (store[0] > 127) & valid[0][..., np.newaxis])


def test_a_run_is_drawn_by_itself_at_one_half(project):
    run = project / "oof" / "tiny" / "lowest"
    name = read_csv(run / "rows.csv", text=("id", "group"), remedy="")["id"][3]
    config = load_run(Path(f"{project / 'both.yaml'}#lowest"))
    (picture,) = mask_pictures.draw_mask_pictures(config, Workspace(project), ids=[name])
    assert picture == run / "pictures" / f"{Path(name).stem}.png"
    with Image.open(picture) as drawn:
        assert drawn.width > 4 * drawn.height / 2
    shutil.rmtree(picture.parent)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "000005.jpg"], "no scored sample '000005.jpg'"),
        (["--class", "Flsh"], "no class of 'both' (did you mean 'Fish'?)"),
        (["--worst", "0"], "--worst: give at least 1"),
        (["--forecast", "edge"], "both.yaml is no config of forecasts"),
    ],
)
def test_masks_that_cannot_be_drawn_are_refused(project, capsys, arguments, message):
    assert main(["plot", str(project / "both.yaml"), "--root", str(project), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_layers_of_a_thumbnail_show_classes_and_errors():
    masks = np.zeros((400, 640, 2), dtype=bool)
    masks[100:300, 100:300, 1] = True
    layer = np.asarray(Image.open(BytesIO(masks_webp(masks))))
    assert layer.shape == (200, 320, 4)
    assert (layer[100, 100, 3], layer[51, 51, 3], layer[10, 10, 3]) == (90, 255, 0)
    assert to_hex(layer[100, 100, :3] / 255) == COLOURS[1]
    truth = np.roll(masks, 100, axis=1)
    errors = np.asarray(Image.open(BytesIO(errors_webp(truth, masks, None))))
    colours = [to_hex(errors[100, column, :3] / 255) for column in (75, 125, 175)]
    assert colours == [ERRORS[name] for name in ("false positive", "hit", "false negative")]
    grey = np.linspace(0, 5000, 640, dtype=np.float32)[None, :, None].repeat(400, axis=0)
    assert Image.open(BytesIO(image_webp(grey))).size == (320, 200)


def test_charts_know_nothing_of_what_is_not_a_number():
    chart = line_chart([Line("a<b", [1, 2, 3], [0.5, float("nan"), 0.7])], x="epoch", y="loss")
    assert 'points="' in chart
    assert "nan" not in chart
    assert "a&lt;b" in chart
    assert line_chart([Line("a", [1], [float("nan")])], x="epoch", y="loss") == ""
    assert 'cx="60.0"' in interval_bar(0.5, 0.25, 0.75, (0.0, 1.0))
    assert 'class="beyond" cx="116"' in interval_bar(9, None, None, (0.0, 1.0))


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    if BROWSER is None:
        pytest.skip("no Chromium here (Debian: package chromium)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def tab(browser, request):
    """Opens pages; a message on the console fails the test."""
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    errors = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    page.close()
    assert errors == []


def names(tab):
    return tab.eval_on_selector_all("#board tbody tr:not([hidden]) th", "cells => cells.map(c => c.dataset.value)")


def fits_the_screen(tab):
    return tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_board_is_sorted_and_filtered(site, tab):
    tab.goto(f"file://{site}/index.html")
    assert fits_the_screen(tab)
    as_built = names(tab)
    assert set(as_built) == {"both", "bright", "lowest", "<i>begun</i>"}
    if tab.viewport_size["width"] > 1000:
        tab.get_by_role("button", name="entry", exact=True).click()
    else:
        tab.get_by_label("Sort by").select_option("entry")
    assert names(tab) == sorted(as_built, key=lambda name: name.strip("<i>"))
    tab.keyboard.press("/") if tab.viewport_size["width"] > 1000 else tab.locator("#filter").focus()
    tab.keyboard.type("blend")
    assert names(tab) == ["both"]
    assert tab.locator("#found").inner_text() == "1 of 4"


def test_two_entries_are_picked_and_compared(project, site, tab):
    tab.goto(f"file://{site}/index.html")
    for name in ("bright", "both", "lowest"):  # the third takes the place of another
        tab.get_by_label(f"compare {name}").check()
    assert tab.locator("#board .pick input:checked").count() == 2
    tab.locator("#compare").click()
    tab.wait_for_selector("#comparison table")
    assert fits_the_screen(tab)
    keys = tab.eval_on_selector_all("#pair select", "selects => selects.map(select => select.value)")
    runs = project / "oof" / "tiny"
    gain = pair_rows(runs / keys[0], runs / keys[1]).gain
    expected = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
    assert expected in tab.locator("#comparison").inner_text()
    tab.get_by_label("First").select_option("bright")
    tab.get_by_label("Second").select_option("lowest")
    tab.wait_for_function("location.hash === '#bright&lowest'")
    tab.wait_for_function("document.querySelector('#comparison td:nth-child(2)') !== null")
    shown = tab.locator("#comparison").inner_text()
    assert "model.options.feature" in shown
    assert 'role="img"' in tab.locator("#comparison").inner_html()


def test_a_page_of_a_pair_and_the_table_of_all_say_the_same(project, site):
    runs = project / "oof" / "tiny"
    rows = [line.split(",") for line in (site / "compare" / "pairs.csv").read_text().splitlines()[1:]]
    assert len(rows) == 3
    for first, second, *numbers in rows:
        gain = pair_rows(runs / first, runs / second).gain
        assert [float(number) for number in numbers] == [gain.value, gain.low, gain.high]
        html = (site / "compare" / f"{first}_vs_{second}.html").read_text()
        assert f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), paired" in html
        classes = as_dicts(Tables(html).tables[0])
        assert sum(float(row["difference"]) for row in classes.values()) / 4 == pytest.approx(gain.value, abs=1e-4)
        assert html.count("<i>truth</i>") == html.count(f"<i>{second}</i>") > 0


def test_correlation_is_that_of_the_scores_of_samples(project, site):
    runs, html = project / "oof" / "tiny", (site / "correlation.html").read_text()
    best, table = html.split("With the best entry, ")[1].split("<")[0], Tables(html).tables[0]
    scores = {
        name: read_csv(runs / name / "rows.csv", text=("id", "group"), remedy="").filter(regex="^cv_cross_fitted ")
        for name in ("both", "bright", "lowest")
    }
    for name, _, shown in table[1:]:
        expected = np.corrcoef(scores[best].mean(axis=1), scores[name].mean(axis=1))[0, 1]
        assert float(shown) == pytest.approx(expected, abs=1e-4)
    assert html.count("<rect") == 9


def test_forecasts_are_shown_by_year_and_lead_time(ice):
    site, sums = ice / "site", {name: read_sums(ice / "oof" / "ice" / name) for name in ("last_year", "persistence")}
    html = (site / "forecasts.html").read_text()
    rows = as_dicts(Tables(html).tables[0])
    for name, own in sums.items():
        shown = [row[name] for row in rows.values()]
        assert shown == [f"{value:.4f}" for value in own.metric.per_row(own.contest)]
    assert html.count('<figure class="chart">') == 3
    assert "lower is better" in (site / "index.html").read_text()
    pair = next(path for path in (site / "compare").glob("*_vs_*.html")).read_text()
    assert f"of {len(rows)} samples" in pair


def test_pictures_of_a_forecast_are_on_its_page(ice):
    html, drawn = page_of(ice / "site", "persistence"), ice / "oof" / "ice" / "persistence" / "pictures"
    for path in drawn.iterdir():
        copy = ice / "site" / "pictures" / "persistence" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert f'src="../pictures/persistence/{path.name}"' in html
    assert "pictures/" not in page_of(ice / "site", "last_year")
    shared = ice / "shared"
    assert main(["leaderboard", "ice", "--html", str(shared), "--no-images", "--root", str(ice)]) == 0
    assert not (shared / "pictures").exists()
    assert "<img" not in page_of(shared, "persistence")


def test_scripts_hold_nothing_that_ends_them():
    assert _script("samples", {"ids": ["</script>"]}).count("<") == 0


def test_the_board_is_read_without_javascript(site, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"file://{site}/index.html")
    assert page.locator("#board tbody tr").count() == 4
    assert not page.locator("#filter").is_visible()
    page.close()
