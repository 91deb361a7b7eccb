#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::chat::Part;
use crate::image::Image;

/// A folder of two pictures and files of rows.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pictures")).unwrap();
        for (name, side) in [("a.png", 3), ("b.png", 5)] {
            let picture = Image::new(side, 2, vec![side as u8; 6 * side as usize]).unwrap();
            fs::write(folder.path().join("pictures").join(name), picture.to_png().unwrap()).unwrap();
        }
        Self(folder)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, format: impl Format + 'static, files: &[PathBuf]) -> Result<Records, RecordError> {
        Records::open(Box::new(format), files, &self.0.path().join("pictures"))
    }

    /// The only file's records, which are found. Every file has a folder of its own: rows are read when they are asked for.
    fn of(&self, format: impl Format + 'static, text: &str) -> Records {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        let path = folder.join("rows");
        fs::write(&path, text).unwrap();
        self.open(format, &[path]).unwrap()
    }
}

fn text(text: &str) -> Part {
    Part::Text { text: text.to_owned() }
}

const TALK: &str = r#"{"id": 7, "image": ["b.png", "a.png"], "conversations": [
    {"from": "human", "value": "<image>\n<image>\nWhich is \"wider\", {1} or [2]?"},
    {"from": "gpt", "value": "The first."},
    {"from": "human", "value": "And higher?"},
    {"from": "gpt", "value": "None."}]}"#;
const PLAIN: &str =
    r#"{"conversations": [{"from": "human", "value": "Two and two?"}, {"from": "gpt", "value": "4"}]}"#;

#[test]
fn an_array_and_lines_of_llavas_rows_are_the_same_samples() {
    let folder = Folder::new();
    let array = folder.of(Llava, &format!(" [\n{TALK} ,\n{PLAIN}\n]\n"));
    let lines = folder.of(Llava, &format!("{}\n\n{PLAIN}", TALK.replace('\n', " ")));
    for (records, places) in [(&array, [2, 7]), (&lines, [1, 3])] {
        assert_eq!(records.len(), 2);
        let found: Vec<u64> = (0..2).map(|number| records.place(number).unwrap().1).collect();
        assert_eq!(found, places);
        let talk = records.read(0).unwrap();
        assert_eq!(talk.pictures, ["b.png", "a.png"]);
        let asked = [Part::Image {}, Part::Image {}, text("Which is \"wider\", {1} or [2]?")];
        assert_eq!(talk.messages[0].content, asked);
        assert_eq!(talk.messages.len(), 4);
        let widths: Vec<u32> = records.pictures(0, &talk).unwrap().iter().map(Image::width).collect();
        assert_eq!(widths, [5, 3]);
        assert_eq!(records.read(1).unwrap().pictures.len(), 0);
        assert!(matches!(records.read(2), Err(RecordError::NoSuchSample { number: 2, samples: 2 })));
    }
}

#[test]
fn messages_name_their_pictures_in_parts_or_in_a_list() {
    let folder = Folder::new();
    let rows = [
        r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "What?"}]}, {"role": "assistant", "content": "Grey."}]}"#,
        r#"{"messages": [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "Grey."}], "images": ["a.png"]}"#,
        r#"{"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}, {"role": "assistant", "content": [{"type": "text", "text": "Grey."}]}], "images": "a.png"}"#,
    ];
    let records = folder.of(Messages, &rows.join("\n"));
    for number in 0..3 {
        let record = records.read(number).unwrap();
        assert_eq!(record.pictures, ["a.png"]);
        let asked = record.messages.iter().find(|message| message.role == "user").unwrap();
        assert_eq!(asked.content, [Part::Image {}, text("What?")]);
    }
}

