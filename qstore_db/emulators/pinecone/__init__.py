"""Pinecone as far as its SDK (versions 9 and 10) speaks to it: indexes, vectors, namespaces, exact search."""
