//! The rendered page in a real browser: its script runs without an error and the elements are there.
//!
//! The browser is `CHROMIUM` or the first of chromium, chromium-browser and google-chrome on the path. Without one
//! the tests are skipped, unless `CROSSLOOM_REQUIRE_BROWSER=1`. `CROSSLOOM_SCREENSHOT` names a PNG file to write.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crossloom_report::{ReportData, render};
use support::HOSTILE;

/// A page on disk and a browser to open it.
struct Session {
    browser: PathBuf,
    folder: tempfile::TempDir,
}

impl Session {
    fn open(data: &ReportData) -> Option<Self> {
        Self::open_page(&render(data))
    }

    fn open_page(page: &str) -> Option<Self> {
        let Some(browser) = find_browser() else {
            let required = std::env::var("CROSSLOOM_REQUIRE_BROWSER").is_ok_and(|value| value == "1");
            assert!(!required, "CROSSLOOM_REQUIRE_BROWSER is set, but no Chromium was found");
            println!("skipped: no Chromium was found (set CHROMIUM to its path)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("report.html"), page).expect("the page is written");
        Some(Self { browser, folder })
    }

    fn run(&self, fragment: &str, arguments: &[&str]) -> Output {
        let mut address = format!("file://{}", self.folder.path().join("report.html").display());
        address.push_str(fragment);
        Command::new(&self.browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=4000"])
            .arg(format!("--user-data-dir={}", self.folder.path().join("profile").display()))
            .args(arguments)
            .arg(address)
            .output()
            .expect("the browser starts")
    }

    /// The document after its script ran; fails on any error that the page or its console reports.
    fn document(&self, fragment: &str) -> String {
        let output = self.run(fragment, &["--dump-dom"]);
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(!log.contains("CONSOLE"), "the console has an entry:\n{log}");
        let document = String::from_utf8_lossy(&output.stdout).into_owned();
        let root = document.split_once("<head>").expect("a document").0;
        assert!(root.contains("data-ready=\"1\""), "the script did not finish: {root}");
        assert!(!root.contains("data-errors"), "the script failed: {root}");
        document
    }

    fn screenshot(&self, file: &Path, size: &str) {
        let output =
            self.run("", &[&format!("--screenshot={}", file.display()), &format!("--window-size={size}")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn find_browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM").filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let candidates =
        names.iter().flat_map(|name| std::env::split_paths(&folders).map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| path.is_file())
}

#[test]
fn the_example_opens_without_an_error_and_with_all_its_parts() {
    let Some(session) = Session::open(&support::example()) else { return };
    let document = session.document("");
    for part in [
        "id=\"accuracy\"",
        "class=\"chart topology\"",
        "class=\"heat\"",
        "class=\"chart lines\"",
        "class=\"sample\"",
        "id=\"command\"",
        "Point at the chart to read values.",
    ] {
        assert!(document.contains(part), "the document lacks {part}");
    }
    assert_eq!(hidden_samples(&document), 0);
    if let Some(file) = std::env::var_os("CROSSLOOM_SCREENSHOT") {
        let file = std::path::absolute(file).expect("a path");
        session.screenshot(&file, "1280,3000");
        assert!(std::fs::read(&file).expect("the screenshot").starts_with(b"\x89PNG"));
    }
}

#[test]
fn the_address_filters_the_samples() {
    let data = support::example();
    let Some(session) = Session::open(&data) else { return };
    let document = session.document("#samples=disagree,1");
    let shown = data.samples.items.len() - hidden_samples(&document);
    assert!(shown > 0 && shown < data.samples.items.len());
    assert!(document.contains(&format!("id=\"shown\">{shown}<")), "the count is shown");
    let strange = session.document("#samples=nonsense,99");
    assert_eq!(hidden_samples(&strange), 0, "an unknown filter shows everything");
}

/// A reader's pointer: presses a filter, then points at a chart and at a layer.
const READER: &str = r##"<script>
  document.querySelector("button[data-outcome=disagree]").click();
  const chart = document.querySelector("#training svg.chart");
  const box = chart.getBoundingClientRect();
  chart.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 9 }));
  document.querySelector("#topology .node.used").dispatchEvent(new PointerEvent("pointerenter"));
  const edges = document.querySelectorAll(".edge-group");
  edges[edges.length - 1].dispatchEvent(new PointerEvent("pointermove", { clientX: 50, clientY: 50 }));
</script>"##;

#[test]
fn filters_and_pointing_work() {
    let mut data = support::example();
    data.variants.reverse();
    let page = render(&data);
    let open = page.replacen("Content-Security-Policy", "policy-off", 1).replacen(
        "</body>",
        &format!("{READER}</body>"),
        1,
    );
    assert_ne!(open, page);
    let Some(session) = Session::open_page(&open) else { return };
    let document = session.document("");
    assert!(hidden_samples(&document) > 0, "the filter hides samples");
    assert!(document.contains("<p class=\"read-out\">step 1"), "the chart is read in its middle");
    assert!(
        document.contains("class=\"edge-group faded\""),
        "pointing at a layer fades the edges of the others"
    );
    assert!(document.contains("block.3-&gt;input: no gate</div>"), "the tip names the edge");
}

#[test]
fn hostile_data_runs_nothing() {
    let Some(session) = Session::open(&support::hostile()) else { return };
    let document = session.document("");
    assert!(!document.contains("<img"));
    let shown = HOSTILE
        .replace(['\u{0}', '\u{202e}'], "\u{fffd}")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    assert!(document.contains(&format!("<h1>{shown}</h1>")), "hostile text is shown as it is");
}

fn hidden_samples(document: &str) -> usize {
    let cards = document.split("<li class=\"sample\"").skip(1);
    cards.filter(|card| card.split('>').next().is_some_and(|tag| tag.contains("hidden"))).count()
}
