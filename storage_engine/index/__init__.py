"""The graph over sealed rows: built by hnswlib, frozen in our own format, walked by our own kernel."""
