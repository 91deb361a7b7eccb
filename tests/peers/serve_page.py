"""The server's page in a headless Chromium: a picture is dropped, a question asked, the answer appears with its gates.

    pip install playwright==1.65.2 "pillow<14"
    cargo build --release && python tests/peers/serve_page.py [SCREENSHOT.png]

The browser is `CHROMIUM`, or the first of chromium, chromium-browser and google-chrome on the path. The answer is that of
`crossloom generate`. Nothing but the server is asked for anything, and the console stays empty.
"""

import base64
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from served import Served, program

# A file that is dragged onto an element, as a browser hands it over.
DROP = """([name, bytes]) => {
    const file = new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type: "image/png" });
    const data = new DataTransfer();
    data.items.add(file);
    document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def browser():
    names = [os.environ.get("CHROMIUM"), *map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])]
    return next(name for name in names if name)


def main():
    with Served(program()) as served, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1100, "height": 760})
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served.url)
        page.wait_for_selector("html[data-ready]")
        assert page.text_content("h1") == served.name
        assert "sees one picture and has 4 gated edges" in page.text_content("#about"), page.text_content("#about")

        sample = next(sample for sample in served.samples if sample["image"].endswith(".png"))
        expected = served.answers()[sample["image"], sample["question"]]
        png = base64.b64encode(Path(sample["image"]).read_bytes()).decode()
        page.evaluate(DROP, [Path(sample["image"]).name, png])
        page.wait_for_selector("#pictures img")
        # As many tokens as `generate` writes.
        page.click("summary")
        page.fill("#tokens", "4")
        # By the keyboard alone.
        page.focus("#question")
        page.keyboard.type(sample["question"])
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-answered]")
        told = page.text_content("#answer").replace(" … (cut at its longest length)", "")
        assert told == expected, (told, expected, page.text_content("#problem"))
        assert "tokens read" in page.text_content("#note")
        cells = page.locator("#heat td.shade")
        assert cells.count() == 4 and all(0 <= float(text) <= 1 for text in cells.all_text_contents())
        assert page.locator("#heat thead th[scope=col]").all_text_contents() == ["block.1", "block.2"]
        if len(sys.argv) > 1:
            page.screenshot(path=sys.argv[1], full_page=True)

        # What is refused is told, and what runs can be stopped.
        page.locator("#pictures button").click()
        page.locator("#ask").click()
        page.wait_for_selector("#problem:not([hidden])")
        assert "pictures" in page.text_content("#problem"), page.text_content("#problem")
        # The browser itself notes a response of 400.
        assert all("400" in line for line in said), said
        assert all(url.startswith((served.url, "data:", "blob:")) for url in asked), asked
        chromium.close()
    print("the page answers as generate does, shows four gates, and asks nobody else")


if __name__ == "__main__":
    main()
