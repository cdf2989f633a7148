"""Every check kind. A new one is one file in this room and one line here. Nothing heavy is imported before a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pytest_saliency.checks.avoids import AvoidsParameters
from pytest_saliency.checks.beats_null_explainers import BeatsNullExplainersParameters
from pytest_saliency.checks.channel_activity import ChannelActivityParameters
from pytest_saliency.checks.class_sensitive import ClassSensitiveParameters
from pytest_saliency.checks.faithful import FaithfulParameters
from pytest_saliency.checks.invariant_execution import InvariantExecutionParameters
from pytest_saliency.checks.localized import LocalizedParameters
from pytest_saliency.checks.model_dependent import ModelDependentParameters
from pytest_saliency.checks.no_semantic_drift import NoSemanticDriftParameters
from pytest_saliency.checks.no_subgroup_gap import NoSubgroupGapParameters
from pytest_saliency.checks.not_vacuous import NotVacuousParameters
from pytest_saliency.checks.not_worse_than_baseline import NotWorseThanBaselineParameters
from pytest_saliency.checks.parameters import Parameters
from pytest_saliency.checks.planted_evidence import PlantedEvidenceParameters
from pytest_saliency.checks.referring import INHERITED
from pytest_saliency.checks.seed_robust import SeedRobustParameters
from pytest_saliency.checks.stable import StableParameters

if TYPE_CHECKING:
    from pytest_saliency.checks.numbers import Numbers
    from pytest_saliency.checks.referring import Reference
    from pytest_saliency.checks.result import Result
    from pytest_saliency.checks.worst import Ranked
    from pytest_saliency.decide.decision import Decision
    from pytest_saliency.engine.explained import Explained

ONE = ("model",)
PAIR = ("before", "after")


@dataclass(frozen=True)
class Kind:
    """A check kind: its parameters, the subjects it needs, the assertion of the same name, and what readers say of it.

    Attributes
    ----------
    roles, many
        Keys that name one model each, and keys that name a list of models (which may be left out). The subjects of a
        list are called ``nulls.1``, ``nulls.2`` and so on, in the order of the list.
    question, claim
        What is decided, as a question for the report and as a sentence for the release record.
    inherited
        Parameters that a contract does not write, because they come from the check that ``of`` names, as do models,
        cases and axes. A kind that has such measures nothing itself (see ``referring``); ``many`` then names the
        models that take the place of the other check's last role, one after the other.
    least
        How many models each list of ``many`` must have; 0 where it may be left out.
    baselined
        Whether it needs an approved baseline.
    fixed
        Parameters of one value only, which nobody writes: the method of a kind that looks at no map.
    region
        The parameter that says which share of the positions forms a top region, if the measure has one.
    of_units
        The question where images have several labels and a case is one of them; ``question`` where nothing is said.
    shown
        Which of the maps stands for the kind where one is shown, as a run keeps them.
    drawn
        Whether one image of each cluster is drawn, instead of averaging within clusters.
    """

    name: str
    parameters: type[Parameters]
    roles: tuple[str, ...]
    question: str
    claim: str
    many: tuple[str, ...] = ()
    inherited: tuple[str, ...] = ()
    least: int = 0
    baselined: bool = False
    fixed: tuple[str, ...] = ()
    region: str | None = None
    of_units: str | None = None
    shown: str = "top1"
    drawn: bool = False

    @property
    def assertion(self) -> str:
        """The name of the Python assertion."""
        return f"assert_{self.name}"

    def run(self, explained: Mapping[str, Explained], parameters: Parameters, check: str | None = None) -> Result:
        """Measure and decide. ``explained`` maps each role to the explanations of that subject.

        Not for a kind that measures nothing itself; see :meth:`refer`.

        Raises
        ------
        SaliencyError
            Whatever keeps the check from being decided, as one sentence.
        """
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").run
        result: Result = work(explained, parameters, check or self.name)
        return result

    def refer(self, reference: Reference, parameters: Parameters, check: str) -> Result:
        """Measure by the check that ``of`` names, and decide; for a kind that measures nothing itself."""
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").by_reference
        result: Result = work(reference, parameters, check)
        return result

    def decide(self, parameters: Parameters, numbers: Numbers) -> Decision:
        """Decide from numbers alone, which a record keeps; torch stays out."""
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").decision
        decision: Decision = work(parameters, numbers)
        return decision

    def ranked(self, parameters: Parameters, numbers: Numbers) -> Ranked:
        """Return how bad each kept image is, from the same numbers; torch stays out."""
        work: Any = import_module(f"pytest_saliency.checks.{self.name}").ranked
        made: Ranked = work(parameters, numbers)
        return made


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "avoids",
            AvoidsParameters,
            ONE,
            "Does the model leave the region alone?",
            "The model does not look where it must not.",
            shown="map",
        ),
        Kind(
            "beats_null_explainers",
            BeatsNullExplainersParameters,
            ONE,
            "Does the map show more than explainers that know nothing of the image?",
            "Removing the regions that the maps name costs an image more than removing those of ignorant controls.",
        ),
        Kind(
            "channel_activity",
            ChannelActivityParameters,
            ONE,
            "Does the layer answer with as many channels as it should?",
            "The share of the layer's channels that an image sets off lies within its limits.",
            fixed=("method",),
        ),
        Kind(
            "class_sensitive",
            ClassSensitiveParameters,
            ONE,
            "Do the maps for the two most likely classes differ?",
            "The model's maps for the two most likely classes of an image differ.",
            region="top_k",
            of_units="Do the maps for a label and its counterpart differ?",
        ),
        Kind(
            "faithful",
            FaithfulParameters,
            ONE,
            "Does the prediction stand on the region that the map shows?",
            "Removing the regions that the maps name costs an image more than removing those of other images.",
            drawn=True,
        ),
        Kind(
            "invariant_execution",
            InvariantExecutionParameters,
            ONE,
            "Are the maps the same, however they are computed?",
            "The maps do not depend on batches, order, precision or whatever else was varied.",
        ),
        Kind(
            "localized",
            LocalizedParameters,
            ONE,
            "Does the evidence lie inside the masks?",
            "The evidence lies inside the masks that come with the images.",
            shown="map",
        ),
        Kind(
            "model_dependent",
            ModelDependentParameters,
            ONE,
            "Do the maps depend on what the model has learned?",
            "The maps change when the model's weights are drawn anew.",
            region="top_fraction",
        ),
        Kind(
            "no_semantic_drift",
            NoSemanticDriftParameters,
            PAIR,
            "Does the model look at the same evidence as before?",
            "The model still looks at the same evidence as the one that it is compared with.",
            many=("nulls",),
            region="top_fraction",
            shown="after",
        ),
        Kind(
            "not_vacuous",
            NotVacuousParameters,
            ONE,
            "Is there anything on the maps?",
            "The maps of nearly all images show something.",
        ),
        Kind(
            "no_subgroup_gap",
            NoSubgroupGapParameters,
            (),
            "Is every declared group of cases served alike?",
            "What is measured of the model's maps is alike in every declared group of cases.",
            inherited=INHERITED,
        ),
        Kind(
            "planted_evidence",
            PlantedEvidenceParameters,
            ONE,
            "Side by side with others, does the map find the image of its class?",
            "In mosaics of images of different classes the map of a class lies on the image of that class.",
            shown="mosaic",
        ),
        Kind(
            "seed_robust",
            SeedRobustParameters,
            (),
            "Does the finding hold for every training?",
            "The statement about the maps holds for each of several trainings of the model.",
            many=("models",),
            least=2,
            inherited=INHERITED,
        ),
        Kind(
            "stable",
            StableParameters,
            ONE,
            "Do the maps survive small changes of the image?",
            "Small changes of an image that keep its prediction keep its map.",
            region="top_fraction",
        ),
        Kind(
            "not_worse_than_baseline",
            NotWorseThanBaselineParameters,
            (),
            "Is the model no worse than the approved baseline?",
            "The maps are not worse than those of the approved baseline on the same images.",
            inherited=INHERITED,
            baselined=True,
        ),
    )
}
