"""TorchQuantum's step, run by the Python of an environment of its own: its last release needs NumPy 1.

``training.py --torchquantum PYTHON`` starts this file with that Python and talks to it by lines of JSON: first the
case, answered by values and gradients; then ``step``, each answered by the CPU seconds of one step in this process. It
imports nothing of Q-Store.
"""

from __future__ import annotations

import json
import sys
import time
import types
from typing import Any


def main() -> None:
    # Its data sets need a torchvision that fits the installed torch; no circuit does.
    sys.modules["torchquantum.dataset"] = types.ModuleType("torchquantum.dataset")
    import torch
    import torchquantum

    torch.set_num_threads(1)
    case = json.loads(sys.stdin.readline())
    given = [torch.tensor(case[name], dtype=torch.float32) for name in ("data", "weights", "cotangent")]
    data, weights, cotangent = given
    gates = torchquantum.functional

    def angle(terms: list[tuple[str, int, float]], x: Any, w: Any) -> Any:
        return sum(scale * (w[index] if kind == "weight" else x[:, index]) for kind, index, scale in terms)

    def step() -> tuple[Any, Any, Any]:
        x, w = data.clone().requires_grad_(), weights.clone().requires_grad_()
        device = torchquantum.QuantumDevice(n_wires=case["qubits"], bsz=len(x))
        for name, qubits, angles in case["operations"]:
            if angles:
                getattr(gates, name.lower())(device, wires=qubits, params=angle(angles[0], x, w))
            else:
                gates.cnot(device, wires=qubits)
        values = torchquantum.MeasureAll(torchquantum.PauliZ)(device)
        (values * cotangent).sum().backward()
        return values, w.grad, x.grad

    print(json.dumps([one.tolist() for one in step()]), flush=True)
    for _ in sys.stdin:
        begin = time.process_time()
        step()
        print(time.process_time() - begin, flush=True)


if __name__ == "__main__":
    main()
