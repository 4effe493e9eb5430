"""Circuits to and from other libraries; each is imported only when a function of its file is called."""
