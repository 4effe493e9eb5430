"""Choosing a backend by what it can do and what it costs."""

from decimal import Decimal

import pytest
from executor_scripting import ScriptedBackend

from qstore_db.backends.backend import Price
from qstore_db.backends.backend_choice import choose_backend
from qstore_db.backends.local import local_backend
from qstore_db.backends.local_noisy import local_noisy_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.errors import BudgetExceededError, InvalidArgumentError, UnsupportedRequestError


class Paid(ScriptedBackend):
    def __init__(self, name, dollars, **settings):
        super().__init__(name, **settings)
        self.dollars = Decimal(dollars)

    def price(self, requests):
        return Price(self.dollars * len(requests))


SMALL = [ExecutionRequest(Circuit(2), shots=10, seed=1), ExecutionRequest(Circuit(2), shots=10)]


def test_the_cheapest_that_can_is_taken_and_the_first_of_equals():
    dear, cheap, same = Paid("dear", 3), Paid("cheap", 1), Paid("same", 1)
    choice = choose_backend(SMALL, [dear, cheap, same], max_cost_usd=Decimal(2))
    assert choice.backend is cheap
    assert [(one.backend, one.dollars) for one in choice.verdicts] == [("dear", 6), ("cheap", 2), ("same", 2)]
    for verdict, said in zip(choice.verdicts, ("for $6", "none does for less", "another comes first"), strict=True):
        assert said in verdict.reason
    assert choose_backend(SMALL, [same, cheap], max_cost_usd=Decimal(2)).backend is same
    assert dear.jobs == cheap.jobs == same.jobs == []


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ExecutionRequest(Circuit(13), [PauliString("Z" * 13)]), "13 qubits"),
        (ExecutionRequest(Circuit(3, (Operation("CCX", (0, 1, 2)),)), shots=1), "no gate CCX"),
    ],
)
def test_what_cannot_run_them_says_why(request_, why):
    choice = choose_backend([request_], [local_noisy_backend(), local_backend()])
    assert choice.backend.name == "local"
    assert why in choice.verdicts[0].reason
    assert choice.verdicts[0].dollars is None
    with pytest.raises(UnsupportedRequestError, match=why):
        choose_backend([request_], [local_noisy_backend()])


def test_a_seed_needs_a_backend_that_honours_it():
    unseeded = Paid("unseeded", 0, seeded=False)
    assert choose_backend(SMALL[1:], [unseeded, local_backend()]).backend is unseeded
    assert choose_backend(SMALL, [unseeded, local_backend()]).backend.name == "local"


def test_over_the_ceiling_is_refused():
    with pytest.raises(BudgetExceededError, match="'cheap'") as caught:
        choose_backend(SMALL, [Paid("dear", 3), Paid("cheap", 1)], max_cost_usd=Decimal("1.99"))
    assert (caught.value.estimate, caught.value.spent, caught.value.ceiling) == (2, 0, Decimal("1.99"))
    with pytest.raises(BudgetExceededError):
        choose_backend(SMALL, [Paid("cheap", 1)])
    assert choose_backend(SMALL, [Paid("cheap", 1), local_backend()]).backend.name == "local"


def test_there_must_be_something_to_choose():
    for requests, candidates in (([], [local_backend()]), (SMALL, [])):
        with pytest.raises(InvalidArgumentError):
            choose_backend(requests, candidates)


@pytest.mark.parametrize("ceiling", ["-1", "NaN", "Infinity"])
def test_a_ceiling_that_is_none_is_refused(ceiling):
    with pytest.raises(InvalidArgumentError, match="ceiling"):
        choose_backend(SMALL, [local_backend()], max_cost_usd=Decimal(ceiling))
