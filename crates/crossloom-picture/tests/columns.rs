//! Two columns: every form says the same edges, and nothing that is written gets out of its place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crossloom_picture::{Column, Columns, Link, Picture, Plate};

fn column(head: &str, labels: &[&str]) -> Column {
    let plate = |label: &&str| Plate { label: (*label).to_owned(), tint: "#123456".to_owned() };
    Column { head: head.to_owned(), plates: labels.iter().map(plate).collect() }
}

fn link(name: &str, from: usize, to: usize, weight: Option<f64>) -> Link {
    Link { name: name.to_owned(), from, to, strong: name == "main", weight, ..Link::default() }
}

fn two_by_one() -> Columns {
    Columns {
        title: "two by one".to_owned(),
        left: column("left", &["a", "b"]),
        right: column("right", &["z"]),
        links: vec![link("main", 1, 0, None), link("weak", 0, 0, Some(0.25)), link("lost", 0, 7, None)],
        notes: vec!["a note".to_owned()],
    }
}

#[test]
fn the_text_forms_list_boxes_frames_and_edges() {
    let picture = Picture::of_columns(&two_by_one());
    assert_eq!(
        picture.to_mermaid(),
        "flowchart LR\n  subgraph s1[\"left\"]\n    n0[\"a\"]\n    n1[\"b\"]\n  end\n  subgraph s2[\"right\"]\n    \
         n2[\"z\"]\n  end\n  n1 ==> n2\n  n0 --> n2\n"
    );
    let dot = picture.to_dot();
    assert!(dot.contains("rankdir=LR") && dot.contains("n1 -> n2 [id=\"main\", style=bold];"), "{dot}");
    assert!(!dot.contains("lost"), "an edge without an end is not drawn: {dot}");
}

#[test]
fn an_svg_names_every_edge_and_shows_weights() {
    let svg = Picture::of_columns(&two_by_one()).to_svg();
    assert!(svg.contains("data-edge=\"weak\"><title>weak  W = 0.250</title>"), "{svg}");
    assert!(svg.contains("stroke-width=\"2.35\""), "0.8 + 6.2 × 0.25: {svg}");
    assert!(svg.contains(">a note</text>"), "{svg}");
    let lone =
        Columns { left: Column::default(), right: Column::default(), links: Vec::new(), ..two_by_one() };
    assert!(Picture::of_columns(&lone).to_svg().ends_with("</svg>\n"));
}

#[test]
fn whatever_is_written_is_escaped() {
    let evil = "</svg><script>\"&'\u{1}\n#;";
    let mut columns = two_by_one();
    columns.title = evil.to_owned();
    columns.left = column(evil, &[evil, evil]);
    columns.left.plates[0].tint = evil.to_owned();
    columns.links[1].name = evil.to_owned();
    columns.notes = vec![evil.to_owned()];
    let picture = Picture::of_columns(&columns);
    let svg = picture.to_svg();
    assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1 && !svg.contains("\"&'"), "{svg}");
    for text in [picture.to_mermaid(), picture.to_dot()] {
        let plain = text.replace("\\\\", "").replace("\\\"", "");
        assert!(plain.lines().all(|line| line.matches('"').count() % 2 == 0), "{text}");
    }
}
