"""Overlaps of quantum states, estimated by circuits, and the kernel matrices made of them."""
