"""GET /v1/models: whichever pool answers."""

from pathlib import Path

import pytest
from fakes import FakePool, Harness, gone, whole

from router.errors import UnavailableError
from router.models import ModelList

pytestmark = pytest.mark.unit

LIST = b'{"object":"list","data":[]}'


async def test_the_first_pool_that_answers_gives_the_list(tmp_path: Path) -> None:
    """A pool that fails is passed over."""
    vanilla, ngram = FakePool([gone()]), FakePool([whole(LIST)])
    harness = await Harness(tmp_path, vanilla=vanilla, ngram=ngram).ready()
    assert await ModelList(harness.pools).body() == LIST
    assert [call.path for call in ngram.calls] == ["/v1/models"]
    assert harness.idle


async def test_without_pools_there_is_no_list(tmp_path: Path) -> None:
    """503 with Retry-After, asking nobody that is away."""
    harness = Harness(tmp_path)
    with pytest.raises(UnavailableError) as caught:
        await ModelList(harness.pools).body()
    assert caught.value.retry_after_s
    assert not harness.vanilla.calls
