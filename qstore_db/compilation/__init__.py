"""Circuit to circuit: passes that make a circuit smaller and leave what it does unchanged."""
