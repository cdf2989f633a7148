"""The paper's tables from the records of a run: ours, the published numbers under them, and the difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from case_paper.grid import NONE, decimal, grid, p_text
from case_paper.published import (
    CHANNELS,
    METHODS,
    MODELS,
    TABLE_ONE,
    TABLE_THREE,
    TABLE_TWO,
    Cells,
    rejects,
)
from case_paper.records import Activity, Agreement, Drop, Key, Record, Seeds, found

ALPHA = 0.05


def all_tables(records: Sequence[Record]) -> str:
    """Return every table that the records have numbers for, each under its title."""
    made = [
        (
            "Table I: p of the Wilcoxon test that maps for top-1 and top-2 agree in less than half of their top region",
            sensitivity(records, "table-1", TABLE_ONE),
        ),
        ("Table II: the same, read at the last normalisation", sensitivity(records, "table-2", TABLE_TWO)),
        ("Table III: drop of the softmax score when the top region is removed; p against CASE", faithfulness(records)),
        ("CASE against each baseline by our rule: difference of the drops in log-odds", against(records)),
        ("Figure 4: mean agreement over training seeds", seeds(records)),
        ("Section V-B: active channels", channels(records)),
    ]
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in made if text)


def sensitivity(records: Sequence[Record], table: str, published: Cells) -> str:
    """Return Table I or II: for each method our p, the paper's, whether they decide alike, and our verdict."""
    mine = {key: Agreement.of(record) for key, record in found(records, f"{table}-published").items()}
    ours = {key: Agreement.of(record) for key, record in found(records, f"{table}-ours").items()}
    models = in_order(model for model, _ in (*mine, *ours))
    rows = []
    for method, title in METHODS.items():
        keys = [(model, method) for model in models]
        if not any(key in mine or key in ours for key in keys):
            continue
        rows.append([title, "p", *(_p(mine.get(key)) for key in keys)])
        if any(key in published for key in keys):
            rows.append(["", "paper", *(published.get(key, NONE).replace("<", "< ") for key in keys)])
            rows.append(["", "decided", *(_alike(mine.get(key), published.get(key)) for key in keys)])
        rows.append(["", "median agreement", *(_median(mine.get(key)) for key in keys)])
        rows.append(["", "our rule", *(ours[key].verdict if key in ours else NONE for key in keys)])
    return grid(["Method", "", *(MODELS.get(model, model) for model in models)], rows) if rows else ""


def _p(one: Agreement | None) -> str:
    if one is None:
        return NONE
    return one.verdict if one.p is None else p_text(one.p)


def _median(one: Agreement | None) -> str:
    if one is None or one.median is None:
        return NONE
    return f"{one.median:.2f}, n {one.n}" + (f" of {one.kept}" if one.n < one.kept else "")


def _alike(mine: Agreement | None, printed: str | None) -> str:
    if mine is None or mine.p is None or printed is None:
        return NONE
    here, there = mine.p < ALPHA, rejects(printed, ALPHA)
    return "alike" if here == there else f"{'ours' if here else 'paper'} rejects only"


def faithfulness(records: Sequence[Record]) -> str:
    """Return Table III: mean, standard deviation and p for each model, the paper's under them, and the difference.

    The highest mean of a model has a star.
    """
    kept = found(records, "table-3")
    mine = {key: Drop.of(record, kept.get((key[0], "case"))) for key, record in kept.items()}
    models = in_order(model for model, _ in mine)
    best = {
        model: max((one.mean for key, one in mine.items() if key[0] == model and one.mean is not None), default=None)
        for model in models
    }
    rows = []
    for method, title in METHODS.items():
        keys = [(model, method) for model in models]
        if not any(key in mine for key in keys):
            continue
        rows.append([title, "ours", *(cell for key in keys for cell in _drop(mine.get(key), best[key[0]]))])
        if any(key in TABLE_THREE for key in keys):
            rows.append(["", "paper", *(cell for key in keys for cell in _printed(key))])
            rows.append(["", "difference", *(cell for key in keys for cell in _apart(mine.get(key), key))])
        rows.append(["", "our rule", *(cell for key in keys for cell in (_verdict(mine.get(key)), "", ""))])
    if not rows:
        return ""
    columns = [cell for model in models for cell in (f"{MODELS.get(model, model)} Mean", "SD", "p")]
    counted = ", ".join(f"{MODELS.get(model, model)} {_range(mine, model)}" for model in models)
    return f"{grid(['Method', '', *columns], rows)}\n\nImages with a map: {counted}. * highest mean of the model."


