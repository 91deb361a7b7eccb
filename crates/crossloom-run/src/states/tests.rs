#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;

const LAYOUT: [(DType, usize); 2] = [(DType::F32, 2), (DType::Bf16, 12)];

fn encoding(of: &str) -> Encoding {
    Encoding(blake3::hash(of.as_bytes()))
}

/// 32 bytes.
fn picture(value: f32) -> Arc<Picture> {
    let state = |(dtype, elements): (DType, usize)| State::of(&vec![value; elements], dtype);
    Arc::new(Picture(LAYOUT.into_iter().map(state).collect()))
}

fn key(i: u8) -> Key {
    Key::of(encoding("w"), &[f32::from(i)])
}

#[test]
fn the_least_recently_used_goes_and_the_budget_holds() {
    // Two pictures, and a little.
    let mut states = States::new(70, None);
    states.put(key(1), &picture(1.0));
    states.put(key(2), &picture(2.0));
    assert_eq!(states.get(key(1), &LAYOUT), Some(picture(1.0)));
    states.put(key(3), &picture(3.0));
    assert!(states.get(key(2), &LAYOUT).is_none() && states.get(key(1), &LAYOUT).is_some());
    assert_eq!((states.held, states.pictures.len(), states.by_age.len()), (64, 2, 2));
    states.keep(key(1), &picture(1.0));
    assert_eq!(states.held, 64, "what is held already is not held twice");
    let mut none = States::new(31, None);
    none.put(key(1), &picture(1.0));
    assert!(none.get(key(1), &LAYOUT).is_none(), "what is larger than the budget is not kept");
}

#[test]
fn a_key_is_of_the_picture_and_of_how_it_is_encoded() {
    let key = Key::of(encoding("w"), &[1.0, 2.0]);
    assert_eq!(key, Key::of(encoding("w"), &[1.0, 2.0]));
    assert_ne!(key, Key::of(encoding("v"), &[1.0, 2.0]));
    assert_ne!(key, Key::of(encoding("w"), &[2.0, 1.0]));
}

#[test]
fn what_memory_lets_go_is_on_disk_and_another_process_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Disk::open(folder.path(), 1 << 20).unwrap();
    let mut states = States::new(40, Some(open()));
    for i in 0..3 {
        states.put(key(i), &picture(0.1 + f32::from(i)));
    }
    assert_eq!(states.held, 32);
    for i in 0..3 {
        assert_eq!(states.get(key(i), &LAYOUT), Some(picture(0.1 + f32::from(i))));
    }
    assert_eq!(states.counts, Counts { encoded: 3, from_memory: 0, from_disk: 3 });
    let mut other = States::new(0, Some(open()));
    assert_eq!(other.bytes(), (0, states.bytes().1));
    assert_eq!(other.get(key(1), &LAYOUT), Some(picture(1.1)));
    assert!(other.get(key(9), &LAYOUT).is_none());
    let wider = [(DType::F32, 2), (DType::F32, 12)];
    assert!(other.get(key(1), &wider).is_none(), "a file of other states is not read");
}

#[test]
fn damaged_files_are_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path(), 1 << 20).unwrap();
    disk.write(key(1), &picture(1.0));
    let group = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let path = fs::read_dir(group).unwrap().next().unwrap().unwrap().path();
    let sound = fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..sound.len())
        .map(|at| {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x10;
            bytes
        })
        .collect();
    damaged.extend([sound[..sound.len() - 1].to_vec(), [&sound[..], &[0]].concat(), Vec::new()]);
    for bytes in damaged {
        fs::write(&path, bytes).unwrap();
        assert_eq!(disk.read(key(1), &LAYOUT), None);
        let mut states = States::new(0, Some(Disk::open(folder.path(), 1 << 20).unwrap()));
        states.put(key(1), &picture(1.0));
        assert_eq!(fs::read(&path).unwrap(), sound, "it is whole again");
    }
}

#[test]
fn the_limit_of_the_disk_holds_for_all_processes_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path(), 200).unwrap();
    for i in 0..4 {
        disk.write(key(i), &picture(1.0));
    }
    let found = |disk: &Disk| (0..9).filter(|&i| disk.read(key(i), &LAYOUT).is_some()).count();
    // 72 bytes each.
    assert_eq!((found(&disk), disk.held()), (2, 144));
    let mut later = Disk::open(folder.path(), 200).unwrap();
    later.write(key(7), &picture(1.0));
    assert_eq!((found(&later), later.held()), (2, 144));
}

#[test]
fn a_folder_that_is_taken_away_ends_the_writing_and_no_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(folder.path(), 1 << 20).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    fs::write(folder.path(), "a file in its place").unwrap();
    disk.write(key(1), &picture(1.0));
    assert_eq!(disk.read(key(1), &LAYOUT), None);
    fs::remove_file(folder.path()).unwrap();
    fs::create_dir(folder.path()).unwrap();
    disk.write(key(1), &picture(1.0));
    assert_eq!((disk.read(key(1), &LAYOUT), disk.held()), (None, 0), "it is not tried again");
}
