"""The trials of a search, by optuna: kept in a journal, so that a search that ends continues."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxbert.errors import InputError
from jaxbert.io.files import Json
from jaxbert.io.untrusted import shown
from jaxbert.options.search_space import SearchedFlag, Tried

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOURNAL = "trials.journal"
_STUDY = "search"
_ASKED, _FAILED = "asked", "failed"


def check_optuna() -> None:
    """Raise InputError where optuna is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise InputError('jaxbert search needs optuna; pip install "jaxbert[search]"') from None


@dataclasses.dataclass(frozen=True)
class Trial:
    """A trial.

    Attributes:
        number: from 0.
        values: of the searched flags.
        score: None where it has none, or not yet.
        failed: why it has none.
    """

    number: int
    values: Mapping[str, Tried]
    score: float | None = None
    failed: str = ""


class Trials:
    """The trials in a folder.

    What is tried next is a function of the seed and of the trials before: nothing of the sampler is
    kept but these, and a search that was killed tries what it would have tried.

    Args:
        folder: of the journal, which optuna's own tools read too. It is there, and this process's
            alone.
        seed: of the sampler (TPE, Bergstra et al. 2011).

    Raises:
        InputError: the journal is damaged.
    """

    def __init__(
        self, folder: Path, space: Sequence[SearchedFlag], *, seed: int, lower_is_better: bool
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = folder / JOURNAL
        _mend(path)
        try:
            self._study: optuna.Study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=_STUDY,
                direction="minimize" if lower_is_better else "maximize",
                load_if_exists=True,
            )
        except (ValueError, LookupError) as error:
            raise InputError(
                f"{path}: damaged ({shown(error)}); give --overwrite_output_dir to begin again"
            ) from None
        self._space = {flag.name: _distribution(flag) for flag in space}
        self._seed = seed
        self.lower_is_better = lower_is_better

    @property
    def asked(self) -> Mapping[str, Json] | None:
        """What the search was asked for when it began; None in a new one."""
        found: Mapping[str, Json] | None = self._study.user_attrs.get(_ASKED)
        return found

    def begin(self, asked: Mapping[str, Json]) -> None:
        """Keep what the search is asked for."""
        self._study.set_user_attr(_ASKED, asked)

    def done(self) -> list[Trial]:
        """Those that have a score, or will never have one, in order."""
        from optuna.trial import TrialState

        failed = self._failed
        ended = [
            t
            for t in self._study.get_trials(deepcopy=False)
            if t.state == TrialState.COMPLETE or str(t.number) in failed
        ]
        return [
            Trial(number, t.params, t.value, failed.get(str(t.number), ""))
            for number, t in enumerate(ended)
        ]

    def best(self) -> Trial | None:
        """The first of those with the best score."""
        scored = [(t.score, t) for t in self.done() if t.score is not None]
        if not scored:
            return None
        return (min if self.lower_is_better else max)(scored, key=lambda pair: pair[0])[1]

    def next(self) -> Trial:
        """The trial that is to be trained: the one that was begun, or a new one."""
        import optuna

        number = len(self.done())
        begun = self._begun()
        if begun is None:
            seeds = np.random.SeedSequence([self._seed, number]).generate_state(1)
            self._study.sampler = optuna.samplers.TPESampler(seed=int(seeds[0]))
            self._study.ask(self._space)
            begun = self._begun()
        assert begun is not None
        return Trial(number, begun.params)

    def tell(self, score: float) -> None:
        """End the trial that was begun."""
        begun = self._begun()
        assert begun is not None
        self._study.tell(begun.number, score)

    def fail(self, reason: str) -> None:
        """End it without a score."""
        import optuna

        begun = self._begun()
        assert begun is not None
        self._study.set_user_attr(_FAILED, {**self._failed, str(begun.number): reason})
        self._study.tell(begun.number, state=optuna.trial.TrialState.FAIL)

    @property
    def _failed(self) -> Mapping[str, str]:
        """The number of a trial that has no score -> why."""
        found: Mapping[str, str] = self._study.user_attrs.get(_FAILED, {})
        return found

    def _begun(self) -> FrozenTrial | None:
        """The trial that runs. One that was killed while its flags were drawn is given up: it is
        drawn again, with the same values."""
        from optuna.trial import TrialState

        for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            whole = trial.params.keys() == self._space.keys()
            if whole and str(trial.number) not in self._failed:
                return trial
            self._study.tell(trial.number, state=TrialState.FAIL)
        return None


def _mend(path: Path) -> None:
    """Leave out what a killed process had half written: its last line, and its lock."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


def _distribution(flag: SearchedFlag) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if flag.choices:
        return CategoricalDistribution(flag.choices)
    if flag.whole:
        return IntDistribution(int(flag.low), int(flag.high), log=flag.log)
    return FloatDistribution(flag.low, flag.high, log=flag.log)
