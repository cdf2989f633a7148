"""Contracts that are wrong in one way each, with the sentence and the line that a user must be shown.

In a sentence, " ... " stands for any text. The line is the one of the contract that holds ``at``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CLEAN = '{python: "toy:build", layer: features}'
GIVEN = '{python: "toy:cases"}'
SENSITIVE = "{id: check, kind: class_sensitive, method: gradcam}"
CASE = "{id: check, kind: class_sensitive, method: case, keep: all}"
FAITHFUL = "{id: check, kind: faithful, method: gradcam, top_k: 0.06, min_advantage: 0.0, keep: all}"
DRIFT = "{id: check, kind: no_semantic_drift, before: net, after: two, method: gradcam, max_iou_drop: 0.4, keep: all}"
MODEL_LINE, CASES_LINE, CHECK_LINE = "  net:", "cases:", "  - "


@dataclass(frozen=True)
class Bad:
    """A contract, the sentence that says what is wrong with it, and where it points."""

    sentence: str
    text: str
    at: str
    verdict: str = "ERROR"

    @property
    def line(self) -> int:
        """The line of the contract that the message must name."""
        rows = self.text.splitlines()
        return next(number for number, row in enumerate(rows, start=1) if row.startswith(self.at))

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the first line of the failure must begin with."""
        return re.compile("check: " + ".*".join(re.escape(part) for part in self.sentence.split(" ... ")))


def contract(model: str = CLEAN, cases: str = GIVEN, check: str = SENSITIVE, name: str = "bad") -> str:
    """Return a contract of one model twice, some cases and one check."""
    return (
        f"saliency: 1\ncontract: {name}\nmodels:\n  net: {model}\n  two: {model}\n"
        f"cases: {cases}\ndefaults: {{model: net}}\nchecks:\n  - {check}\n"
    )


def net(way: str, rest: str = "layer: features") -> str:
    return f'{{python: "wrong:net", args: {{way: {way}}}, {rest}}}'


def small(rows: str) -> str:
    return f'{{python: "wrong:small", args: {{rows: {rows}}}, layer: features}}'


def toy(rest: str) -> str:
    return f'{{python: "toy:build", {rest}}}'


def given(way: str) -> str:
    return f'{{python: "wrong:cases", args: {{way: {way}}}}}'


def model(sentence: str, declared: str, at: str = MODEL_LINE, cases: str = GIVEN) -> Bad:
    return Bad(sentence, contract(model=declared, cases=cases), at)


def cases(sentence: str, declared: str, at: str = CASES_LINE) -> Bad:
    return Bad(sentence, contract(cases=declared), at)


def check(sentence: str, made: str, verdict: str = "ERROR") -> Bad:
    return Bad(sentence, made, CHECK_LINE, verdict)


NEGATIVE = "[[-9.0, -1.0, -1.0], [-1.0, -9.0, -1.0], [-1.0, -1.0, -9.0]]"
ZERO = "[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]"
ONE_LOGIT, TIED = "[[9.0, -9.0, 0.0]]", "[[9.0, -9.0, 0.0], [-9.0, 9.0, 0.0]]"
CONFUSION = "layer: features, contrast: {select: confusion, cases: {python: 'wrong:cases', args: {way: WAY}}}"
FEW = '{python: "toy:cases", args: {n: 3}}'
WEIGHTS = "weights of model 'net'"
NO_MAPS = "blank, flat or not finite: check the weights, or choose another layer or method"
UNDEFINED = "not demonstrated: 100 % of the images are undefined ... "

