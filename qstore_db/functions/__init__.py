"""What quantum code does over stored rows: states written, searched, measured and entangled."""
