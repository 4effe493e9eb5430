"""Where circuits run: one port, and a file for every place behind it. The quantum half; knows no database."""
