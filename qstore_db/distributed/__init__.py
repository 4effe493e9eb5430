"""One step of training spread over workers, with the same bits for any number of them."""
