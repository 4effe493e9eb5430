import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from qstore_db.models.specification import ModelSpec
from qstore_db.training import checkpoints
from qstore_db.training.dataset import store_training_data
from qstore_db.training.metrics import read_metrics
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registration import create_model
from qstore_db.training.registry import RunStatus, find_run
from qstore_db.training.trained_models import TrainedModels, predict_proba
from qstore_db.training.trainer import resume, train
from storage_engine.engine import Engine

OPTIONS = TrainingOptions(epochs=3, batch_size=8, learning_rate=0.1, seed=3, validation_fraction=0.2)

PREDICT = """
import json, sys
import numpy as np
from qstore_db.training.metrics import read_metrics
from qstore_db.training.registry import find_run
from qstore_db.training.trained_models import TrainedModels, predict_proba
from storage_engine.engine import Engine

with Engine.open(sys.argv[1], read_only=sys.argv[2] == "read_only") as engine:
    rows = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32)
    found = {
        "bits": predict_proba(TrainedModels(engine), "m", rows).tobytes().hex(),
        "run": str(find_run(engine.snapshot(), 1)),
        "steps": read_metrics(engine, engine.snapshot(), 1)["step"].to_pylist(),
    }
print(json.dumps(found))
"""

TRAIN_SLOWLY = """
import sys, time
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence
from qstore_db.training.trainer import train
from storage_engine.engine import Engine

class Slow(Silence):
    def epoch_finished(self, row):
        print("epoch", row.epoch, flush=True)
    def stepped(self, report):
        time.sleep(0.02)

with Engine.open(sys.argv[1]) as engine:
    train(engine, "m", "d", TrainingOptions(epochs=40, batch_size=8, learning_rate=0.1, seed=3), progress=Slow())
"""


def filled(path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    rows = (np.eye(4)[labels] + 0.3 * rng.standard_normal((40, 4))).astype(np.float32)
    engine = Engine.open(path)
    store_training_data(engine, "d", rows, labels)
    create_model(engine, "m", ModelSpec(qubits=2, classes=2, layers=1))
    return engine


@pytest.mark.parametrize("mode", ["read_only", "writing"])
def test_a_new_process_sees_all_and_predicts_the_same_bits(tmp_path, mode):
    path = tmp_path / "x.qdb"
    with filled(path) as engine:
        run = train(engine, "m", "d", OPTIONS)
        rows = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32)
        bits = predict_proba(TrainedModels(engine), "m", rows).tobytes().hex()
        steps = read_metrics(engine, engine.snapshot(), 1)["step"].to_pylist()
    child = subprocess.run([sys.executable, "-c", PREDICT, path, mode], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    found = json.loads(child.stdout)
    assert found == {"bits": bits, "run": str(run), "steps": steps}
    assert steps.count(-1) == 3


@pytest.mark.crash
def test_a_killed_process_leaves_a_run_that_continues_bit_for_bit(tmp_path):
    path = tmp_path / "x.qdb"
    filled(path).close()
    child = subprocess.Popen([sys.executable, "-c", TRAIN_SLOWLY, path], stdout=subprocess.PIPE, text=True)
    try:
        for line in child.stdout:
            if line.strip() == "epoch 2":
                break
        time.sleep(0.05)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    with Engine.open(path) as engine:
        left = find_run(engine.snapshot(), 1)
        assert (left.status, left.process_id) == (RunStatus.RUNNING, child.pid)
        assert 1 <= left.epochs_done < 40
        run = resume(engine, 1)
        whole = train(engine, "m", "d", run.options)
        states = [checkpoints.load(engine, finished.checkpoint).state for finished in (run, whole)]
        for name, array in states[0].parameters.items():
            assert array.tobytes() == states[1].parameters[name].tobytes()
        steps = read_metrics(engine, engine.snapshot(), 1)["step"].to_pylist()
        assert [step for step in steps if step > 0] == list(range(1, 201))
        assert steps.count(-1) == 40


@pytest.mark.crash
@pytest.mark.skipif(os.name == "nt", reason="signals differ there")
def test_ctrl_c_in_a_terminal_leaves_a_run_that_can_be_resumed(tmp_path):
    path = tmp_path / "x.qdb"
    filled(path).close()
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN_SLOWLY, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "epoch 1"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "TrainingInterruptedError: Run 1 was stopped" in errors
    with Engine.open(path) as engine:
        left = find_run(engine.snapshot(), 1)
        assert left.status is RunStatus.INTERRUPTED
        assert left.steps_done >= 5
        assert resume(engine, 1).steps_done == 200
