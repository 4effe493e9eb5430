"""A remote backend over a provider that loses answers: every job is a row first, and none is paid for twice."""

import asyncio
import threading
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from executor_scripting import TOGETHER
from scripted_provider import (
    BAD_REQUEST,
    CAPABILITIES,
    CENT,
    LOST_ON_THE_WAY_BACK,
    LOST_ON_THE_WAY_THERE,
    REFUSED,
    TAKEN_TWICE,
    UNREACHABLE,
    ScriptedProvider,
)

from qstore_db.backends.backend import JobState
from qstore_db.backends.job_ledger import JobStatus, MemoryLedger, counted
from qstore_db.backends.job_pieces import pieces_of
from qstore_db.backends.remote import RemoteBackend
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import Counts, ExecutionResult
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import (
    BackendFailedError,
    BudgetExceededError,
    InvalidArgumentError,
    JobUnreachableError,
    QStoreError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.retry import RetryPolicy

TURN = Circuit(2, (Operation("RY", (0,), (Weight(0) + Data(0),)), Operation("CX", (0, 1))))


class Time:
    """Stands still but for sleeping."""

    def __init__(self):
        self.now = 1_000_000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def request(weight=0.5, samples=1, shots=100):
    return ExecutionRequest(TURN, shots=shots, weights=[weight], data=np.linspace(0, 1, samples)[:, None])


def over(provider, ledger, **settings):
    time = settings.pop("time", None) or Time()
    return RemoteBackend(provider, ledger, clock=time, sleep=time.sleep, seed=0, **settings)


def outcomes(backend, *jobs):
    """The results of lists of requests, one after the other; an error where one was raised."""

    async def asked():
        found = []
        for requests in jobs:
            try:
                found.append(await backend.result(await backend.submit(requests)))
            except QStoreError as error:
                found.append(error)
        await backend.close()
        return found

    return asyncio.run(asked())


def counts(results):
    return [[one.by_bitstring() for one in result.counts] for result in results]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "provider"


def test_a_row_stands_before_the_job_is_sent_and_tells_its_life(folder):
    ledger, seen = MemoryLedger(), []

    class Watching(ScriptedProvider):
        def send(self, requests, *, tag, timeout_seconds):
            seen.extend(ledger.records())
            return super().send(requests, tag=tag, timeout_seconds=timeout_seconds)

    provider = Watching(folder, slow=2)
    ((result,),) = outcomes(over(provider, ledger), [request(samples=3)])
    assert [(row.status, row.provider_id, row.cost, row.counted) for row in seen] == [
        (JobStatus.PLANNED, None, None, 3 * CENT)
    ]
    (row,) = ledger.records()
    assert (row.status, row.provider_id, row.tag) == (JobStatus.DONE, "job-000001", seen[0].tag)
    assert (row.circuits, row.shots, row.cost) == (3, 300, 3 * CENT)
    assert row.planned_at <= row.sent_at < row.ended_at
    assert provider.jobs()[0][1]["tag"] == row.tag
    assert [one.shots for one in result.counts] == [100] * 3


def test_what_comes_back_is_in_order_whatever_is_cut_and_joined(folder):
    provider = ScriptedProvider(folder)
    wanted = [request(0.1), request(0.2, samples=20), request(0.3, shots=50), request(0.4, samples=5), request(0.5)]
    (found,) = outcomes(over(provider, MemoryLedger()), wanted)
    assert [[one.shots for one in result.counts] for result in found] == [
        [asked.shots] * asked.samples for asked in wanted
    ]
    # Jobs of at most 8 circuits, in order: 1, 8, 8, 4, and 5 + 1; the request of 50 shots goes by itself.
    assert sorted(len(job["fingerprints"]) for _, job in provider.jobs()) == [1, 1, 1, 1, 1, 2]
    exact = [ExecutionRequest(TURN, weights=one.weights, data=one.data) for one in wanted]
    (chances,) = outcomes(over(ScriptedProvider(folder), MemoryLedger()), exact)
    for result, chance in zip(found, chances, strict=True):
        for one, row in zip(result.counts, chance.probabilities, strict=True):
            np.testing.assert_allclose(one.dense() / one.shots, row, atol=0.25)


def test_a_lost_answer_is_looked_up_and_never_sent_again(folder):
    provider = ScriptedProvider(folder, send=[LOST_ON_THE_WAY_BACK])
    ledger = MemoryLedger()
    ((result,),) = outcomes(over(provider, ledger), [request()])
    assert result.counts[0].shots == 100
    assert provider.calls.count("send") == 1
    assert len(provider.jobs()) == 1
    assert ledger.records()[0].status is JobStatus.DONE


def test_a_job_counts_as_never_taken_only_after_the_grace(folder):
    provider, time, ledger = ScriptedProvider(folder, send=[LOST_ON_THE_WAY_THERE]), Time(), MemoryLedger()
    options = RemoteOptions(timeout_seconds=30, grace_seconds=45)
    (error, found) = outcomes(over(provider, ledger, time=time, options=options), [request()], [request()])
    assert isinstance(error, SubmissionRefusedError)
    assert error.retryable
    assert found[0].counts[0].shots == 100
    first, second = ledger.records()
    assert (first.status, first.cost, second.status) == (JobStatus.LOST, 0, JobStatus.DONE)
    assert first.tag != second.tag
    assert first.ended_at - first.planned_at >= 45
    assert provider.calls.index("find") < len(provider.calls) - provider.calls[::-1].index("find")
    assert provider.calls.count("send") == 2


def test_a_job_that_shows_up_late_is_still_found(folder):
    class Slow(ScriptedProvider):
        def find(self, tag, *, timeout_seconds):
            found = super().find(tag, timeout_seconds=timeout_seconds)
            return found if self.calls.count("find") > 6 else ()

    provider = Slow(folder, send=[LOST_ON_THE_WAY_BACK])
    ((result,),) = outcomes(over(provider, MemoryLedger()), [request()])
    assert result.counts[0].shots == 100
    assert len(provider.jobs()) == 1


def test_trouble_on_the_way_never_sends_a_taken_job_again(folder):
    provider = ScriptedProvider(
        folder,
        send=[LOST_ON_THE_WAY_BACK],
        find=[UNREACHABLE] * 2,
        state=[UNREACHABLE] * 5,
        fetch=[UNREACHABLE] * 3,
    )
    ((result,),) = outcomes(over(provider, MemoryLedger()), [request()])
    assert result.counts[0].shots == 100
    assert provider.calls.count("send") == 1


@pytest.mark.parametrize("seed", range(12))
def test_whatever_goes_wrong_results_and_bills_are_those_of_a_quiet_day(tmp_path, seed):
    rng = np.random.default_rng(seed)

    def script(*faults):
        return [faults[number] for number in rng.integers(0, len(faults), 40)]

    many = [
        request(weight, samples=int(samples))
        for weight, samples in zip(rng.normal(size=20), rng.integers(1, 12, 20), strict=True)
    ]
    quiet, rough = (
        ScriptedProvider(tmp_path / "quiet"),
        ScriptedProvider(
            tmp_path / "rough",
            slow=int(rng.integers(0, 3)),
            send=script(None, REFUSED, LOST_ON_THE_WAY_BACK, LOST_ON_THE_WAY_THERE),
            find=script(None, UNREACHABLE),
            state=script(None, UNREACHABLE, JobState.RUNNING),
            fetch=script(None, UNREACHABLE),
        ),
    )
    found, ledgers = [], []
    for provider in (quiet, rough):
        ledgers.append(MemoryLedger())
        options = ExecutorOptions(
            batch=BatchOptions(minimum=5, maximum=5), retry=RetryPolicy(attempts=60, base_seconds=0)
        )
        with Executor(over(provider, ledgers[-1]), options=options, seed=seed) as executor:
            found.append(counts(executor.run_batch(many)))
    assert found[0] == found[1]
    assert quiet.billed() == rough.billed()
    assert {row.tag for row in ledgers[1].records() if row.status is JobStatus.DONE} == {
        job["tag"] for _, job in rough.jobs()
    }
    assert counted(ledgers[1].records()) == counted(ledgers[0].records())


def test_polls_are_jittered_and_back_off(folder):
    time = Time()
    options = RemoteOptions(first_poll_seconds=1.0, longest_poll_seconds=10.0)
    outcomes(over(ScriptedProvider(folder, slow=12), MemoryLedger(), time=time, options=options), [request()])
    bounds = [min(10.0, 1.5**n) for n in range(12)]
    assert len(time.slept) == 12
    assert all(bound / 2 <= slept <= bound for slept, bound in zip(time.slept, bounds, strict=True))
    assert len({slept / bound for slept, bound in zip(time.slept, bounds, strict=True)}) > 6


def test_an_unreachable_provider_leaves_the_job_open_and_it_is_taken_up_again(folder):
    ledger = MemoryLedger()
    gone = ScriptedProvider(folder, state=[UNREACHABLE] * 10_000)
    backend = over(gone, ledger, options=RemoteOptions(patience_seconds=100))

    async def twice():
        with pytest.raises(JobUnreachableError):
            await backend.result(await backend.submit([request()]))
        assert ledger.records()[0].status is JobStatus.SENT
        gone._script["state"].clear()
        results = await backend.result(await backend.submit([request()]))
        await backend.close()
        return results

    assert asyncio.run(twice())[0].counts[0].shots == 100
    assert len(gone.jobs()) == 1


def test_a_lost_answer_of_an_unreachable_provider_is_looked_up_later_and_not_sent_again(folder):
    ledger = MemoryLedger()
    provider = ScriptedProvider(folder, send=[LOST_ON_THE_WAY_BACK], find=[UNREACHABLE] * 10_000)
    backend = over(provider, ledger, options=RemoteOptions(patience_seconds=100))

    async def twice():
        with pytest.raises(JobUnreachableError):
            await backend.submit([request()])
        assert ledger.records()[0].status is JobStatus.PLANNED
        provider._script["find"].clear()
        results = await backend.result(await backend.submit([request()]))
        await backend.close()
        return results

    assert asyncio.run(twice())[0].counts[0].shots == 100
    assert provider.calls.count("send") == 1


def test_the_executor_does_not_pay_again_for_a_job_it_cannot_reach(folder):
    provider = ScriptedProvider(folder, state=[UNREACHABLE] * 10_000)
    backend = over(provider, MemoryLedger(), options=RemoteOptions(patience_seconds=100))
    with Executor(backend, options=TOGETHER) as executor, pytest.raises(JobUnreachableError):
        executor.run_batch([request(weight) for weight in (0.1, 0.2, 0.3)])
    assert len(provider.jobs()) == 1


def test_a_refused_job_is_free_and_sent_again_by_the_executor(folder):
    provider, ledger = ScriptedProvider(folder, send=[REFUSED, REFUSED]), MemoryLedger()
    with Executor(over(provider, ledger), seed=0) as executor:
        assert executor.run(request()).counts[0].shots == 100
    assert [row.status for row in ledger.records()] == [JobStatus.FAILED, JobStatus.FAILED, JobStatus.DONE]
    assert sum(row.counted for row in ledger.records()) == CENT
    ((error,),) = [outcomes(over(ScriptedProvider(folder, send=[BAD_REQUEST]), MemoryLedger()), [request()])]
    assert error is BAD_REQUEST


def test_a_failed_and_a_cancelled_job_say_so_and_cost_nothing(folder):
    class Broken(ScriptedProvider):
        def fetch(self, job_id, requests, *, timeout_seconds):
            raise BackendFailedError("the ions are gone")

    ledger = MemoryLedger()
    (error,) = outcomes(over(Broken(folder, state=[JobState.FAILED] * 9), ledger), [request()])
    assert "the ions are gone" in str(error)
    assert (ledger.records()[0].status, ledger.records()[0].cost) == (JobStatus.FAILED, 0)
    ledger = MemoryLedger()
    (error,) = outcomes(over(ScriptedProvider(folder, state=[JobState.CANCELLED]), ledger), [request()])
    assert isinstance(error, BackendFailedError)
    assert (ledger.records()[0].status, ledger.records()[0].cost) == (JobStatus.CANCELLED, 0)


def test_results_that_do_not_fit_were_paid_for(folder):
    ledger = MemoryLedger()
    (error,) = outcomes(over(ScriptedProvider(folder, fetch=[1]), ledger), [request(0.1), request(0.2)])
    assert "1 result(s) for 2 request(s)" in str(error)
    assert (ledger.records()[0].status, ledger.records()[0].cost) == (JobStatus.FAILED, 2 * CENT)


def test_a_copy_made_by_the_library_is_cancelled_or_counted(folder):
    class Lost(ScriptedProvider):
        def send(self, requests, *, tag, timeout_seconds):
            super().send(requests, tag=tag, timeout_seconds=timeout_seconds)
            raise SubmissionUnknownError("the connection broke")

    provider, ledger = Lost(folder, send=[TAKEN_TWICE]), MemoryLedger()
    outcomes(over(provider, ledger), [request()])
    assert [job["cancelled"] for _, job in provider.jobs()] == [False, True]
    (row,) = ledger.records()
    assert (row.provider_id, row.cost) == ("job-000001", CENT)
    assert "more than once" in row.note


def test_the_ceiling_is_hard_and_nothing_is_sent_beyond_it(folder):
    provider, ledger = ScriptedProvider(folder), MemoryLedger()
    backend = over(provider, ledger, ceiling=Decimal("0.10"))
    many = [request(weight, samples=4) for weight in (0.1, 0.2, 0.3)]  # two jobs: 8 and 4 circuits
    first, second, third = outcomes(backend, many, many[:2], [request(0.9, samples=3)])
    assert isinstance(first, BudgetExceededError)
    assert (first.estimate, first.spent, first.ceiling) == (Decimal("0.12"), 0, Decimal("0.10"))
    for number in ("0.12", "0.10"):
        assert number in str(first)
    assert len(second) == 2
    assert isinstance(third, BudgetExceededError)
    assert third.spent == Decimal("0.08")
    assert len(provider.jobs()) == 1
    assert len(ledger.records()) == 1
    with pytest.raises(InvalidArgumentError):
        over(provider, ledger, ceiling=Decimal(-1))


def test_the_executor_sends_no_part_of_what_exceeds_the_ceiling(folder):
    provider = ScriptedProvider(folder)
    with (
        Executor(over(provider, MemoryLedger(), ceiling=Decimal("0.02")), options=TOGETHER) as executor,
        pytest.raises(BudgetExceededError),
    ):
        executor.run_batch([request(weight) for weight in (0.1, 0.2, 0.3)])
    assert provider.jobs() == []


def test_open_jobs_count_and_lost_ones_do_not(folder):
    ledger = MemoryLedger()
    gone = ScriptedProvider(folder, state=[UNREACHABLE] * 10_000)
    outcomes(over(gone, ledger, options=RemoteOptions(patience_seconds=100)), [request(0.1, samples=8)])
    (error,) = outcomes(over(ScriptedProvider(folder), ledger, ceiling=Decimal("0.15")), [request(0.2, samples=8)])
    assert isinstance(error, BudgetExceededError)
    assert error.spent == Decimal("0.08")


def test_another_backend_takes_up_what_the_first_left(folder):
    ledger, many = MemoryLedger(), [request(weight) for weight in np.linspace(0, 1, 12)]

    async def abandoned(backend):
        await backend.submit(many)
        await backend.close()

    asyncio.run(abandoned(over(ScriptedProvider(folder, slow=10_000), ledger)))
    assert {row.status for row in ledger.records()} == {JobStatus.SENT}
    provider = ScriptedProvider(folder)
    # In another company and another order than before: each request has its own place.
    results = outcomes(over(provider, ledger), many[7:], [many[0]], many[1:7][::-1])
    assert [len(one) for one in results] == [5, 1, 6]
    assert provider.calls.count("send") == 0
    assert len(provider.billed()) == 12
    # All were handed out: asked again, they are measured anew.
    outcomes(over(provider, ledger), many[:1])
    assert len(provider.billed()) == 13


def test_results_are_kept_until_they_are_settled(folder):
    ledger, provider = MemoryLedger(), ScriptedProvider(folder)
    same = [request(1.3), request(1.3)]  # equal requests are two samples
    backend = over(provider, ledger, keeps_delivered=True)
    (first,) = outcomes(backend, same)
    one, other = counts(first)
    assert one != other
    handed_out = backend.take_delivered()
    assert handed_out.cost == 2 * CENT
    (row,) = ledger.records()
    assert handed_out.places == {row.tag: {0, 1}}
    assert backend.take_delivered().places == {}
    # Not settled: another backend gives the very same results, and sends nothing.
    (second,) = outcomes(over(provider, ledger, keeps_delivered=True), same)
    assert counts(second) == counts(first)
    ledger.settle({row.tag: [0]})
    (third,) = outcomes(over(provider, ledger), [request(1.3)])
    assert counts(third) == [other]
    assert ledger.records()[0].is_closed
    assert len(provider.jobs()) == 1


def test_results_of_another_device_are_not_taken_for_these(folder):
    ledger = MemoryLedger()
    outcomes(over(ScriptedProvider(folder), ledger, keeps_delivered=True), [request()])
    other = ScriptedProvider(folder, identity="scripted 2, noisy")
    outcomes(over(other, ledger), [request()])
    assert len(other.jobs()) == 2


def test_cancelling_stops_what_has_not_begun_and_keeps_what_has(folder):
    ledger, provider = MemoryLedger(), ScriptedProvider(folder, slow=10_000)
    backend = over(provider, ledger)

    async def life():
        first = await backend.submit([request(0.1)])
        assert await backend.cancel(first)
        assert ledger.records()[0].status is JobStatus.CANCELLED
        provider._slow = 0
        second = await backend.submit([request(0.2)])
        while ledger.records()[1].status is not JobStatus.DONE:
            await asyncio.sleep(0.001)
        assert not await backend.cancel(second)
        third = await backend.submit([request(0.2)])
        (result,) = await backend.result(third)
        await backend.close()
        await backend.close()
        return result

    assert asyncio.run(life()).counts[0].shots == 100
    assert len(provider.billed()) == 1


def test_a_job_that_has_begun_is_left_alone(folder):
    class Running(ScriptedProvider):
        def state(self, job_id, *, timeout_seconds):
            found = super().state(job_id, timeout_seconds=timeout_seconds)
            return JobState.RUNNING if found is JobState.WAITING else found

    ledger, provider = MemoryLedger(), Running(folder, slow=10_000)
    backend = over(provider, ledger)

    async def life():
        job = await backend.submit([request()])
        stopped = await backend.cancel(job)
        await backend.close()
        return stopped

    assert not asyncio.run(life())
    assert "cancel" not in provider.calls
    assert ledger.records()[0].status is JobStatus.SENT


def test_the_provider_says_how_long_to_wait(folder):
    time = Time()
    busy = BackendFailedError("too many questions", retryable=True, retry_after_seconds=77.0)
    outcomes(over(ScriptedProvider(folder, state=[busy], fetch=[busy]), MemoryLedger(), time=time), [request()])
    assert time.slept == [77.0, 77.0]


def test_pieces_of_a_seeded_request_are_samples_of_their_own():
    whole = ExecutionRequest(TURN, shots=100, weights=[0.5], data=np.zeros((6, 1)), seed=3)
    pieces = pieces_of(whole, 2)
    assert len({piece.seed for piece in pieces} | {whole.seed}) == 4
    assert [piece.seed for piece in pieces] == [piece.seed for piece in pieces_of(whole, 2)]
    assert pieces_of(whole, 6) == (whole,)


def test_memory_stays_flat(folder):
    class Instant(ScriptedProvider):
        def _take(self, requests, tag):
            self.held = {**getattr(self, "held", {}), tag: tuple(requests)}
            return tag

        def _job(self, job_id):
            requests = self.held.pop(job_id, ())
            return {"cancelled": False, "requests": None, "given": requests}

        def fetch(self, job_id, requests, *, timeout_seconds):
            one = Counts(2, np.array([0]), np.array([100]))
            return tuple(ExecutionResult(self.name, counts=(one,) * asked.samples) for asked in requests)

    backend = over(Instant(folder), MemoryLedger())

    async def many():
        for number in range(60):
            await backend.result(await backend.submit([request(number / 7)]))
        sizes = len(backend._jobs), len(backend._free), len(backend._seen), len(backend._asked)
        await backend.close()
        return sizes

    assert asyncio.run(many()) == (0, 0, 0, 0)


def test_few_jobs_are_made_ready_at_the_same_time(folder):
    class Counting(ScriptedProvider):
        now = most = 0

        def send(self, requests, *, tag, timeout_seconds):
            with self._lock:
                self.now += 1
                self.most = max(self.most, self.now)
            threading.Event().wait(0.01)
            with self._lock:
                self.now -= 1
            return super().send(requests, tag=tag, timeout_seconds=timeout_seconds)

    provider = Counting(folder)
    outcomes(over(provider, MemoryLedger(), options=RemoteOptions(sends=3)), [request(samples=80)])
    assert provider.most == 3
    assert len(provider.jobs()) == 10


def test_price_counts_pieces_and_asks_nobody(folder):
    provider = ScriptedProvider(folder)
    backend = over(provider, MemoryLedger())
    assert backend.price([request(samples=20), request(samples=2)]).dollars == 22 * CENT
    assert provider.calls == []
    asyncio.run(backend.close())
    assert provider.closed == 1
    assert backend.capabilities == replace(CAPABILITIES, amplitudes=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_seconds": 0},
        {"grace_seconds": 1.0, "timeout_seconds": 2.0},
        {"first_poll_seconds": float("nan")},
        {"longest_poll_seconds": 0.1},
        {"connections": 0},
        {"sends": 9},
        {"patience_seconds": float("inf")},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        RemoteOptions(**wrong)


def test_a_submission_that_is_given_up_while_its_rows_are_written_loses_nothing(folder):
    writing, go_on = threading.Event(), threading.Event()

    class Slow(MemoryLedger):
        def plan(self, jobs, ceiling):
            writing.set()
            assert go_on.wait(10)
            super().plan(jobs, ceiling)

    ledger, provider = Slow(), ScriptedProvider(folder)
    backend = over(provider, ledger)

    async def life():
        given_up = asyncio.create_task(backend.submit([request()]))
        await asyncio.to_thread(writing.wait)
        given_up.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait({given_up})
        assert given_up.cancelled()
        (result,) = await backend.result(await backend.submit([request()]))
        await backend.close()
        return result

    assert asyncio.run(life()).counts[0].shots == 100
    assert [row.status for row in ledger.records()] == [JobStatus.DONE]
    assert len(provider.jobs()) == 1


def test_who_asks_for_a_job_that_is_just_being_cancelled_is_told_so(folder):
    stopping, go_on = threading.Event(), threading.Event()

    class SlowToStop(ScriptedProvider):
        def cancel(self, job_id, *, timeout_seconds):
            stopping.set()
            assert go_on.wait(10)
            return super().cancel(job_id, timeout_seconds=timeout_seconds)

        def state(self, job_id, *, timeout_seconds):  # the job waits, until the provider says that it is cancelled
            return JobState.WAITING

    provider, ledger = SlowToStop(folder, slow=10_000), MemoryLedger()
    backend = over(provider, ledger)

    async def life():
        first = await backend.submit([request()])
        stopped = asyncio.create_task(backend.cancel(first))
        await asyncio.to_thread(stopping.wait)
        second = await backend.submit([request()])  # the same job: it may go on after all
        waiting = asyncio.create_task(backend.result(second))
        await asyncio.sleep(0)
        go_on.set()
        assert await stopped
        with pytest.raises(BackendFailedError, match="was cancelled"):
            await waiting
        await backend.close()

    asyncio.run(life())
    assert [row.status for row in ledger.records()] == [JobStatus.CANCELLED]


def test_every_copy_that_ran_counts_once(folder):
    class Often(ScriptedProvider):
        def send(self, requests, *, tag, timeout_seconds):
            for _ in range(3):
                self._take(requests, tag)
            raise SubmissionUnknownError("the connection broke")

        def cancel(self, job_id, *, timeout_seconds):
            return False  # they run

    ledger = MemoryLedger()
    outcomes(over(Often(folder), ledger), [request()])
    assert ledger.records()[0].cost == 3 * CENT


def test_a_job_that_somebody_cancelled_after_it_had_begun_was_paid_for(folder):
    class Begun(ScriptedProvider):
        def cancel(self, job_id, *, timeout_seconds):
            return False

    ledger = MemoryLedger()
    states = [JobState.RUNNING, JobState.CANCELLED]
    (error,) = outcomes(over(Begun(folder, state=states), ledger), [request()])
    assert "was cancelled" in str(error)
    assert (ledger.records()[0].status, ledger.records()[0].cost) == (JobStatus.CANCELLED, CENT)


def test_a_copy_that_ran_counts_though_the_job_itself_was_cancelled(folder):
    class Twice(ScriptedProvider):
        def send(self, requests, *, tag, timeout_seconds):
            for _ in range(2):
                self._take(requests, tag)
            raise SubmissionUnknownError("the connection broke")

        def cancel(self, job_id, *, timeout_seconds):
            return job_id == "job-000001"

    ledger = MemoryLedger()
    outcomes(over(Twice(folder, state=[JobState.CANCELLED]), ledger), [request()])
    assert (ledger.records()[0].status, ledger.records()[0].cost) == (JobStatus.CANCELLED, CENT)