MODELS = {
    "missing weights": model(
        f"{WEIGHTS} are missing: there is no file ... gone.pt; its folder holds ... Put", toy("weights: gone.pt")
    ),
    "folder as weights": model(f"{WEIGHTS} are missing: there is no file ... good. Put", toy("weights: good")),
    "pickled weights": model(f"{WEIGHTS} are refused ... pickled.pt is a pickle ... Save", toy("weights: pickled.pt")),
    "other net's weights": model(
        f"{WEIGHTS} belong to another architecture ... other.pt, 3 missing (features.weight, ... 2 unexpected (bias, "
        "weight). Check the architecture",
        toy("weights: other.pt"),
    ),
    "five classes": model(
        f"{WEIGHTS} belong to ... of another shape (head.weight 5x3 instead of 3x3)", toy("weights: five.safetensors")
    ),
    "text as weights": model(f"{WEIGHTS} ... text.pt (5 bytes) is neither ... Fetch it", toy("weights: text.pt")),
    "text as safetensors": model(f"{WEIGHTS} ... (5 bytes) is not a readable", toy("weights: text.safetensors")),
    "no state dict": model(
        f"{WEIGHTS} ... does not hold a state dict ... the keys epoch. Save", toy("weights: epoch.pt")
    ),
    "declared digest": model(
        f"{WEIGHTS} are not the declared ones ... says abab ... Put the", toy(f"weights: w.pt, sha256: {'ab' * 32}")
    ),
    "no such layer": model(
        "model 'net' has no layer 'featurs'. Did you mean 'features'? Layers that have one: features (",
        toy("layer: featurs"),
    ),
    "layer without a grid": model("layer 'head' of model 'net' has no spatial grid ... features (", toy("layer: head")),
    "one channel": model(
        "model 'net', given 2 images of shape (1, 16, 16), raised RuntimeError at toy.py: ... Check that preprocess",
        toy("layer: features, preprocess: {channels: 1}"),
    ),
    "channels that differ": model(
        "preprocess has 3 means, but the images have 1 channels; set 'channels'",
        toy("layer: features, preprocess: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}"),
        cases=given("grey"),
    ),
    "crop": model("preprocess crops (99, 99), but image 'case-0000' is", toy("preprocess: {center_crop: 99}")),
    "no module": model("python: toys:build: there is no module 'toys' in ... check", '{python: "toys:build"}'),
    "no attribute": model("python: toy:biuld: ... did you mean 'build'?", '{python: "toy:biuld"}'),
    "no function": model("python: wrong:number is of type int; it must be a function", '{python: "wrong:number"}'),
    "code that raises": model(
        "python: wrong:raises raised ValueError at wrong.py: ... no model of that name. Mend it there",
        '{python: "wrong:raises"}',
    ),
    "args that do not fit": model(
        "python: toy:build cannot be called with args {'chaet': True} ... change 'args'", toy("args: {chaet: true}")
    ),
    "import that raises": model(
        "python: broken_one:build: importing 'broken_one' raised ZeroDivisionError at broken_one.py:1: division by",
        '{python: "broken_one:build"}',
    ),
    "syntax error": model(
        "python: broken_two:build: importing 'broken_two' raised SyntaxError at broken_two.py:2",
        '{python: "broken_two:build"}',
    ),
    "its import is not there": model(
        "python: broken_three:build: importing 'broken_three' raised ModuleNotFoundError at broken_three.py:1: No"
        " module named 'not_there_at_all'",
        '{python: "broken_three:build"}',
    ),
    "no module of torch": model(
        "model 'net': python wrong:state gave a OrderedDict; a torch", '{python: "wrong:state"}'
    ),
    "no fixture": model("the contract names the fixture 'absent', which no conftest.py", "{fixture: absent}"),
    "fixture of another type": model("model 'net': fixture text gave a str; a torch", "{fixture: text}"),
    "a dict without logits": model(
        "the output of model 'net' is a mapping with the keys scores, aux; say", net("dict")
    ),
    "no such output": model("output='logit' does not fit model 'net'", net("dict", "output: logit, layer: features")),
    "None": model("the output of model 'net' is None; say where", net("none")),
    "no score an image": model("the logits of model 'net' have shape () and type", net("scalar")),
    "no class of that name": Bad(
        "contrast: there is no class 'gren'; did you mean 'green'? The cases' classes are: red",
        contract(toy("layer: features, contrast: {select: explicit, classes: {red: [gren]}}"), check=CASE),
        MODEL_LINE,
    ),
}

