//! In which order batches come.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossloom_data::conversations::{ConversationStream, Source, StreamState};
use crossloom_data::packing::PackedBatch;

use crate::support::{Folder, Setting, row};

/// Conversations of many lengths, about no picture, one, or two.
fn rows(count: usize) -> Vec<String> {
    let turns = [("a", "b"), ("c", "d"), ("e", "f g h"), ("i", "j")];
    (0..count).map(|n| row(&[1, 2][..n % 3], &turns[..=n % 4])).collect()
}

fn sources(folder: &Folder) -> Arc<Vec<Source>> {
    let sources =
        [folder.source("a.jsonl", &rows(17), Some(2.0)), folder.source("b.jsonl", &rows(5), Some(1.0))];
    Arc::new(sources.into())
}

fn setting(threads: usize, ahead: usize) -> Setting {
    let (lengths, views) = (vec![10, 20, 40], vec![1, 2]);
    Setting { lengths, views, samples_per_row: 2, threads, ahead, ..Setting::default() }
}

fn take(stream: &mut ConversationStream, count: usize) -> Vec<(PackedBatch, Vec<String>)> {
    let next = |_| stream.next_batch().map(|of| (of.batch, of.samples)).unwrap();
    (0..count).map(next).collect()
}

#[test]
fn batches_do_not_depend_on_threads_and_depend_on_the_seed() {
    let folder = Folder::new();
    let sources = sources(&folder);
    let one = take(&mut setting(1, 1).shared(&sources), 25);
    assert!(one == take(&mut setting(4, 50).shared(&sources), 25));
    let other = take(&mut Setting { seed: 6, ..setting(1, 1) }.shared(&sources), 25);
    assert!(one != other);
}

#[test]
fn a_stream_goes_on_after_any_batch_bit_for_bit() {
    let folder = Folder::new();
    let sources = sources(&folder);
    let mut whole = setting(2, 7).shared(&sources);
    let mut states = vec![whole.state().clone()];
    let mut batches = Vec::new();
    for _ in 0..20 {
        batches.extend(take(&mut whole, 1));
        states.push(whole.state().clone());
    }
    assert!(states.iter().any(|state| state.waiting.len() > 2), "batches wait for their rows");
    for (done, state) in states.iter().enumerate().take(15) {
        let saved = serde_json::to_string(state).unwrap();
        let mut resumed = setting(3, 2).shared(&sources);
        resumed.restore(serde_json::from_str::<StreamState>(&saved).unwrap()).unwrap();
        assert!(take(&mut resumed, 5) == batches[done..done + 5], "after batch {done}");
        assert_eq!(resumed.state(), &states[done + 5]);
    }
    // A stream that has read on goes back.
    whole.restore(states[3].clone()).unwrap();
    assert!(take(&mut whole, 2) == batches[3..5]);
}

#[test]
fn every_sample_is_handed_out_once_an_epoch_or_waits() {
    let folder = Folder::new();
    let sources = Arc::new(vec![folder.source("a.jsonl", &rows(40), None)]);
    let mut stream = setting(2, 5).shared(&sources);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..60 {
        for sample in stream.next_batch().unwrap().samples {
            *seen.entry(sample).or_default() += 1;
        }
    }
    for drawn in &stream.state().waiting {
        *seen.entry(format!("a.jsonl, line {}", drawn.sample + 1)).or_default() += 1;
    }
    let drawn = stream.state().mixture.drawn;
    assert_eq!(seen.values().sum::<u64>(), drawn);
    let (least, most) = (drawn / 40, drawn.div_ceil(40));
    assert!(
        least > 1 && seen.len() == 40 && seen.values().all(|times| (least..=most).contains(times)),
        "{seen:?}"
    );
}

#[test]
fn a_position_in_other_data_is_refused_and_leaves_the_stream_where_it_was() {
    let folder = Folder::new();
    let sources = sources(&folder);
    let mut stream = setting(1, 3).shared(&sources);
    let first = take(&mut stream, 2);
    let mut other = stream.state().clone();
    other.mixture.sources.pop();
    assert!(stream.restore(other).unwrap_err().to_string().contains("1 sources, and 2"));
    let mut other = stream.state().clone();
    other.waiting.push(crossloom_data::conversations::Drawn { source: 1, sample: 5, epoch: 0 });
    assert!(stream.restore(other).is_err());
    let mut again = setting(1, 3).shared(&sources);
    assert!(first == take(&mut again, 2) && take(&mut stream, 3) == take(&mut again, 3));
}
