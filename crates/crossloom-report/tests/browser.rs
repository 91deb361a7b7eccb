//! The rendered page in a real browser: its script runs without an error and the elements are there.
//! `CROSSLOOM_REPORT` names the page of a run to open too, `CROSSLOOM_SCREENSHOT` a PNG file for its picture.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/browser.rs"]
mod browser;
mod support;

use std::path::Path;

use browser::Session;
use crossloom_report::{ReportData, render};
use support::HOSTILE;

fn open(data: &ReportData) -> Option<Session> {
    Session::open(&render(data))
}

#[test]
fn the_example_opens_without_an_error_and_with_all_its_parts() {
    let Some(session) = open(&support::example()) else { return };
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
    let picture = tempfile::tempdir().unwrap();
    draw(&session, &picture.path().join("example.png"));
}

/// Writes a picture of a page that is as tall as a report of three variants.
fn draw(session: &Session, file: &Path) {
    session.screenshot(file, "1280,3330");
    assert!(std::fs::read(file).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn the_report_of_a_run_opens_without_an_error() {
    let Some(report) = std::env::var_os("CROSSLOOM_REPORT") else {
        println!("skipped: CROSSLOOM_REPORT names no page");
        return;
    };
    let page = std::fs::read_to_string(&report).unwrap_or_else(|e| panic!("{}: {e}", report.display()));
    let Some(session) = Session::open(&page) else { return };
    let document = session.document("");
    for part in
        ["id=\"accuracy\"", "id=\"training\"", "id=\"topology\"", "class=\"sample\"", "id=\"command\""]
    {
        assert!(document.contains(part), "the document lacks {part}");
    }
    if let Some(file) = std::env::var_os("CROSSLOOM_SCREENSHOT") {
        draw(&session, &std::path::absolute(file).unwrap());
    }
}

#[test]
fn the_address_filters_the_samples() {
    let data = support::example();
    let Some(session) = open(&data) else { return };
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
    let Some(session) = Session::open(&open) else { return };
    let document = session.document("");
    assert!(hidden_samples(&document) > 0, "the filter hides samples");
    assert!(document.contains("<p class=\"read-out\">step 1"), "the chart is read in its middle");
    assert!(
        document.contains("class=\"edge-group faded\""),
        "pointing at a layer fades the edges of the others"
    );
    assert!(document.contains("block.3-&gt;input: no gate</div>"), "the tip names the edge");
}

/// Writes down how tall two parts are, and again once all that is folded is open.
const MEASURE: &str = r##"<script>
  const tall = () => ["#topology", ".sample"].map((part) => document.querySelector(part).offsetHeight).join(" ");
  const folded = tall();
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  document.body.dataset.tall = folded + " " + tall();
</script>"##;

#[test]
fn a_sweep_takes_little_room_until_it_is_unfolded() {
    let page = render(&support::swept(60));
    let open = page.replacen("Content-Security-Policy", "policy-off", 1).replacen(
        "</body>",
        &format!("{MEASURE}</body>"),
        1,
    );
    let Some(session) = Session::open(&open) else { return };
    let document = session.document("");
    let (_, told) = document.split_once("data-tall=\"").unwrap();
    let told: Vec<u64> =
        told.split('"').next().unwrap().split(' ').map(|tall| tall.parse().unwrap()).collect();
    let [topology, sample, all_topology, all_sample] = told[..] else { panic!("{told:?}") };
    assert!(topology > 0 && 4 * topology < all_topology, "{told:?}");
    assert!(sample > 0 && 2 * sample < all_sample, "{told:?}");
}

#[test]
fn hostile_data_runs_nothing() {
    let Some(session) = open(&support::hostile()) else { return };
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
