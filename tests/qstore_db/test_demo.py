"""The demo from end to end, as the command runs it, in small."""

import subprocess
import sys

import numpy as np
import pytest

from qstore_db.cli.demo import verdict


def run_demo(tmp_path, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "qstore_db.cli", "demo", "--out", str(tmp_path / "out"), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_demo_on_digits(tmp_path):
    printed = run_demo(tmp_path, "--epochs", "12")
    lines = {line.split("  ")[0].strip(): line for line in printed.splitlines()}
    assert float(lines["quantum, trained circuit"].split()[-1]) >= 0.9
    assert float(lines["logistic regression"].split()[-1]) >= 0.9
    assert "recall@10 1.000" in printed or "recall@10 0.99" in printed
    assert "predicts the same labels" in printed
    for picture in ("loss.png", "confusion.png"):
        assert (tmp_path / "out" / picture).read_bytes().startswith(b"\x89PNG")
    again = run_demo(tmp_path, "--epochs", "1")
    assert "predicts the same labels" in again


@pytest.mark.slow
def test_demo_on_a_file_of_larger_images(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    images = rng.integers(1, 80, (90, 20, 20)).astype(np.uint8)
    for row, label in enumerate(labels):
        images[row, 6 * label : 6 * label + 6] += 150
    np.savez(tmp_path / "bars.npz", x_train=images[:60], y_train=labels[:60], x_test=images[60:], y_test=labels[60:])
    printed = run_demo(tmp_path, "--data", str(tmp_path / "bars.npz"), "--epochs", "2")
    assert "60 training and 30 test images of 400 pixels, 3 classes" in printed
    assert "predicts the same labels" in printed


def test_the_verdict_is_honest():
    clear = verdict({"quantum, trained circuit": 0.80, "logistic regression": 0.90}, 1000)
    assert clear.startswith("Best: logistic regression, 10.0 points ahead of quantum, trained circuit (a clear gap)")
    assert "classical model" in clear
    close = verdict({"quantum, trained circuit": 0.97, "logistic regression": 0.96}, 360)
    assert "within the noise" in close
    assert "classical" not in close
