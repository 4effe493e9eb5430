"""The graph over sealed rows: built in rounds, frozen in our own format, walked by our own kernel."""
