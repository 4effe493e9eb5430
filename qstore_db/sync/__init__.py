"""A collection kept equal to a Pinecone index: what changed on each side, who wins, and how far it got."""
