"""What level 2 makes of stored maps for ``avoids``: the mass in a border or a box; masks need the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.records import sample_record
from pytest_saliency.evidence.level2 import SCORED, _of_masks, check_maps
from tests.measure.oracle import enlarge

SIZE = (20, 30)


def record(region: Any, maps: np.ndarray, status: list[str]) -> dict[str, Any]:
    n = len(maps)
    return {
        **sample_record("avoids", "PASS"),
        "criterion": {**sample_record("avoids", "PASS")["criterion"], "region": region},
        "per_image": {"id": [str(i) for i in range(n)], "status": status},
        "inputs": {"size": list(SIZE), "warnings": []},
    }


@pytest.mark.parametrize(
    ("region", "rows", "columns"),
    [
        ({"border": 0.1}, None, None),
        ({"box": [0.1, 0.25, 0.5, 0.75]}, slice(5, 15), slice(3, 15)),
        ({"box": [0, 0, 1, 0.5]}, slice(0, 10), slice(0, 30)),
    ],
)
def test_mass_follows_from_the_maps(region: Any, rows: slice | None, columns: slice | None) -> None:
    maps = np.random.Generator(np.random.PCG64(4)).normal(size=(5, 4, 5)).astype(np.float32)
    maps[3] = -1.0
    status = ["ok", "ok", "ok", "blank", "ok"]
    made = SCORED["avoids"](record(region, maps, status), {"map": maps})
    inside = np.zeros(SIZE)
    if rows is None:
        inside[:] = 1.0
        inside[2:-2, 3:-3] = 0.0
    else:
        inside[rows, columns] = 1.0
    expected = []
    for one, word in zip(maps, status, strict=True):
        large = enlarge(one.astype(np.float64), SIZE)
        expected.append((large * inside).sum() / large.sum() if word == "ok" else np.nan)
    assert set(made) == {"mass_inside"}
    np.testing.assert_allclose(made["mass_inside"], expected, rtol=1e-5)


def test_masks_are_left_to_the_model_and_the_images() -> None:
    maps = np.ones((2, 3, 3), dtype=np.float32)
    assert _of_masks(record("masks", maps, ["ok", "ok"]))
    assert not _of_masks(record({"border": 0.1}, maps, ["ok", "ok"]))


def test_checks_without_maps_are_named_where_maps_were_kept_and_the_option_where_none_were(tmp_path: Path) -> None:
    kept = {**record("masks", np.ones((2, 3, 3), dtype=np.float32), ["ok", "ok"]), "maps": {"path": "maps/a"}}
    bare = {**sample_record("faithful", "PASS"), "maps": None}
    (said,) = [one for one in check_maps(tmp_path, {"records": [kept, bare]}).skipped if one.startswith("level 2")]
    assert said == f"level 2 for {bare['node']}: of these the bundle has no maps"
    (said,) = check_maps(tmp_path, {"records": [bare, {**bare, "node": "b"}]}).skipped
    assert said == "level 2 for 2 checks: the bundle has no maps (--saliency-bundle-maps keeps them)"
