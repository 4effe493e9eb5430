"""Texts as superpositions of token vectors, measured in contexts; pure, with token models that can be exchanged."""
