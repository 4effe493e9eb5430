"""Pictures: histograms and Bloch spheres of states, circuits; as text, or as figures (extra ``demo``)."""
