"""Stand-ins for services on the network that really compute, for tests and for trying things out without an account."""