def _drop(one: Drop | None, best: float | None) -> tuple[str, str, str]:
    if one is None:
        return NONE, NONE, NONE
    if one.mean is None:
        return one.verdict, NONE, NONE
    return decimal(one.mean) + ("*" if one.mean == best else ""), decimal(one.sd), p_text(one.p)


def _printed(key: Key) -> tuple[str, str, str]:
    mean, sd, p = TABLE_THREE.get(key, (NONE, NONE, NONE))
    return mean, sd, p.replace("<", "< ") or NONE


def _apart(one: Drop | None, key: Key) -> tuple[str, str, str]:
    if one is None or one.mean is None or one.sd is None or key not in TABLE_THREE:
        return NONE, NONE, NONE
    mean, sd, p = TABLE_THREE[key]
    alike = NONE
    if p and one.p is not None:
        alike = "alike" if (one.p < ALPHA) == rejects(p, ALPHA) else "differs"
    return decimal(one.mean - float(mean), signed=True), decimal(one.sd - float(sd), signed=True), alike


def _verdict(one: Drop | None) -> str:
    return NONE if one is None else one.verdict


def _range(mine: Mapping[Key, Drop], model: str) -> str:
    counts = [one.n for key, one in mine.items() if key[0] == model]
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def against(records: Sequence[Record]) -> str:
    """Return, for each baseline and model, by how much removing CASE's region costs more, with its bounds; our rule."""
    kept = {model: record for (model, _), record in found(records, "table-3-against-case").items()}
    models = in_order(kept)
    rows = []
    for method, title in METHODS.items():
        cells = [_against(kept[model], method) for model in models]
        if any(cell != NONE for cell in cells):
            rows.append([title, *cells])
    rows.append(["all of them", *(kept[model]["verdict"] for model in models)])
    return grid(["CASE against", *(MODELS.get(model, model) for model in models)], rows) if models else ""


def _against(record: Record, method: str) -> str:
    measures = (record.get("decision") or {}).get("measures") or {}
    for name, measure in measures.items():
        if name.startswith(f"against[{method},"):
            low, high = measure["interval"]["low"], measure["interval"]["high"]
            return f"{_signed(measure['estimate'])} ({_signed(low)} .. {_signed(high)})"
    return NONE


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.3f}"


def seeds(records: Sequence[Record]) -> str:
    """Return Figure 4 in numbers: the mean agreement for each training, in how many the published test rejects."""
    mine = {method: Seeds.of(record) for (_, method), record in found(records, "seeds-published").items()}
    ours = {method: record["verdict"] for (_, method), record in found(records, "seeds-ours").items()}
    names = list(dict.fromkeys(name for one in mine.values() for name in one.means))
    rows = []
    for method, title in METHODS.items():
        if method not in mine:
            continue
        one = mine[method]
        rejected = sum(p is not None and p < ALPHA for p in one.p.values())
        shown = f"{rejected} of {len(one.p)}" if one.p else one.verdict
        rows.append([title, *(decimal(one.means.get(name)) for name in names), shown, ours.get(method, NONE)])
    return grid(["Method", *names, "p < .05 in", "our rule"], rows) if rows else ""


def channels(records: Sequence[Record]) -> str:
    """Return the active channels of each layer: mean over classes, share of all, and the paper's words."""
    checks = dict.fromkeys(str(record["check"]) for record in records)
    mine = {
        model: Activity.of(record)
        for check in checks
        if check.partition("-")[0] == "channels"
        for (model, _), record in found(records, check).items()
    }
    rows = []
    for model in in_order(mine):
        one = mine[model]
        if one.count is None:
            rows.append(
                [MODELS.get(model, model), one.layer or one.verdict, NONE, NONE, NONE, CHANNELS.get(model, NONE)]
            )
            continue
        share = f"{one.count / one.channels:.0%}"
        counted = [f"{one.count:.1f}", str(one.channels), share, CHANNELS.get(model, NONE)]
        rows.append([MODELS.get(model, model), one.layer, *counted])
    header = ["Model", "layer", "active channels", "of", "share", "paper"]
    return grid(header, rows) if rows else ""


def in_order(models: Iterable[str]) -> list[str]:
    """Return each model once: those of the paper in its order, then others as they come."""
    seen = list(dict.fromkeys(models))
    return [model for model in MODELS if model in seen] + [model for model in seen if model not in MODELS]
