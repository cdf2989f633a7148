"""The sections of a contract file as pydantic models: what may be written, and what is taken where nothing is.

The JSON Schema is generated from these models and from the parameters of the check kinds. Nothing here touches a
file, imports the user's code or needs torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    WrapValidator,
    model_validator,
)

from pytest_saliency.checks.parameters import Level, Share
from pytest_saliency.contracts.fields import (
    Attribute,
    Cells,
    ClassRef,
    Day,
    Identifier,
    LocalPath,
    ModelName,
    Positive,
    Sha256,
    Sizes,
    Slug,
    Text,
    TimmName,
    else_says,
    format_one,
    unique,
)
from pytest_saliency.contracts.loader import shown
from pytest_saliency.contracts.problems import got, says

MODEL_SOURCES = ("torchvision", "timm", "huggingface", "exported", "python", "fixture")
CASES_SOURCES = ("imagefolder", "npz", "csv", "huggingface", "fixture", "python")
OF_FILES = ("imagefolder", "csv", "huggingface")
"""Sources of cases whose images are files, or contents of files."""
SHIPPING = ("torchvision", "timm")
"""Sources whose package ships weights under names."""
SHIPPED = "weights"
"""The word for the preprocessing that ships with a model's weights."""


class Spec(BaseModel):
    """What all sections share: nothing unknown, nothing converted, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Preprocess(Spec):
    """What a model wants done to pixels in [0, 1]: channels, resize, centre crop, then normalisation."""

    resize: Sizes | None = Field(default=None, description="shorter side, or [height, width], in pixels")
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = Field(
        default=None, description="how 'resize' finds values between pixels; bilinear where nothing is said"
    )
    center_crop: Sizes | None = Field(default=None, description="side, or [height, width], in pixels")
    mean: Annotated[tuple[float, ...], Field(min_length=1)] | None = Field(
        default=None, description="subtracted, one a channel"
    )
    std: Annotated[tuple[Annotated[float, Field(gt=0.0)], ...], Field(min_length=1)] | None = Field(
        default=None, description="divided by afterwards, one a channel"
    )
    channels: Annotated[Literal[1, 3], Field(description="channels the model takes")] | None = None
    python: Attribute | None = Field(
        default=None,
        description="instead of the others (channels aside): module:function that returns a transform of a batch of"
        " pixels (N, C, H, W) in [0, 1], such as a torchvision v2 Compose, or module:object that is one",
    )
    args: dict[str, Any] | None = Field(default=None, description="keyword arguments of the 'python' function")

    @model_validator(mode="after")
    def _agree(self) -> Self:
        others = [
            key for key in ("resize", "interpolation", "center_crop", "mean", "std") if getattr(self, key) is not None
        ]
        if self.python is not None and others:
            raise says(f"has 'python', which does everything, and {' and '.join(others)} too; say it in one place")
        if self.args is not None and self.python is None:
            raise says("has 'args' but no 'python' function that would take them")
        if (self.mean is None) != (self.std is None):
            raise says("needs both 'mean' and 'std', or neither")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise says(f"has {len(self.mean)} entries in 'mean' but {len(self.std)} in 'std'")
            if self.channels is not None and len(self.mean) not in (1, self.channels):
                raise says(f"has {len(self.mean)} entries in 'mean' for {self.channels} channel(s)")
        if self.interpolation is not None and self.resize is None:
            raise says("has 'interpolation' but no 'resize' that would use it")
        return self


def _preprocess(value: object, _: object) -> object:
    """Return the word, or what the mapping says; by hand, because a union would give an error a member."""
    if isinstance(value, str):
        if value != SHIPPED:
            raise says(f"must be a mapping, or the word '{SHIPPED}'; got {got(value)}")
        return value
    return Preprocess.model_validate(value)


PreprocessOrWord = Annotated[Preprocess | Literal["weights"], WrapValidator(_preprocess)]


class Sample(Spec):
    """A reproducible draw from the cases."""

    n: Positive = Field(description="how many images")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="the same seed draws the same images")
    per_class: Literal["balanced", "natural"] = Field(
        default="balanced", description="equally many of each class, or as they come"
    )


class Columns(Spec):
    """The column names of a table of cases."""

    image: Text = Field(default="image", description="path of the image, relative to the CSV file")
    label: Text = Field(
        default="label",
        description="class name or class index; of 'huggingface' also a list of them, where images have several labels",
    )
    labels: Annotated[tuple[Text, ...], Field(min_length=2), AfterValidator(unique)] | None = Field(
        default=None,
        description="instead of 'label', where images have several: one column a label, with 1 where it is present and"
        " 0 where it is absent; the columns' names are the labels'",
    )
    id: Text = Field(default="id", description="name of the case; the path of the image where there is no such column")
    group: Text = Field(default="group", description="subgroup, where there is such a column")
    cluster: Text = Field(default="cluster", description="patient or other cluster, where there is such a column")
    mask: Text | None = Field(
        default=None, description="path of the image's mask, relative to the CSV file; only where this names the column"
    )
    masks: Annotated[dict[str | int, Text], Field(min_length=1)] | None = Field(
        default=None,
        description="instead of 'mask', where images have several labels: each label with the column of its mask",
    )

    @model_validator(mode="after")
    def _one_sort_of_masks(self) -> Self:
        if self.mask is not None and self.masks is not None:
            raise says("has both 'mask' and 'masks'; there is one mask an image, or one a label")
        return self


class Dicom(Spec):
    """How DICOM files become pixels in [0, 1], where they are not to be believed themselves."""

    window: Annotated[
        Literal["file", "full"] | tuple[float, Annotated[float, Field(gt=0.0)]],
        else_says("must be file, full, or [center, width] with a width above 0"),
    ] = Field(
        default="file",
        description="values that are spread from black to white: as each file says, all that could be stored, or"
        " [center, width] in the unit of the rescaled values, such as Hounsfield units",
    )
    function: Literal["linear", "linear_exact", "sigmoid"] | None = Field(
        default=None, description="VOI LUT function of a declared [center, width]; linear where nothing is said"
    )
    cluster: Literal["PatientID", "StudyInstanceUID", "SeriesInstanceUID"] | None = Field(
        default=None, description="entry of the files that tells clusters apart; only the start of its SHA-256 is kept"
    )

    @model_validator(mode="after")
    def _function_of_a_window(self) -> Self:
        if self.function is not None and isinstance(self.window, str):
            raise says("has 'function' but no window [center, width] that would use it")
        if not isinstance(self.window, str) and self.window[1] < 1.0 and self.function in (None, "linear"):
            raise says("has a window narrower than 1, which 'function: linear' does not allow; use linear_exact")
        return self


Pairs = Annotated[dict[str | int, ClassRef], Field(min_length=1)]
Probability = Annotated[float, Field(gt=0.0, lt=1.0)]
Thresholds = Annotated[
    Probability | dict[str | int, Probability], else_says("must be a probability between 0 and 1, or one a label")
]


class CasesSpec(Spec):
    """An ordered set of images with labels, from exactly one source."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in CASES_SOURCES]})

    imagefolder: LocalPath | None = Field(default=None, description="folder with one folder of images a class")
    npz: LocalPath | None = Field(
        default=None,
        description="NumPy file with images (N, C, H, W) in [0, 1], labels (N,) or (N, L) of 0 and 1 and, if wanted,"
        " ids (N,) and masks (N, H, W) of 0 and 1, or with several labels one a label, (N, L, H, W)",
    )
    csv: LocalPath | None = Field(default=None, description="CSV file with one image a row")
    huggingface: LocalPath | None = Field(
        default=None, description="folder of a Hugging Face dataset: saved by save_to_disk, or with Parquet files"
    )
    fixture: Identifier | None = Field(default=None, description="name of a pytest fixture that returns Cases")
    python: Attribute | None = Field(default=None, description="module:function of this repository that returns Cases")
    args: dict[str, Any] | None = Field(default=None, description="keyword arguments of the 'python' function")
    masks: LocalPath | None = Field(
        default=None,
        description="folder with a mask for every image of 'imagefolder', under the image's own relative path; what is"
        " not black is inside",
    )
    columns: Columns | None = Field(
        default=None, description="column names of 'csv' or 'huggingface', where they differ"
    )
    root: LocalPath | None = Field(
        default=None, description="folder that the paths in the 'csv' file start at; its own folder without it"
    )
    where: dict[str, Cells] | None = Field(
        default=None, description="rows of 'csv' or 'huggingface' to take: column, and the value or values it may have"
    )
    split: Text | None = Field(default=None, description="which split of 'huggingface' to take")
    white: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None,
        description="stored value of image files that counts as white, such as 4095 for 12 bits; the largest of each"
        " file's type without it",
    )
    volume: bool | None = Field(
        default=None, description="true: the pages or frames of a file are the slices of a volume (C, D, H, W)"
    )
    dicom: Dicom | None = Field(default=None, description="how DICOM files are read")
    classes: Annotated[tuple[Text, ...], Field(min_length=2), AfterValidator(unique)] | None = Field(
        default=None, description="class names in the order of the model's outputs"
    )
    pairs: Pairs | None = Field(
        default=None,
        description="where images have several labels: each label to look at, with the one it is held against",
    )
    threshold: Thresholds | None = Field(
        default=None,
        description="with 'pairs': the probability above which a label counts as found, one number or one a label; 0.5"
        " without it",
    )
    separator: Text | None = Field(
        default=None, description="what stands between the labels in one cell of 'csv' or 'huggingface', such as |"
    )
    no_label: Text | None = Field(
        default=None, description="with 'separator', or lists of 'huggingface': the word for having no label"
    )
    uncertain: Literal["absent", "present", "skip"] | None = Field(
        default=None, description="how a label of -1 counts; skip: no unit with it"
    )
    blank: Literal["absent", "skip"] | None = Field(
        default=None, description="how a label that is left blank (npz: NaN) counts; skip: no unit with it"
    )
    sample: Sample | None = Field(default=None, description="look at a draw of the images only")

    @property
    def source(self) -> tuple[str, str]:
        """Return which source was declared and its value, as in ``("imagefolder", "data/val")``."""
        return next((name, getattr(self, name)) for name in CASES_SOURCES if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one(self, CASES_SOURCES)
        _only_with(self, "args", ("python",))
        _only_with(self, "columns", ("csv", "huggingface"))
        _only_with(self, "where", ("csv", "huggingface"))
        _only_with(self, "root", ("csv",))
        _only_with(self, "split", ("huggingface",))
        for key in ("white", "volume", "dicom"):
            _only_with(self, key, OF_FILES)
        _only_with(self, "masks", ("imagefolder",))
        return self

    @model_validator(mode="after")
    def _label_sets(self) -> Self:
        for key in ("pairs", "threshold", "uncertain", "blank"):
            _only_with(self, key, ("csv", "npz", "huggingface"))
        for key in ("separator", "no_label"):
            _only_with(self, key, ("csv", "huggingface"))
        columns = self.columns.labels if self.columns else None
        if self.separator is not None and self.classes is None:
            raise says("has 'separator' but no 'classes': list the labels in the order of the model's outputs")
        if self.no_label is not None and self.separator is None and (self.csv is not None or columns is not None):
            raise says("has 'no_label' but no 'separator'; they belong together")
        if columns is not None and self.separator is not None:
            raise says("has both 'separator' and 'columns.labels'; labels are in one cell or in a column each")
        if self.separator is not None and (self.uncertain is not None or self.blank is not None):
            raise says("'uncertain' and 'blank' are about a column a label ('columns.labels'), not about 'separator'")
        if self.pairs is not None and self.csv is not None and columns is None and self.separator is None:
            raise says(
                "has 'pairs', but nothing says how a row lists several labels; add 'separator' (as '|') or"
                " 'columns: {labels: [...]}'"
            )
        known = self.classes or columns
        masks = (self.columns and self.columns.masks) or {}
        if masks and self.csv is not None and columns is None and self.separator is None:
            raise says(
                "has 'columns.masks', one mask a label, but one label a row; one mask an image is 'columns.mask'"
            )
        for name in masks:
            if isinstance(name, str) and known is not None and name not in known:
                raise says(
                    f"'columns.masks' names '{shown(name)}', which is not one of the labels ({', '.join(known)})"
                )
        for word, other in (self.pairs or {}).items():
            if word == other:
                raise says(f"'pairs' holds '{shown(word)}' against itself")
            for name in (word, other):
                if isinstance(name, str) and known is not None and name not in known:
                    raise says(f"'pairs' names '{shown(name)}', which is not one of the labels ({', '.join(known)})")
        return self


class Contrast(Spec):
    """The classes whose shared direction CASE removes."""

    select: Literal["logits", "confusion", "cooccurrence", "explicit", "similar_weights", "soft"] = Field(
        default="logits",
        description=(
            "next-highest logits of the image; classes confused on held-out cases; labels present together in held-out"
            " cases; as written; classes whose rows in the last layer are most alike; or next-highest logits weighted"
            " by softmax (with cases: by confusions)"
        ),
    )
    k: Positive = Field(default=3, description="how many classes")
    cases: CasesSpec | None = Field(
        default=None, description="held-out images, for 'confusion', 'cooccurrence' and 'soft'"
    )
    classes: dict[str | int, Annotated[tuple[ClassRef, ...], Field(min_length=1), AfterValidator(unique)]] | None = (
        Field(default=None, description="for 'explicit': each class with the classes to hold it against")
    )

    @model_validator(mode="after")
    def _fits_the_selection(self) -> Self:
        if self.select == "confusion" and self.cases is None:
            raise says(
                "'select: confusion' needs held-out 'cases' to count confusions on; declare them here, or use"
                " 'select: logits' (needs no data) or 'select: explicit' with 'classes'"
            )
        if self.select == "cooccurrence" and self.cases is None:
            raise says(
                "'select: cooccurrence' needs held-out 'cases' whose images have several labels, to count which are"
                " present together; declare them here, or use 'select: logits' (needs no data) or 'select: explicit'"
                " with 'classes'"
            )
        if self.select == "explicit" and self.classes is None:
            raise says("'select: explicit' needs 'classes', such as {cat: [dog, fox]}")
        if self.select not in ("confusion", "cooccurrence", "soft") and self.cases is not None:
            raise says(
                f"'cases' belongs to 'select: confusion', 'select: cooccurrence' and 'select: soft', not to 'select:"
                f" {self.select}'"
            )
        if self.select != "explicit" and self.classes is not None:
            raise says(f"'classes' belongs to 'select: explicit', not to 'select: {self.select}'")
        if self.select == "explicit" and "k" in self.model_fields_set:
            raise says("'k' has no meaning with 'select: explicit'; the lists say how many classes")
        for name, others in (self.classes or {}).items():
            if name in others:
                raise says(f"'classes' holds '{shown(name)}' against itself")
        return self


class ModelSpec(Spec):
    """A model under test and how to read it, from exactly one source."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in MODEL_SOURCES]})

    torchvision: Identifier | None = Field(default=None, description="name of a torchvision architecture")
    timm: TimmName | None = Field(
        default=None, description="name of a timm architecture, with or without a tag, as resnetv2_50.a1h_in1k"
    )
    huggingface: LocalPath | None = Field(
        default=None, description="folder of an image-classification model as save_pretrained leaves it"
    )
    exported: LocalPath | None = Field(default=None, description="file that torch.export.save wrote")
    python: Attribute | None = Field(
        default=None, description="module:function of this repository that returns the module"
    )
    fixture: Identifier | None = Field(default=None, description="name of a pytest fixture that returns the module")
    num_classes: Positive | None = Field(
        default=None, description="outputs of the 'torchvision' or 'timm' architecture"
    )
    args: dict[str, Any] | None = Field(default=None, description="keyword arguments of the source")
    weights: LocalPath | None = Field(
        default=None,
        description="safetensors file, or a checkpoint that torch.load(weights_only=True) reads; or, without dot and"
        " slash, the name of weights that ship with torchvision (DEFAULT, IMAGENET1K_V2) or timm (DEFAULT, a tag)",
    )
    download: bool | None = Field(
        default=None, description="whether named weights that are not on this machine may be downloaded"
    )
    state: Text | None = Field(
        default=None, description="which state in the checkpoint, where it holds several: an entry, or a prefix of keys"
    )
    sha256: Sha256 | None = Field(default=None, description="what the digest of the weights file must be")
    layer: Text = Field(default="auto", description="where maps are read: auto, penultimate, or the name of a module")
    preprocess: PreprocessOrWord | None = Field(
        default=None,
        description="what is done to pixels before the model; the word weights for what ships with the weights",
    )
    input: Text | None = Field(
        default=None, description="key of the images, for a model that takes a mapping instead of a tensor"
    )
    contrast: Contrast | None = Field(default=None, description="contrast set of CASE")
    output: Annotated[int | Text, else_says("must be an index, a key or an attribute")] | None = Field(
        default=None, description="which part of the output holds the logits"
    )
    reshape: Literal["channels_first", "channels_last", "tokens"] | None = Field(
        default=None, description="how the layer's output is laid out, where that cannot be seen from its shape"
    )
    name: Text | None = Field(default=None, description="name in reports; the key of the model otherwise")
    _line: int = PrivateAttr(default=0)

    @property
    def line(self) -> int:
        """Return the line of the file that declares this model."""
        return self._line

    @property
    def source(self) -> tuple[str, str]:
        """Return which source was declared and its value, as in ``("torchvision", "resnet50")``."""
        return next((name, getattr(self, name)) for name in MODEL_SOURCES if getattr(self, name) is not None)

    def at_line(self, line: int, taken: dict[str, Any]) -> Self:
        """Return this model as declared at ``line``, with the values ``taken`` from the contract's defaults."""
        made = self.model_copy(update=taken)
        made._line = line
        return made

    @property
    def shipped(self) -> str | None:
        """Return the name of the weights that ship with the source's package, or None if they come from a file."""
        return self.weights if names_shipped(self.source[0], self.weights) else None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        _exactly_one(self, MODEL_SOURCES)
        _only_with(self, "num_classes", SHIPPING)
        _only_with(self, "args", ("python", "torchvision", "timm", "huggingface"))
        _only_with(self, "download", SHIPPING)
        if self.exported is not None and self.weights is not None:
            raise says("has 'weights', but an exported program holds its own; leave them out")
        if self.sha256 is not None and self.weights is None and self.exported is None and self.huggingface is None:
            raise says("has 'sha256' but no 'weights' whose digest it could be")
        if self.download and self.shipped is None:
            raise says(
                "has 'download', but no 'weights' that ship with the package, such as 'weights: DEFAULT'; a file is"
                " never downloaded"
            )
        if self.state is not None and (self.weights is None or self.shipped is not None):
            raise says("has 'state' but no file of 'weights' that could hold several")
        if self.preprocess == SHIPPED and self.source[0] in ("python", "fixture", "exported"):
            raise says(
                f"has 'preprocess: {SHIPPED}', but nothing ships with a model from {self.source[0]}; write out what is"
                " done to pixels"
            )
        return self


class Defaults(Spec):
    """What checks and models take where they say nothing themselves."""

    model: ModelName | None = Field(default=None, description="for checks of one model")
    alpha: Level | None = Field(default=None, description="level of every test and bound")
    max_undefined: Share | None = Field(default=None, description="share of images that may lack a usable map")
    severity: Literal["fail", "warn"] | None = Field(default=None, description="what a check that fails does")
    on_inconclusive: Literal["fail", "warn", "skip"] | None = Field(
        default=None, description="what a check that could not be decided does"
    )
    preprocess: PreprocessOrWord | None = Field(default=None, description="for models that declare none")


class KnownFailure(Spec):
    """A failure that is accepted until a day; a check that passes nevertheless is reported."""

    reason: Text = Field(description="why it is accepted")
    expires: Day = Field(description="last day on which it is accepted, YYYY-MM-DD")


class Head(Spec):
    """The keys of the file that are not sections."""

    saliency: Annotated[int, Field(json_schema_extra={"const": 1}), AfterValidator(format_one)] = Field(
        description="version of this format"
    )
    contract: Slug = Field(description="stable name of this contract; baselines and evidence are keyed by it")
    requirement: Text | None = Field(default=None, description="requirement that the contract is evidence for")


class CheckHead(Spec):
    """The keys that every check has beside the parameters of its kind."""

    id: Slug = Field(description="unique name of the check")
    kind: str = Field(description="what is decided")
    cases: CasesSpec | None = Field(default=None, description="instead of the contract's cases")
    requirement: Text | None = Field(default=None, description="instead of the contract's requirement")
    severity: Literal["fail", "warn"] = Field(default="fail", description="what the check does when it fails")
    on_inconclusive: Literal["fail", "warn", "skip"] = Field(
        default="fail", description="what the check does when it could not be decided"
    )
    known_failure: KnownFailure | None = Field(default=None, description="an accepted failure")


def names_shipped(source: str, weights: object) -> bool:
    """Tell whether ``weights`` of a model from ``source`` are a name: a text without dot and slash."""
    return source in SHIPPING and isinstance(weights, str) and not set(weights) & set("./\\")


def _either(names: tuple[str, ...]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _exactly_one(spec: Spec, sources: tuple[str, ...]) -> None:
    given = [name for name in sources if getattr(spec, name) is not None]
    if not given:
        raise says(f"has no source; give {_either(sources)}")
    if len(given) > 1:
        raise says(f"has {len(given)} sources, {' and '.join(given)}; give exactly one")


def _only_with(spec: Spec, key: str, sources: tuple[str, ...]) -> None:
    if getattr(spec, key) is not None and all(getattr(spec, name) is None for name in sources):
        raise says(f"has '{key}', which belongs to {_either(sources)} only")
