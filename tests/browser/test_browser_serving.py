"""The page of operations in a real browser: listed, tried, under the strict policy, on a desktop and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latentscape.serve.app import make_app
from latentscape.serve.exported import Exported
from latentscape.web.binding import bind
from latentscape.web.runner import in_background
from tiny_exports import Tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server with a token, as it is printed."""
    tiny = Tiny(tmp_path_factory.mktemp("export") / "tiny", labels=("cat", "dog"))
    binding = bind("127.0.0.1", 0, "auto")
    with in_background(make_app(Exported(tiny.write(), 1), binding), binding):
        yield binding.url("/")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)])
def test_operations_are_listed_and_tried(address: str, open_page: Any, width: int, dark: bool, tmp_path: Path) -> None:
    page = open_page(address, size={"width": width, "height": 900}, dark=dark)
    sample = page.locator("details", has_text="/v1/sample")
    sample.locator("summary").click()
    assert page.url.endswith("/docs/")  # without the token
    assert page.title() == "latentscape serve: tiny"
    assert page.locator("details").count() == 9
    sample.get_by_role("button", name="Send for a picture").click()
    picture = sample.get_by_alt_text("the answer, a picture")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 4 * 5 + 3
    sample.get_by_label("JSON body").fill('{"n": 2, "labels": "cat"}')
    sample.get_by_role("button", name="Send", exact=True).click()
    sample.get_by_text('"seed":').wait_for()
    encode = page.locator("details", has_text="/v1/encode")
    encode.locator("summary").click()
    file = tmp_path / "picture.png"
    file.write_bytes(picture_file())
    encode.get_by_label("or a picture").set_input_files(file)
    encode.get_by_text('{"z":[[').wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def picture_file() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("L", (50, 60), 90).save(out, "PNG")
    return out.getvalue()
