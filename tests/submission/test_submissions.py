"""The submissions of a client, and their tokens."""

from __future__ import annotations

from callsheet._state.fate import Fate
from callsheet._submission.states import Attempt, State, Submission
from callsheet._submission.submissions import MOST_STAND_INS, Submissions
from making import record


def accepted(token: str) -> Submission:
    """A submission whose one attempt has made a task."""
    made = Attempt(n=1, token=token, fate=Fate.MADE, task_id=f"task of {token}", tries=1)
    return Submission(state=State.ACCEPTED, attempts=(made,), registered=1)


def test_a_record_that_is_kept_again_keeps_its_token():
    """What is remembered of its end is dropped some time, and takes no token of the record away."""
    kept, again = Submissions(), record(callback_url="https://hook.test/?token={token}")
    kept.put([again])
    kept.replace(again, accepted("a"))
    assert kept.of(again) is None
    kept.keep(again, accepted("a"))
    for number in range(MOST_STAND_INS):
        other = record(callback_url="https://hook.test/?token={token}")
        kept.put([other])
        kept.replace(other, accepted(f"other {number}"))
    assert kept.by_token("a") == (again, 1)
