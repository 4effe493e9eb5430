"""What this floor plugs into SQL: tables, procedures, functions and the statements about models."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.functions.fidelity import Fidelity
from qstore_db.functions.model_functions import model_functions
from qstore_db.model_statements import RegistryStatements
from qstore_db.procedures import ProgressFactory, training_procedures
from qstore_db.state_tables import state_tables
from qstore_db.tables import training_tables
from qstore_db.training.trained_models import TrainedModels
from qstore_db.vacuum_procedure import Vacuum
from query.session import Session
from storage_engine.engine import Engine


@dataclass(frozen=True, slots=True)
class OpenSession:
    """An SQL session over an engine, and the trained models that its functions share with the Python face."""

    session: Session
    trained_models: TrainedModels


def open_session(engine: Engine, progress: ProgressFactory | None) -> OpenSession:
    """The session of a database.

    Args:
        engine: The database.
        progress: Makes what watches a training run started by SQL, or ``None``.
    """
    models = TrainedModels(engine)
    session = Session(
        engine,
        tables=(*training_tables(engine), *state_tables(engine.clock)),
        procedures=(*training_procedures(engine, models, progress=progress), Vacuum(engine)),
        functions=(*model_functions(models), Fidelity()),
        models=RegistryStatements(engine, progress),
    )
    return OpenSession(session, models)