RUNS = {
    "model that raises": check(
        "model 'net', given 32 images of shape (3, 16, 16), raised RuntimeError at wrong.py: ... the table is not"
        " there. Check",
        contract(net("raise")),
    ),
    "detached": check("no gradient reaches layer 'features' of model 'net' ... Choose", contract(net("detached"))),
    "NaN logits": check("model 'net' returns NaN ... 1 of 32 images in a batch ('case-0017')", contract(net("nan"))),
    "NaN weights": check("model 'net' returns NaN ... 'case-0000'", contract(toy("layer: features, weights: nan.pt"))),
    "corrupt image": check(
        "image 'b/3.png' cannot be read ( ... Repair or remove", contract(cases="{imagefolder: broken}")
    ),
    "image cut short": check(
        "image 'b/3.jpg' cannot be read ( ... Repair or remove", contract(cases="{imagefolder: cut}")
    ),
    "sizes that differ": check(
        "images have different sizes: 'a/0.png' is 3x16x16, 'a/4.png' is 3x16x17. Give",
        contract(cases="{imagefolder: mixed}"),
    ),
    "missing image file": check(
        "image 'good/c/99.png' is missing: there is no file ... Put it there", contract(cases="{csv: missing.csv}")
    ),
    "dataset that raises": check(
        "image 'case-0004' cannot be read: the dataset, asked for item 4, raised OSError at wrong.py: ... . Repair",
        contract(cases=given("dataset")),
    ),
    "label beyond": check(
        "case 'case-0005' has label 9, but model 'net' has 3 classes (0 .. 2). Correct", contract(cases=given("beyond"))
    ),
    "one class": check(
        "all 60 cases of ... have one class, 'green' ... Give cases of at least two", contract(cases=given("one class"))
    ),
    "one case": check("the case of ... has one class, 'red'", contract(cases='{python: "toy:cases", args: {n: 1}}')),
    "no prediction is right": check(
        "there is no image to decide on: 'keep' leaves none of the 60 cases ... (not correct). Check",
        contract(small(NEGATIVE)),
    ),
    "blank maps: class_sensitive": check(
        f"{UNDEFINED}{NO_MAPS}",
        contract(small(NEGATIVE), check=CASE.replace("method: case", "method: gradcam")),
        "INCONCLUSIVE",
    ),
    "blank maps: faithful": check(
        f"not demonstrated: more than 5 % of the images are undefined ... {NO_MAPS}",
        contract(small(NEGATIVE), check=FAITHFUL),
        "INCONCLUSIVE",
    ),
    "blank maps: no_semantic_drift": check(
        f"{UNDEFINED}{NO_MAPS}", contract(small(NEGATIVE), check=DRIFT), "INCONCLUSIVE"
    ),
    "untrained head": check(
        "the scores of model 'net' do not change with layer 'features' on any of the 60 images ... weights are trained",
        contract(small(ZERO)),
    ),
    "one-logit CASE": check(
        "method case[logits:1] is degenerate on all 60 images ... use another method",
        contract(small(ONE_LOGIT), given("two"), CASE),
    ),
    "tied rows": check(
        "method case[logits:1] is degenerate on all 60 images ... use another method",
        contract(small(TIED), given("two"), CASE),
    ),
    "cases not held out": check(
        "contrast 'confusion' counts on cases of which 30 are also under test (for one, 'case-0000'); hold",
        contract(toy(CONFUSION.replace("WAY", "half")), check=CASE),
    ),
    "held-out class missing": check(
        "contrast 'confusion': the held-out cases have no image of class 1; add",
        contract(toy(CONFUSION.replace("WAY", "other")), check=CASE),
    ),
    "few: class_sensitive": check(
        "class_sensitive could not PASS with 3 images ... it needs 5; add", contract(cases=FEW)
    ),
    "few: faithful": check(
        "faithful has no two images ... it needs 5 of one class", contract(cases=FEW, check=FAITHFUL)
    ),
    "few: no_semantic_drift": check(
        "no_semantic_drift could not PASS with its 3 images ... needs 8, there are 3; add",
        contract(cases=FEW, check=DRIFT),
    ),
}

