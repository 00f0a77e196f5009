"""The modality gap against plain loops and closed forms."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread

from recbole_sibrar.cli import main
from recbole_sibrar.errors import DataError
from recbole_sibrar.evaluation.gap import modality_prediction, pair_measures, sample_entities, summary, tsne_points
from recbole_sibrar.recbole_plugin.run import run
from recbole_sibrar.report.figures import inline_svg, tsne_panels

NAMES = ["plot", "poster", "year"]


def made_up(n=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    available = torch.rand(n, 3, generator=generator) > 0.3
    embeddings = torch.randn(n, 3, 5, generator=generator)
    embeddings[~available] = torch.nan  # never read
    return embeddings, available


def test_measures_equal_plain_loops():
    embeddings, available = made_up()
    table = pair_measures(embeddings, available, NAMES).set_index(["first", "second"])
    for a, first in enumerate(NAMES):
        for b in range(a, 3):
            values = {"intra": ([], []), "inter": ([], [])}
            for i in range(30):
                for j in range(30):
                    if available[i, a] and available[j, b]:
                        x, y = embeddings[i, a].double(), embeddings[j, b].double()
                        cosines, distances = values["intra" if i == j else "inter"]
                        cosines.append(float(torch.cosine_similarity(x, y, dim=0)))
                        distances.append(float((x - y).norm()))
            row = table.loc[first, NAMES[b]]
            for kind, (cosines, distances) in values.items():
                assert row[f"{kind}_cosine"] == pytest.approx(np.mean(cosines), abs=1e-9)
                assert row[f"{kind}_distance"] == pytest.approx(np.mean(distances), abs=1e-9)
            assert row["n_entities"] == len(values["intra"][0])
    centroids = [embeddings[available[:, m], m].double().mean(0) for m in (0, 2)]
    assert table.loc["plot", "year"]["centroid_distance"] == pytest.approx(float((centroids[0] - centroids[1]).norm()))


def test_identical_modalities_have_no_gap():
    one = torch.randn(200, 1, 4, generator=torch.Generator().manual_seed(1))
    embeddings, available = one.expand(200, 3, 4), torch.ones(200, 3, dtype=torch.bool)
    found = summary(pair_measures(embeddings, available, NAMES))
    assert found["intra_cosine"] == pytest.approx(1) and found["intra_distance"] == pytest.approx(0, abs=1e-9)
    assert found["centroid_distance"] == pytest.approx(0, abs=1e-9)
    prediction = modality_prediction(embeddings, available, seed=0)
    assert prediction.chance == pytest.approx(1 / 3) and abs(prediction.accuracy - 1 / 3) < 0.08


def test_modalities_apart_are_told_apart():
    embeddings = torch.randn(60, 2, 4, generator=torch.Generator().manual_seed(2)) + torch.tensor([[[0.0], [50.0]]])
    prediction = modality_prediction(embeddings, torch.ones(60, 2, dtype=torch.bool), seed=0)
    assert prediction.accuracy == 1 and prediction.chance == 0.5


@pytest.mark.parametrize(("n", "n_modalities"), [(3, 2), (0, 0)])
def test_too_few_entities_are_refused(n, n_modalities):
    with pytest.raises(DataError, match=f"the rarest with {n} entities"):
        modality_prediction(torch.randn(n, n_modalities, 4), torch.ones(n, n_modalities, dtype=torch.bool), seed=0)


def test_the_same_seed_draws_the_same():
    embeddings, available = made_up(100)
    chosen = sample_entities(available, 20, seed=3)
    assert torch.equal(chosen, sample_entities(available, 20, seed=3)) and len(chosen) == 20
    assert (available[chosen].sum(1) >= 2).all()
    first, second = (tsne_points(embeddings[chosen], available[chosen], seed=0) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_the_command(tiny, capsys):
    runs = [
        run(model, "tiny", None, tiny.options(scenario="item_cold", variant="SC")) for model in ("SiBraR", "MuBraR")
    ]
    assert main(["gap", *(f"results/{result.name}" for result in runs), "--output", "out"]) == 0
    assert "prediction_accuracy" in capsys.readouterr().out
    table = pd.read_csv("out/gap.csv")
    assert table["model"].tolist() == ["SiBraR_SC-paper", "MuBraR_SC-paper"] and (table["chance"] == 0.25).all()
    assert table[["intra_cosine", "inter_cosine"]].abs().max().max() <= 1
    first = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    assert set(first) == {"data.json", "gap.csv", "pairs.csv", "gap.md", "tsne.csv", "tsne.pdf", "tsne.png", "tsne.svg"}
    assert main(["gap", *(f"results/{result.name}" for result in runs), "--output", "out"]) == 0
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == first


def test_a_modality_that_very_few_have_is_left_out_by_name(tiny):
    rows = [f"i{item}\tgroup{item % 2}\t{1990 if item < 4 else ''}" for item in range(1, tiny.n_items + 1)]
    tiny.file("item", "item_id:token\tgenres:token_seq\tyear:float", rows)
    result = run("SiBraR", "tiny", None, tiny.options(scenario="item_cold"))
    with pytest.warns(UserWarning, match="year left out, which fewer than 5 of the items have"):
        assert main(["gap", f"results/{result.name}", "--output", "out"]) == 0
    assert set(pd.read_csv("out/pairs.csv")["first"]) == {"interactions", "genres", "picture"}


def test_a_picture_of_very_many_modalities_names_the_first_of_them(recwarn):
    rng = np.random.default_rng(0)
    points = pd.DataFrame({"entity": 0, "modality": range(200), "x": rng.random(200), "y": rng.random(200)})
    svg = inline_svg(tsne_panels({"A": points}, {"A": [f"m{place}" for place in range(200)]}), "points")
    assert "m21" in svg and "m22" not in svg and "… and 178 others" in svg
    assert not recwarn, "there is room for the points"


def test_every_point_is_drawn_in_pictures_and_in_pages():
    rng = np.random.default_rng(0)
    points = pd.DataFrame({"entity": range(50), "modality": 0, "x": rng.random(50), "y": rng.random(50)})
    figure = tsne_panels({"A": points}, {"A": ["plot"]}, linked=0)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=200)
    picture.seek(0)
    pixels = imread(picture)[..., :3]
    assert (np.ptp(pixels, axis=2) > 0.2).sum() > 200, "blue dots on white"
    svg = inline_svg(figure, "points")
    assert svg.count("h0") == 50 and "var(--c0)" in svg and "#0072b2" not in svg.lower()