/// A tar of members that a test chooses, as no program would write it.
fn tar(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn members_of_a_tar_with_one_name_are_a_sample() {
    let folder = Folder::new();
    let picture = |name: &str| fs::read(folder.0.path().join("pictures").join(name)).unwrap();
    let (a, b) = (picture("a.png"), picture("b.png"));
    let question = br#"{"question": "Which?", "answer": "The second."}"#;
    let shard = tar(&[
        ("shard/", tar::EntryType::Directory, b""),
        ("shard/0.a.png", FILE, &a),
        ("shard/0.b.png", FILE, &b),
        ("shard/0.json", FILE, question),
        ("shard/1.json", FILE, PLAIN.as_bytes()),
        ("shard/1.cls", FILE, b"9"),
        ("shard/2.png", FILE, &a),
    ]);
    let records = folder.open(WebDataset, &[folder.file("0.tar", &shard)]).unwrap();
    assert_eq!(records.len(), 3);
    let first = records.read(0).unwrap();
    assert_eq!(first.messages[0].pictures(), 2);
    assert_eq!(records.pictures(0, &first).unwrap()[1].width(), 5);
    assert_eq!(records.read(1).unwrap().pictures.len(), 0);
    let message = records.read(2).unwrap_err().to_string();
    assert!(message.ends_with("0.tar`, member 7: it has no `.json`"), "{message}");
}

#[test]
fn a_tar_that_leads_elsewhere_is_refused() {
    let folder = Folder::new();
    let refused =
        |bytes: &[u8]| folder.open(WebDataset, &[folder.file("bad.tar", bytes)]).unwrap_err().to_string();
    for (name, kind, part) in [
        ("../0.json", FILE, "member 2: `../0.json` leads out of"),
        ("/etc/0.json", FILE, "`/etc/0.json` leads out of"),
        ("1.png", tar::EntryType::Symlink, "`1.png` is a link"),
        ("1.png", tar::EntryType::Link, "`1.png` is a link"),
        ("1.png", tar::EntryType::Char, "neither a file nor a folder"),
    ] {
        let message = refused(&tar(&[("0.json", FILE, PLAIN.as_bytes()), (name, kind, b"")]));
        assert!(message.contains(part), "{message}");
    }
    let mut lying = tar(&[("0.json", FILE, PLAIN.as_bytes())]);
    let mut header = tar::Header::from_byte_slice(&lying[..512]).clone();
    header.set_size(1 << 20);
    header.set_cksum();
    lying[..512].copy_from_slice(header.as_bytes());
    let message = refused(&lying);
    assert!(message.contains("longer than the file") || message.contains("unexpected"), "{message}");
    assert!(!refused(b"no tar at all").is_empty());
}

#[test]
fn rows_that_nothing_can_be_learned_from_say_why_and_where() {
    let folder = Folder::new();
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"question\": \"[{{\\\"a\", \"answer\": \"b\", \"x\": {open}{close}}}")
    };
    let long = format!("{{\"image\": \"{}\"}}", "x".repeat(MAX_ROW_BYTES));
    let turns = |turns: &[(&str, &str)]| {
        let turns: Vec<_> =
            turns.iter().map(|(from, value)| serde_json::json!({ "from": from, "value": value })).collect();
        serde_json::json!({ "conversations": turns }).to_string()
    };
    let llava: [(String, &str); 9] = [
        ("{".to_owned(), "EOF"),
        (PLAIN.replace("conversations", "talk"), "missing field `conversations`"),
        (turns(&[]), "nothing is asked"),
        (turns(&[("human", "a")]), "the last question has no answer"),
        (
            turns(&[("gpt", "a"), ("human", "b")]),
            "message 1 is the assistant's, where the user's is expected",
        ),
        (turns(&[("human", "a"), ("gpt", " ")]), "message 2, the assistant's, is blank"),
        (turns(&[("narrator", "a"), ("gpt", "b")]), "nobody is called `narrator`"),
        (
            turns(&[("human", "<image>a"), ("gpt", "b")]),
            "its texts have 1 places for pictures, and 0 are given",
        ),
        (turns(&[("human", "a"), ("gpt", "<image>b")]), "message 2 is an answer with a picture"),
    ];
    for (row, part) in llava {
        let message = folder.of(Llava, &format!("\n{row}")).read(0).unwrap_err().to_string();
        assert!(message.contains("rows`, line 2: ") && message.contains(part), "{message}");
    }
    assert!(folder.of(Questions, &nested(126)).read(0).is_ok());
    for depth in [127, 10_000] {
        let message = folder.of(Questions, &nested(depth)).read(0).unwrap_err().to_string();
        assert!(message.ends_with("line 1: the row is nested more than 127 deep"), "{message}");
    }
    let refused =
        |text: &str| folder.open(Llava, &[folder.file("rows", text.as_bytes())]).unwrap_err().to_string();
    for (text, part) in [
        (format!("[{PLAIN},\n{}", "{\"x\":[".repeat(10_000)), "line 2: the row is nested more than 127 deep"),
        (format!("[{long}]"), "line 1: the row is longer than 4 MiB"),
        (format!("\n{long}"), "line 2: the row is longer than 4 MiB"),
        (format!("[{PLAIN}\n"), "line 2: the file ends within the array"),
        (format!("[{PLAIN}\n{PLAIN}]"), "line 2: an element `{…}` or the end is expected, not `{`"),
        (format!("[{PLAIN}]\n[]"), "line 2: something follows the end of the array"),
        ("[]".to_owned(), "there is no sample in"),
        (String::new(), "there is no sample in"),
    ] {
        let message = refused(&text);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_picture_outside_its_folder_is_not_looked_at() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("secret.png"), b"secret").unwrap();
    std::os::unix::fs::symlink("../secret.png", folder.0.path().join("pictures/link.png")).unwrap();
    let question =
        |image: &str| serde_json::json!({ "image": image, "question": "a", "answer": "b" }).to_string();
    let seen = |image: &str| {
        let records = folder.of(Questions, &question(image));
        let record = records.read(0)?;
        records.pictures(0, &record)
    };
    assert!(seen("./a.png").is_ok());
    for (image, part) in [
        ("../secret.png", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("x/../../secret.png", "leads out of the folder"),
        ("", "has no name"),
        ("https://example.org/a.png", "is an address"),
        ("link.png", "is a link out of its folder"),
        ("absent.png", "line 1: the picture `absent.png`"),
    ] {
        let message = seen(image).unwrap_err().to_string();
        assert!(message.contains("line 1") && message.contains(part), "{image}: {message}");
    }
}

