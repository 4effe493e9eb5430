"""IonQ's devices and simulator, through IonQ's SDKs for Cirq and for Qiskit."""
