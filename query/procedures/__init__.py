"""``CALL``: finding the procedure and binding its arguments."""