#[test]
fn a_picture_of_ten_gigapixels_is_refused_by_its_header() {
    let folder = Folder::new();
    let mut png = fs::read(folder.0.path().join("pictures/a.png")).unwrap();
    // Width and height of the header, whose checksum follows.
    png[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
    fs::write(folder.0.path().join("pictures/huge.png"), png).unwrap();
    let records = folder.of(Questions, r#"{"image": "huge.png", "question": "a", "answer": "b"}"#);
    let record = records.read(0).unwrap();
    let message = records.pictures(0, &record).unwrap_err().to_string();
    assert!(message.contains("line 1") && message.contains("huge.png"), "{message}");
}

#[test]
fn an_inspection_counts_everything_and_tells_the_first_problems() {
    let folder = Folder::new();
    let bad = r#"{"image": "absent.png", "question": "a", "answer": "b"}"#;
    let mut rows = vec![r#"{"image": ["a.png", "b.png"], "question": "Which?", "answer": "The wider."}"#];
    rows.extend([bad; 300]);
    rows.push(r#"{"question": "Two and two?", "answer": "4"}"#);
    let mut done = Vec::new();
    let found = folder.of(Questions, &rows.join("\n")).inspect(2, None, &mut |samples| done.push(samples));
    assert_eq!((found.samples, found.sound, found.answers, found.with_problems), (302, 2, 2, 300));
    assert_eq!(found.by_pictures.into_iter().collect::<Vec<_>>(), [(0, 1), (2, 1)]);
    assert_eq!(found.longest, (12, 10));
    let (small, large) = found.pictures.unwrap();
    assert_eq!((small.width, large.width), (3, 5));
    let told: Vec<usize> = found.problems.iter().map(|problem| problem.sample).collect();
    assert_eq!((told, done), (vec![1, 2], vec![256, 302]));
    assert!(found.problems[0].message.contains("line 2: the picture `absent.png`"));
}

/// Where elements begin and end does not depend on how much of a file is read at once.
#[test]
fn places_do_not_depend_on_the_size_of_a_read() {
    let text = format!("[{TALK},{PLAIN},\n {TALK}]");
    let places = |size: usize| {
        let (mut array, mut lines) = (Vec::new(), Vec::new());
        let reader = || std::io::BufReader::with_capacity(size, text.as_bytes());
        array::index(reader(), &mut |place| array.push(place)).unwrap();
        lines::index(reader(), &mut |place| lines.push(place)).unwrap();
        (array, lines)
    };
    let whole = places(1 << 16);
    assert_eq!(whole.0.len(), 3);
    for place in &whole.0 {
        let row = &text.as_bytes()[place.start as usize..][..place.len as usize];
        assert!(Llava.parse(row, &[]).is_ok());
    }
    for size in [1, 2, 7, 64] {
        assert_eq!(places(size), whole, "{size}");
    }
}

/// How many rows are damaged; `CROSSLOOM_FUZZ_CASES` says another number.
fn cases() -> u32 {
    std::env::var("CROSSLOOM_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_row_is_refused_with_a_reason_or_sound(
        whole in prop::sample::select(vec![
            TALK,
            PLAIN,
            r#"{"messages":[{"role":"user","content":[{"type":"image","image":"a"}]},{"role":"assistant","content":"b"}]}"#,
            r#"{"image":["a","b"],"question":"<image>c","answer":"d"}"#,
        ]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_usize), 0..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut row = whole.as_bytes().to_vec();
        for (at, byte, kind) in changes {
            let at = at.index(row.len());
            match kind {
                0 => row[at] = byte,
                1 => row.insert(at, byte),
                2 => drop(row.remove(at)),
                _ => row.extend_from_within(at..),
            }
        }
        if let Some(cut) = cut {
            row.truncate(cut.index(row.len()));
        }
        prop_assert!(sound(&row));
    }
}
