"""What schemathesis does before each call: a key under which a caller may ask again is used once.

Two requests that are each as the document wants them may meet under one Idempotency-Key, and the second is refused (422
`idempotency_reuse`), which no schema can tell. `fifty_equal_keys_at_once_are_one_job_also_after_a_restart` (it/jobs.rs)
tests the reuse. Headers that are wrong on purpose are sent as they are.
"""

import itertools

import schemathesis
from schemathesis.core.parameters import ParameterLocation

KEY = "Idempotency-Key"
KEY_CHARS_MAX = 255

numbers = itertools.count(1)


@schemathesis.hook.apply_to(operation_id=["execute", "complete"])
def before_call(ctx, case, kwargs):
    if case.meta is None or case.meta.is_negative_at(ParameterLocation.HEADER):
        return
    key = (case.headers or {}).get(KEY)
    if key is not None:
        # No other key ends in this number. A key of the greatest length keeps it.
        end = f".{next(numbers)}"
        case.headers[KEY] = key[: KEY_CHARS_MAX - len(end)] + end