CASES = {
    "no cases": cases("there are no cases in ... Give images", given("none")),
    "no folder": cases("image folder ... gone does not exist", "{imagefolder: gone}"),
    "no class folders": cases("image folder ... bare has no class folders", "{imagefolder: bare}"),
    "no images": cases("image folder ... empty holds no image (", "{imagefolder: empty}"),
    "stray folder": cases(
        "image folder ... has a class folder 'c' that 'classes' does not", "{imagefolder: good, classes: [a, b]}"
    ),
    "sample": cases("sample asks for 600 cases, but ... has 60; ask", '{python: "toy:cases", sample: {n: 600}}'),
    "negative label": cases("case 'case-0005' has label -1; labels count from 0", given("negative")),
    "names as labels": cases(
        "labels of ... whole numbers from 0 ... of case 'case-0000', is 'red'; give", given("names")
    ),
    "used twice": cases("case id 'case-0003' is used twice in", given("duplicate")),
    "masks": cases(" ... has 60 ids but 59 masks; give one each", given("masks")),
    "NaN pixels": cases("image 'case-0004' holds NaN or infinite pixels. Repair", given("nan")),
    "bright pixels": cases("image 'case-0000' has pixels from 0 to 2 ... give them in [0, 1]", given("bright")),
    "no Cases": cases("cases from python wrong:cases are a ndarray; Cases are needed", given("arrays")),
    "code that raises": cases("python: wrong:raises raised ValueError at wrong.py:", '{python: "wrong:raises"}'),
    "no fixture": cases("the contract names the fixture 'absent', which no conftest.py", "{fixture: absent}"),
    "other classes": cases(
        "cases from python toy:cases have the classes red, green, blue, but", GIVEN[:-1] + ", classes: [a, b]}"
    ),
    "npz without labels": cases(" ... nolabels.npz has no array 'labels'; it has images. Save", "{npz: nolabels.npz}"),
    "npz of objects": cases("cases in ... array 'labels' holds Python objects. Save", "{npz: objects.npz}"),
    "npz with few labels": cases("short.npz has 12 ids but 5 labels; give one each", "{npz: short.npz}"),
    "npz that is text": cases(" ... text.npz is no .npz file; numpy.savez", "{npz: text.npz}"),
    "npz that is npy": cases(" ... one.npz is no .npz file; numpy.savez", "{npz: one.npz}"),
    "npz cut short": cases(" ... cut.npz is no .npz file; numpy.savez", "{npz: cut.npz}"),
    "no npz": cases("cases are missing: there is no file ... gone.npz; check", "{npz: gone.npz}"),
    "csv without column": cases(
        " ... noimage.csv has no column 'image'; it has path, label. Map", "{csv: noimage.csv}"
    ),
    "csv with mixed labels": cases(
        " ... mixed.csv:3: label '1' is a number, but other labels are names", "{csv: mixed.csv}"
    ),
    "csv in Latin-1": cases("cases in ... latin.csv cannot be read: it is not UTF-8", "{csv: latin.csv}"),
    "no csv": cases("cases in ... gone.csv cannot be read: No such file or directory", "{csv: gone.csv}"),
}

BOMB = "saliency: 1\na: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 10)}]\n" for before, one in ("ab", "bc", "cd", "de", "ef")
)

REFUSED = {
    "unknown key": (
        contract(check=SENSITIVE.replace("method", "methode")), 9, "unknown key 'methode' ... did you mean 'method'?"
    ),
    "wrong type": (
        contract(check=SENSITIVE[:-1] + ", top_k: '0,6'}"), 9, "'top_k' must be a number; got the text '0,6'"
    ),
    "duplicate key": (
        contract(check=SENSITIVE[:-1] + ", method: case}"), 9, "key 'method' is used twice (first at line 9)"
    ),
    "duplicate id": (contract() + f"  - {SENSITIVE}\n", 10, "check id 'check' is used twice (first at line 9)"),
    "YAML bomb": (BOMB, 2, "aliases blow this file up to more than"),
    "empty": ("", 1, "this file is empty; a contract starts with 'saliency: 1'"),
    "no checks": (contract().split("checks:")[0] + "checks: []\n", 8, "'checks' is empty, so nothing would be checked"),
    "confusion without cases": (
        contract(check=CASE).replace("features}", "features, contrast: {select: confusion}}", 1),
        4,
        "'contrast': 'select: confusion' needs held-out 'cases'",
    ),
}  # fmt: skip
