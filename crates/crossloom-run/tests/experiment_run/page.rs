//! The report of a real run in a real browser.

use crate::browser::Session;
use crate::support::{Entry, finish, recipe};

#[test]
fn the_report_of_a_run_opens_without_an_error_and_shows_what_was_run() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let finished = finish(&recipe, &[], folder.path(), Entry::New);
    let Some(session) = Session::open(&std::fs::read_to_string(&finished.report).unwrap()) else { return };
    let document = session.document("");
    let count = |part: &str| document.matches(part).count();
    // Every tap into every point, and the input of each of the three.
    assert_eq!(count("class=\"edge-group\""), 4 * 3 + 3, "edges of the topologies");
    assert_eq!(count(": mean gate 0."), 2 * 4 * 3, "gates by edge, in the picture and in the heat map");
    for variant in &recipe.variants {
        assert!(document.contains(&variant.name), "{}", variant.name);
        assert!(
            !variant.description.is_empty() && document.contains(&variant.description),
            "{}",
            variant.name
        );
    }
    assert!(count("data:image/png;base64,") > 0 && count("class=\"sample\"") > 0, "sample pictures");
    let file = folder.path().join("report.png");
    session.screenshot(&file, "1280,3000");
    assert!(std::fs::metadata(&file).unwrap().len() > 20_000, "the page is not blank");
}
