"""Holding up what a page asks of its service, in Chromium.

A request that a page sends right after `page.route` may pass the route by: the browser tells the
page's own process of it by another way than that of keys and clicks, and says that it is done
before it is. So a request that nobody waits for is sent first, again until one is caught.
"""

import re

PROBE = "?is-this-caught"  # of the page itself, so that what is not caught is answered


def hold(page, pattern):
    """The requests to `pattern` from now on, as a list that grows; each waits for its answer."""
    held, caught = [], []

    def catch(route):
        caught.append(route)
        route.fulfill(body="")

    page.route(re.compile(re.escape(PROBE)), catch)
    page.route(pattern, lambda route: held.append(route))
    for _ in range(1000):
        if caught:
            return held
        page.evaluate(f"fetch('{PROBE}').then(() => true)")
    raise AssertionError("the browser catches no request of this page")


def wait_for(page, held, count):
    """Wait until so many requests are held, for half a minute at most; what the page says else."""
    for _ in range(3000):
        if len(held) >= count:
            return
        page.wait_for_timeout(10)
    raise AssertionError(f"{len(held)} of {count} requests came: {page.inner_text('main')}")
