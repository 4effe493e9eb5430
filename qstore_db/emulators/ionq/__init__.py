"""IonQ's API v0.4 as far as cirq-ionq and qiskit-ionq speak it, on the loopback interface, over our simulators."""
