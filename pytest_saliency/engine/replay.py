"""Class scores with other activations at a layer: from what follows the layer alone, where that is right.

Whether it is right is tried: on the first batch of a pass for every image, and on each later batch for one. Where it is
not, the whole model runs instead, and the user is told why.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pytest_saliency.engine.methods.perturbation import Site
from pytest_saliency.engine.runner import REPEATS_WITHIN, ROUNDINGS, guarded
from pytest_saliency.engine.sizing import out_of_memory
from pytest_saliency.engine.stubs import NoReplayError, with_first
from pytest_saliency.engine.tail import Front, Record, Tail, layer_tensor, scores_of
from pytest_saliency.errors import SaliencyError, SubjectError, first_line, raised

FRONTS = tuple(Front)


class Replays:
    """Replays at a site's layer, for ``who`` (the method's name in sentences). Keep it for a whole pass.

    Use it inside the runner's session. The site counts what goes through the model: as ``capture`` the images that
    went through all of it to be recorded and to try the replay, as ``tail`` the rows that went through what follows
    the layer, as ``channels`` those that went through all of it in their place.
    """

    def __init__(self, site: Site, who: str) -> None:
        self._site, self._who = site, who
        self._runner, self._name = site.runner, site.layer.name
        self._layer: nn.Module = dict(site.runner.subject.model.named_modules())[site.layer.name]
        self._tail: Tail | None = None
        self._front = Front.ONE
        self._tried = False
        self._overwrites = False
        self._why: str | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole model runs, because replaying what follows the layer was not right."""
        return self._why is not None

    def record(self, pixels: Tensor) -> Record:
        """Run ``pixels`` (n, C, *S) through the whole model once, and try the replay on them.

        Raises
        ------
        SubjectError
            Anything the model raised, or a layer that did not run or returned no tensor.
        """
        with torch.no_grad():  # not inference_mode: whatever a model caches then would be unusable in training
            if not self.whole:
                try:
                    return self._record(pixels)
                except Exception as error:
                    self._give_up(error)
            made = self._record_whole(pixels)
            self._say()
            return made

    def __call__(self, record: Record, image: int, changed: Tensor) -> Tensor:
        """Return the class scores (rows, C) of one image of ``record`` with ``changed`` at the layer's last call.

        ``changed`` (rows, ...) is laid out as ``record.output``. What follows the layer may overwrite it: compare its
        ``_version`` before and after.

        Raises
        ------
        SubjectError
            Anything the model raised. When memory runs out, that is raised as it is: fewer rows may fit.
        """
        with torch.no_grad():
            if not self.whole:
                try:
                    return self._replay(record, image, changed)
                except Exception as error:
                    self._give_up(error)
            self._site.count("channels", len(changed))
            scores = self._replay_whole(record, image, changed)
            self._say()
            return scores

    # -- what follows the layer -------------------------------------------------------------------------------------

    def _record(self, pixels: Tensor) -> Record:
        if self._tail is None:
            self._tail = Tail(self._runner, self._name, pixels)
            self._site.count("capture", 3)  # one image, and that image twice
        record = self._tail.record(pixels)
        self._site.count("capture", len(pixels))
        for front in FRONTS[FRONTS.index(self._front) :]:
            self._front = front
            try:
                self._try(record)
                break
            except Exception as error:
                if front is FRONTS[-1] or out_of_memory(error):
                    raise
        self._tried = True
        return record

    def _try(self, record: Record) -> None:
        """Replay unchanged activations, whose scores are known, beside others, which must make no difference."""
        last = len(record.scores) - 1
        for image in (last,) if self._tried else range(last + 1):
            same = record.output[image : image + 1]
            other = 0.5 * same
            found = self._watched(record, image, torch.cat([same, other]))
            self._compare(found[:1], record.scores[image : image + 1])
            if not self._tried and image == 0:
                self._compare(self._watched(record, image, torch.cat([other, same])).flip(0), found)
                self._site.count("capture", 1)
                self._compare(found[1:], self._replay_whole(record, image, other.clone()))

    def _watched(self, record: Record, image: int, changed: Tensor) -> Tensor:
        """Replay ``changed``, and notice if it is overwritten in a way that its version does not tell."""
        before, version = changed.clone(), changed._version
        found = self._replay(record, image, changed)
        if changed._version == version and not torch.equal(changed.nan_to_num(), before.nan_to_num()):
            self._overwrites = True
        return found

    def _replay(self, record: Record, image: int, changed: Tensor) -> Tensor:
        assert self._tail is not None
        self._site.count("tail", len(changed))
        return self._tail.replay(record, image, changed.clone() if self._overwrites else changed, self._front)

    def _compare(self, found: Tensor, expected: Tensor) -> None:
        """Raise a NoReplayError where scores differ. Scores that never were finite are somebody else's to report."""
        share = max(REPEATS_WITHIN, ROUNDINGS * torch.finfo(self._runner.computes_in).eps)
        largest = float(torch.nan_to_num(expected).abs().max())
        near = (found - expected).abs() <= share * largest
        if not bool((near | ~torch.isfinite(expected)).all()):
            raise NoReplayError(f"running only what follows layer '{self._name}' gives other scores than the model")

    def confirm(self, record: Record, image: int, scores: Tensor, classes: Tensor) -> bool:
        """Tell whether the replayed ``scores`` (T,) of an unchanged image are the model's; else it runs whole from now.

        Which modules speak to each other is learnt from a few images, and may differ for this one.
        """
        if self.whole:
            return True
        try:
            self._compare(scores, record.scores[image, classes])
        except NoReplayError as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: Exception) -> None:
        """Go on with the whole model because of ``error``, unless memory ran out: that is raised again."""
        if out_of_memory(error):
            raise error
        if isinstance(error, NoReplayError):
            reason = str(error)
        else:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
            said = f"failed: {first_line(cause)}" if isinstance(cause, SaliencyError) else raised(cause)
            reason = f"running only what follows layer '{self._name}' {said}"
        self._tail = None
        self._why = (
            f"{self._who} runs the whole model '{self._runner.subject.name}' for each channel, because"
            f" {reason.rstrip('.')}."
        )

    def _say(self) -> None:
        """Tell the user, once the whole model has run: before that it may be the model itself that fails."""
        if self._why is not None:
            self._site.notes[self._why] = None

    # -- the whole model --------------------------------------------------------------------------------------------

    def _record_whole(self, pixels: Tensor) -> Record:
        seen: list[Tensor] = []
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls
            calls += 1
            # Copied twice, as in a capture pass: a layer may return its very input, and its output is overwritten.
            seen[:] = [layer_tensor(self._runner, self._name, output).detach().clone()]
            return with_first(output, seen[0].clone())

        inputs = self._runner.model_input(pixels)
        made = self._run(inputs.clone(), hook)
        self._site.count("capture", len(pixels))
        if not seen:
            raise SubjectError(
                f"layer '{self._name}' of model '{self._runner.subject.name}' did not run in the forward pass; choose"
                " another."
            )
        scores, binary = scores_of(self._runner, made, len(pixels))
        return Record(scores, binary, seen[0], inputs, calls)

    def _replay_whole(self, record: Record, image: int, changed: Tensor) -> Tensor:
        calls = 0

        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            nonlocal calls
            calls += 1
            return with_first(output, changed) if calls == record.calls else None

        count = len(changed)
        inputs = record.inputs[image : image + 1].expand(count, *record.inputs.shape[1:]).clone()
        made = self._run(inputs, hook)
        if calls != record.calls:
            raise SubjectError(
                f"layer '{self._name}' of model '{self._runner.subject.name}' ran {record.calls} times in one forward"
                f" pass and {calls} times in the next, so that its last call cannot be told; choose another layer."
            )
        return scores_of(self._runner, made, count)[0]

    def _run(self, inputs: Tensor, hook: Any) -> object:
        handle = self._layer.register_forward_hook(hook)
        try:
            return guarded(self._runner.subject, inputs, lambda: self._runner.subject.model_output(inputs))
        finally:
            handle.remove()
