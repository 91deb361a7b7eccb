//! Rows of several lengths, and samples that are longer than any.

use crossloom_data::conversations::PictureReader;
use crossloom_data::image::{Image, ImageProcessor};
use serde_json::{Value, json};

use crate::support::{Folder, Setting, row};

#[test]
fn samples_of_like_length_and_like_views_share_a_batch() {
    let folder = Folder::new();
    let long = [("a", "b"), ("c", "d"), ("e", "f")];
    let rows: Vec<String> =
        (0..24).map(|n| row(&[1, 2][..n % 3], if n % 2 == 0 { &long } else { &long[..1] })).collect();
    let setting = Setting { lengths: vec![30, 10], views: vec![1, 2], ..Setting::default() };
    let mut stream = setting.stream(vec![folder.source("a.jsonl", &rows, None)]);
    let rooms: Vec<(usize, usize)> =
        stream.buckets().iter().map(|bucket| (bucket.room.views, bucket.room.text)).collect();
    assert_eq!(rooms, [(1, 10), (1, 30), (2, 10), (2, 30)]);
    let mut used = [0; 4];
    for _ in 0..40 {
        let batch = stream.next_batch().unwrap();
        used[batch.bucket] += 1;
        for sample in &batch.samples {
            let line: usize = sample.rsplit(' ').next().unwrap().parse().unwrap();
            let (pictures, text) = ((line - 1) % 3, if (line - 1).is_multiple_of(2) { 30 } else { 10 });
            assert_eq!(rooms[batch.bucket], (pictures.max(1), text), "{sample}");
        }
        assert_eq!(batch.batch.plan().sequence_len, [16, 40, 24, 40][batch.bucket]);
    }
    assert!(used.iter().all(|&batches| batches > 2), "{used:?}");
}

#[test]
fn a_sample_that_is_too_long_loses_whole_turns_and_is_counted() {
    let folder = Folder::new();
    // A turn has 8 tokens of text: user : a <eos> assistant : b <eos>.
    let turns = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h")];
    let rows: Vec<String> = (1..=4).map(|count| row(&[1], &turns[..count])).collect();
    let setting = Setting { lengths: vec![23], truncate: 2, ..Setting::default() };
    let source = || vec![folder.source("a.jsonl", &rows, None)];
    let sources = source();
    let reader = setting.reader();
    let read: Vec<_> = (0..4).map(|number| reader.read(&sources[0], number).unwrap()).collect();
    let kept: Vec<(usize, usize)> = read.iter().map(|of| (of.learned.len(), of.dropped)).collect();
    assert_eq!(kept, [(1, 0), (2, 0), (2, 1), (2, 2)]);
    assert_eq!(read[1].tokens, read[3].tokens, "what is left is as if there had been no more");

    let mut stream = setting.stream(sources);
    let mut notes = Vec::new();
    for _ in 0..6 {
        notes.extend(stream.next_batch().unwrap().notes);
    }
    assert_eq!(stream.counts().truncated, 2, "each once, however often it is drawn");
    notes.sort();
    assert_eq!(notes, ["a.jsonl, line 3 loses 1 of 3 answers", "a.jsonl, line 4 loses 2 of 4 answers"]);

    let mut strict = Setting { truncate: 1, ..setting }.stream(source());
    let error = (0..6).find_map(|_| strict.next_batch().err()).unwrap().to_string();
    assert!(
        error.starts_with("2 samples are longer than a row and lose turns, and 1 may: a.jsonl, line "),
        "{error}"
    );
}

#[test]
fn pictures_are_cut_with_their_turn_and_never_in_the_middle() {
    let folder = Folder::new();
    let later = |turns: usize| {
        let mut value: serde_json::Value =
            serde_json::from_str(&row(&[], &[("a", "b"), ("c", "d"), ("e", "f")])).unwrap();
        for turn in 0..turns {
            value["conversations"][2 * turn]["value"] = "<image>\na".into();
        }
        value["image"] = (0..turns).map(|number| format!("{number}.png")).collect::<Vec<_>>().into();
        value.to_string()
    };
    let rows = [later(1), later(2), later(3)];
    let sources = [folder.source("a.jsonl", &rows, None)];
    let reader = Setting::default().reader();
    for (number, (pictures, answers)) in [(1, 3), (2, 3), (2, 2)].into_iter().enumerate() {
        let read = reader.read(&sources[0], number).unwrap();
        assert_eq!((read.pictures.len(), read.learned.len()), (pictures, answers), "{number}");
        let image = read.tokens.iter().filter(|&&id| id == reader.tokenizer().special().image).count();
        assert_eq!(image, 4 * pictures);
    }
}

#[test]
fn a_first_turn_that_no_row_holds_leaves_its_sample_out() {
    let folder = Folder::new();
    let words = "a ".repeat(60);
    let rows = [row(&[1], &[("a", "b")]), row(&[], &[(words.trim(), "b")]), row(&[1, 2, 3], &[("a", "b")])];
    let setting = Setting { rows: 1, skip: 2, ..Setting::default() };
    let sources = || vec![folder.source("a.jsonl", &rows, None)];
    let mut stream = setting.stream(sources());
    let mut notes = Vec::new();
    for _ in 0..4 {
        let batch = stream.next_batch().unwrap();
        assert_eq!(batch.samples, ["a.jsonl, line 1"]);
        notes.extend(batch.notes);
    }
    assert_eq!(stream.counts().left_out, 2);
    notes.sort();
    assert!(notes[0].contains("line 2: its first turn has 67 tokens of text; a row holds 40"), "{notes:?}");
    assert!(
        notes[1].contains("line 3: its first turn has 8 tokens of text and 12 of pictures in 3 views"),
        "{notes:?}"
    );
    let mut strict = Setting { skip: 1, ..setting }.stream(sources());
    let error = (0..4).find_map(|_| strict.next_batch().err()).unwrap().to_string();
    assert!(error.starts_with("2 samples cannot be learned from, and 1 may be left out: "), "{error}");
}

/// Tiles of 8 by 8 pixels and 16 tokens, up to 6 by 6 of them, with the tokens of 9 kept: as LLaVA-OneVision has them, smaller.
#[test]
fn rows_have_room_for_any_picture_in_as_many_views_and_not_for_as_many_whole_ones() {
    let grids: Vec<[u32; 2]> =
        (1..=6).flat_map(|rows| (1..=6).map(move |columns| [8 * rows, 8 * columns])).collect();
    let config = json!({
        "image_processor_type": "LlavaOnevisionImageProcessor", "size": { "height": 8, "width": 8 },
        "image_grid_pinpoints": grids, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    });
    let Value::Object(config) = config else { unreachable!() };
    let pictures = PictureReader::new(ImageProcessor::read(&config).unwrap(), 16, Some(9)).unwrap();
    // Eleven tiles are kept whole beside the base, and rows of 24 tokens end once each.
    assert_eq!((pictures.most_tokens(37), pictures.most_tokens(1)), (12 * 16 + 24, 17));
    let mut largest = 0;
    for (width, height) in (1..=30).flat_map(|wide| (1..=30).map(move |high| (3 * wide, 3 * high))) {
        let picture = Image::new(width, height, vec![0; (3 * width * height) as usize]).unwrap();
        let (layout, views) = pictures.layouts(&[picture]).unwrap().pop().unwrap();
        let tokens = layout.tokens();
        assert!(tokens <= pictures.most_tokens(views), "{width}x{height}: {tokens} tokens of {views} views");
        largest = largest.max(tokens);
    }
    assert!(5 * largest > 4 * pictures.most_tokens(37), "{largest}: little room is left");
}
