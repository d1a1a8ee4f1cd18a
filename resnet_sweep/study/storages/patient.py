"""Optuna's database storage, made to outlive a database that is away for a while."""

from __future__ import annotations

import functools
import json
import secrets
from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState

from resnet_sweep.study.locks import LockLostError
from resnet_sweep.study.storages.patience import Patience

# Attribute of a trial by which whoever made it knows it again.
_MADE_BY = "made_by"


def _patient(name: str, *, writes: bool = False) -> Any:
    """A method that is called again when the database was away; harmless to call twice."""
    method: Callable[..., Any] = getattr(RDBStorage, name)

    @functools.wraps(method)
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        return self.patience.call(lambda: method(self, *args, **kwargs), writes=writes)

    return call


class PatientStorage(RDBStorage):
    """Waits while the database cannot be reached, and then goes on exactly where it was.

    When a connection breaks nobody knows whether what was asked last has been committed. What
    can be written twice is; a new trial and a trial's end are looked for first.

    Args:
        url: As RDBStorage takes it.
        engine_kwargs: As well.
        patience: How long it waits.
        skip_table_creation: Tables that are missing are not made.
    """

    def __init__(
        self,
        url: str,
        engine_kwargs: dict[str, Any],
        patience: Patience,
        *,
        skip_table_creation: bool = False,
    ) -> None:
        self.patience = patience
        # Of trials that may have been made already.
        self._begun: set[str] = set()
        try:
            super().__init__(url, engine_kwargs, skip_table_creation=skip_table_creation)
        except BaseException:
            # It has connected already, when it finds tables of another version.
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise

    create_new_study = _patient("create_new_study", writes=True)
    delete_study = _patient("delete_study", writes=True)
    set_study_user_attr = _patient("set_study_user_attr", writes=True)
    set_study_system_attr = _patient("set_study_system_attr", writes=True)
    set_trial_user_attr = _patient("set_trial_user_attr", writes=True)
    set_trial_system_attr = _patient("set_trial_system_attr", writes=True)
    set_trial_intermediate_value = _patient("set_trial_intermediate_value", writes=True)
    _set_trial_param = _patient("_set_trial_param", writes=True)
    get_study_id_from_name = _patient("get_study_id_from_name")
    get_study_name_from_id = _patient("get_study_name_from_id")
    get_study_directions = _patient("get_study_directions")
    get_study_user_attrs = _patient("get_study_user_attrs")
    get_study_system_attrs = _patient("get_study_system_attrs")
    get_all_studies = _patient("get_all_studies")
    get_trial = _patient("get_trial")
    get_trial_id_from_study_id_trial_number = _patient("get_trial_id_from_study_id_trial_number")
    _get_trials = _patient("_get_trials")
    _get_best_trial_id = _patient("_get_best_trial_id")

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """As in RDBStorage; what was committed before its connection broke is not refused."""
        begin, num_tries = datetime.now(), 0

        def attempt() -> bool:
            nonlocal num_tries
            num_tries += 1
            if num_tries > 1 and self._is_set(trial_id, state, values, begin):
                return True
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        return self.patience.call(attempt)

    def _is_set(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None, begin: datetime
    ) -> bool:
        trial = RDBStorage.get_trial(self, trial_id)
        if trial.state != state:
            return False
        if state == TrialState.RUNNING:
            # Somebody else may have taken it.
            return trial.datetime_start is not None and trial.datetime_start >= begin
        return values is None or list(values) == trial.values

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        """As in RDBStorage, once for each call, whatever happens to the connection.

        Args:
            study_id: Of the study.
            template_trial: With a number of 0 or more it is made with that number or not at
                all: nobody else has made one since the caller looked.

        Raises:
            LockLostError: Somebody has.
        """
        if template_trial is None:
            return self.patience.call(
                lambda: super(PatientStorage, self)._create_new_trial(study_id, None)
            )
        signed, key = copy(template_trial), secrets.token_hex(8)
        signed.system_attrs = {**template_trial.system_attrs, _MADE_BY: key}
        try:
            return self.patience.call(
                lambda: super(PatientStorage, self)._create_new_trial(study_id, signed)
            )
        finally:
            self._begun.discard(key)

    def _get_prepared_new_trial(
        self,
        study_id: int,
        template_trial: FrozenTrial | None,
        session: sqlalchemy.orm.Session,
    ) -> models.TrialModel:
        # Called with the study's row locked: nobody else makes a trial meanwhile. Optuna calls
        # it again after an error, too.
        key = "" if template_trial is None else template_trial.system_attrs.get(_MADE_BY, "")
        if key in self._begun and (made := _made_by(study_id, key, session)) is not None:
            return made
        if key:
            self._begun.add(key)
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        wanted = -1 if template_trial is None else template_trial.number
        if wanted >= 0 and trial.number != wanted:
            raise LockLostError(f"trial {wanted} was made by somebody else")
        return trial


def _made_by(study_id: int, key: str, session: sqlalchemy.orm.Session) -> models.TrialModel | None:
    attribute = models.TrialSystemAttributeModel
    found: models.TrialModel | None = (
        session.query(models.TrialModel)
        .join(attribute, attribute.trial_id == models.TrialModel.trial_id)
        .filter(
            models.TrialModel.study_id == study_id,
            attribute.key == _MADE_BY,
            attribute.value_json == json.dumps(key),
        )
        .one_or_none()
    )
    return found
