"""What this floor plugs into SQL: tables, procedures, functions and the statements about models."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.search.text_in_sql import HybridScore, TextMatch
from qstore_db.sql.care_procedures import care_procedures
from qstore_db.sql.fidelity import Fidelity
from qstore_db.sql.job_table import JOBS_TABLE
from qstore_db.sql.model_functions import model_functions
from qstore_db.sql.model_statements import RegistryStatements
from qstore_db.sql.python_procedures import AllowedFunctions
from qstore_db.sql.state_procedures import state_procedures
from qstore_db.sql.state_tables import state_tables
from qstore_db.sql.study_procedures import study_procedures
from qstore_db.sql.study_tables import study_tables
from qstore_db.sql.syncs import Sync, SyncsTable
from qstore_db.sql.training_procedures import ProgressFactory, training_procedures
from qstore_db.sql.training_tables import training_tables
from qstore_db.sql.vacuum_procedure import Vacuum
from qstore_db.training.trained_models import TrainedModels
from query.session import Session
from storage_engine.engine import Engine


@dataclass(frozen=True, slots=True)
class OpenSession:
    """An SQL session over an engine, and the trained models that its functions share with the Python face."""

    session: Session
    trained_models: TrainedModels


def open_session(engine: Engine, progress: ProgressFactory | None, python: AllowedFunctions) -> OpenSession:
    """The session of a database.

    Args:
        engine: The database.
        progress: Makes what watches a training run started by SQL, or ``None``.
        python: What procedures in Python may call.
    """
    models = TrainedModels(engine)
    opened: list[Session] = []  # procedures that search evaluate conditions in the session that they belong to
    session = Session(
        engine,
        tables=(*training_tables(engine), JOBS_TABLE, *study_tables(), *state_tables(engine.clock), SyncsTable()),
        procedures=(
            *training_procedures(engine, models, progress=progress),
            *study_procedures(engine, progress=progress),
            Sync(engine),
            *care_procedures(engine),
            *state_procedures(engine, lambda: opened[0]),
            Vacuum(engine),
        ),
        functions=(*model_functions(models), Fidelity()),
        row_scores=(TextMatch(), HybridScore()),
        models=RegistryStatements(engine, progress),
        python=python,
    )
    opened.append(session)
    return OpenSession(session, models)
