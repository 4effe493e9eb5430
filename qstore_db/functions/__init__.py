"""What quantum code does over stored rows: superposed search, measurement, prediction in SQL."""
