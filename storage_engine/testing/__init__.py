"""Disks that fail on purpose, for tests of everything that stores something through the engine.

:class:`~storage_engine.testing.recording_disk.RecordingDisk` notes every call that changes something;
:class:`~storage_engine.testing.medium.Medium` says what such calls leave behind after a power cut or a killed process;
:class:`~storage_engine.testing.failing_disk.FailingDisk` refuses chosen calls. Nothing here is used by the engine.
"""
