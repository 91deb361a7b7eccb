//! Samples that cannot be read: a run stops at them with file and line, or leaves them out and counts them.

use std::fs;

use crossloom_data::conversations::Source;
use crossloom_data::image::Image;
use crossloom_data::records::{Records, format};

use crate::support::{Folder, Setting, row};

/// A PNG whose header tells 100,000 by 100,000 pixels, its checksum right.
fn ten_gigapixels() -> Vec<u8> {
    let mut png = Image::new(1, 1, vec![0; 3]).unwrap().to_png().unwrap();
    png[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
    let mut crc = u32::MAX;
    for &byte in &png[12..29] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[test]
fn a_bad_row_in_the_middle_stops_a_strict_stream_and_is_counted_by_another() {
    let folder = Folder::new();
    fs::write(folder.path("huge.png"), ten_gigapixels()).unwrap();
    fs::write(folder.path("broken.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    let good = row(&[1], &[("a", "b")]);
    let named = |picture: &str| good.replace("1.png", picture);
    let bad = [
        ("{\"image\": \"1.png\", \"conver".to_owned(), "no such row"),
        (format!("{{\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000)), "nested more than 127 deep"),
        (named("../secret.png"), "leads out of the folder of pictures"),
        (named("absent.png"), "No such file"),
        (named("huge.png"), "100000x100000"),
        (named("broken.png"), "broken.png"),
        (row(&[1], &[("a <image> b", "c")]), "2 places for pictures, and 1 are given"),
        (row(&[1], &[("a", " ")]), "is blank"),
    ];
    for (row, reason) in bad {
        let rows = [good.clone(), row, good.clone()];
        let setting = Setting { rows: 1, ..Setting::default() };
        let source = || vec![folder.source("a.jsonl", &rows, None)];
        let mut strict = setting.stream(source());
        let error = (0..4).find_map(|_| strict.next_batch().err()).unwrap().to_string();
        assert!(error.contains("a.jsonl`, line 2: ") && error.contains(reason), "{reason}: {error}");
        assert!(error.len() < 500, "{error}");
        let mut lenient = Setting { skip: 1, ..setting }.stream(source());
        for _ in 0..4 {
            assert_ne!(lenient.next_batch().unwrap().samples, ["a.jsonl, line 2"]);
        }
        assert_eq!((lenient.counts().left_out, lenient.counts().truncated), (1, 0), "{reason}");
    }
}

#[test]
fn a_stream_of_nothing_but_bad_samples_ends() {
    let folder = Folder::new();
    let rows = vec!["{}".to_owned(); 5];
    let mut stream =
        Setting { skip: 100, ..Setting::default() }.stream(vec![folder.source("a.jsonl", &rows, None)]);
    let error = stream.next_batch().unwrap_err().to_string();
    assert!(error.starts_with("none of 5 samples can be learned from"), "{error}");
    assert_eq!(stream.next_batch().unwrap_err().to_string(), error, "it is where it was");
}

#[test]
fn a_file_that_goes_away_is_an_error_of_its_samples() {
    let folder = Folder::new();
    let source = folder.source("a.jsonl", &[row(&[1], &[("a", "b")]), row(&[], &[("a", "b")])], None);
    fs::remove_file(folder.path("a.jsonl")).unwrap();
    let error = Setting::default().stream(vec![source]).next_batch().unwrap_err().to_string();
    assert!(error.contains("a.jsonl") && error.contains("No such file"), "{error}");
}

#[test]
fn samples_of_a_tar_are_streamed_with_the_pictures_beside_them() {
    let folder = Folder::new();
    let path = folder.path("a.tar");
    let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
    for number in 0..4 {
        let pictures = number % 3;
        let json = row(&[1, 2][..pictures], &[("a", "b")]);
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add(format!("{number}.json"), json.as_bytes());
        for picture in 0..pictures {
            add(
                format!("{number}.{picture}.png"),
                &fs::read(folder.path(&format!("{picture}.png"))).unwrap(),
            );
        }
    }
    tar.finish().unwrap();
    let records = Records::open(format("webdataset").unwrap(), &[path], &folder.path("")).unwrap();
    let mut stream = Setting::default().stream(vec![Source { records, weight: None }]);
    let batches: Vec<_> = (0..2).map(|_| stream.next_batch().unwrap()).collect();
    let mut samples: Vec<&String> = batches.iter().flat_map(|batch| &batch.samples).collect();
    samples.sort();
    assert_eq!(samples, ["a.tar, member 1", "a.tar, member 2", "a.tar, member 4", "a.tar, member 7"]);
}
