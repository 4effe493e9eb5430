"""One digest of everything that a snapshot shows, and the same digest of a dictionary of what it should show."""

import hashlib

import numpy as np


def fingerprint(snapshot, read_file):
    """Hexadecimal digest over every table of a snapshot, bit by bit: collections with schema, columns and rows in slot
    order (ids, vectors, norms, the commit that wrote each row, metadata), look-up by id, keyed tables, attached files.

    ``read_file(kind, name)`` gives the content of an attached file.
    """
    found = _Digest(snapshot.version)
    for state in snapshot.states():
        view = snapshot.collection(state.schema.name)
        live = np.flatnonzero(view.live())
        ids = view.ids_at(live)
        columns = [(name, str(kind)) for name, kind in view.columns.items()]
        found.add(state.schema, len(view), view.slots_of(ids).tolist() == live.tolist())
        found.add_rows(ids, view.vectors_at(live).tobytes(), view.norms_at(live).tobytes())
        found.add(columns, state.rows.born_at(live).tolist(), view.metadata_at(live).to_pydict())
    for name in snapshot.tables():
        found.add_table(name, snapshot.table(name))
    for kind in ("ckpt", "metrics"):
        for file in snapshot.files(kind):
            found.add_file(kind, file.name, read_file(kind, file.name))
    return found.hexdigest()


def expected_fingerprint(model):
    """The digest of the snapshot that a :class:`workload.Model` describes."""
    found = _Digest(model.version)
    for _, collection in sorted(model.collections.items()):
        rows = collection.rows.values()
        found.add(collection.schema, len(rows), True)
        vectors = b"".join(row.vector.tobytes() for row in rows)
        found.add_rows(list(collection.rows), vectors, b"".join(row.norm.tobytes() for row in rows))
        metadata = {name: [row.metadata.get(name) for row in rows] for name in collection.columns}
        found.add(list(collection.columns.items()), [row.born for row in rows], metadata)
    for name, records in sorted(model.tables.items()):
        found.add_table(name, records)
    for (kind, name), data in model.files.items():
        found.add_file(kind, name, data)
    return found.hexdigest()


class _Digest:
    def __init__(self, version):
        self._digest = hashlib.blake2b(digest_size=16)
        self.add("version", version)

    def add(self, *values):
        self._digest.update(repr(values).encode("utf-8", "surrogatepass"))

    def add_rows(self, ids, vectors, norms):
        self.add(ids)
        self._digest.update(vectors)
        self._digest.update(norms)

    def add_table(self, name, records):
        # An empty table and one that was never written are the same.
        if records:
            self.add("table", name, list(records.items()))

    def add_file(self, kind, name, data):
        self.add("file", kind, name, hashlib.sha256(data).hexdigest())

    def hexdigest(self):
        return self._digest.hexdigest()
