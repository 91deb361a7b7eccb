//! What a batch of conversations holds.

use crossloom_data::conversations::ConversationBatch;
use crossloom_data::packing::{IGNORED_TARGET, PADDING_SEGMENT, PackedBatch, VISUAL_PARTS, may_attend};

use crate::support::{Folder, Setting, anyres, row, shade, tokenizer};

/// The positions of a row that belong to a segment.
fn places(batch: &PackedBatch, row: usize, segment: i32) -> Vec<usize> {
    let length = batch.plan().sequence_len;
    let segments = &batch.segments_bt[row * length..][..length];
    (0..length).filter(|&at| segments[at] == segment).collect()
}

/// What a sample says, from the arrays alone: `#` for a visual token, and in brackets what is learned.
fn said(batch: &PackedBatch, row: usize, segment: i32) -> String {
    let plan = batch.plan();
    let tokenizer = tokenizer(true);
    let (tokens, targets) = (row * plan.sequence_len, row * plan.targets);
    let learned: Vec<usize> = (0..plan.targets)
        .filter(|slot| batch.targets_bm[targets + slot] != IGNORED_TARGET)
        .map(|slot| {
            let from = batch.target_index_bm[targets + slot] as usize;
            assert_eq!(batch.targets_bm[targets + slot], batch.tokens_bt[tokens + from + 1]);
            from + 1
        })
        .collect();
    let index = &batch.image_index_bn[row * plan.visual_tokens..][..plan.visual_tokens];
    let mut text = String::new();
    for at in places(batch, row, segment) {
        let word = if index.contains(&(at as i32)) {
            "#".to_owned()
        } else {
            tokenizer.published().token(batch.tokens_bt[tokens + at]).unwrap()
        };
        text += &if learned.contains(&at) { format!("[{word}]") } else { word };
    }
    text
}

fn first(setting: &Setting, rows: &[String]) -> (Folder, ConversationBatch) {
    let folder = Folder::new();
    let source = folder.source("a.jsonl", rows, None);
    let batch = setting.stream(vec![source]).next_batch().unwrap();
    (folder, batch)
}

#[test]
fn several_turns_several_pictures_one_and_none_stand_in_one_batch() {
    let rows = [
        row(&[1, 2], &[("a", "b"), ("c", "d e")]),
        row(&[3], &[("f", "g")]),
        row(&[], &[("h", "i"), ("j", "k"), ("l", "m")]),
    ];
    let (_folder, ConversationBatch { batch, samples, .. }) =
        first(&Setting { rows: 3, ..Setting::default() }, &rows);
    let expected = [
        ("line 1", "user:########a<eos>assistant:[b][<eos>]user:c<eos>assistant:[d][e][<eos>]", vec![1, 2]),
        ("line 2", "user:####f<eos>assistant:[g][<eos>]", vec![3]),
        (
            "line 3",
            "user:h<eos>assistant:[i][<eos>]user:j<eos>assistant:[k][<eos>]user:l<eos>assistant:[m][<eos>]",
            vec![],
        ),
    ];
    let plan = batch.plan();
    let (views, side) = (plan.views.unwrap(), 3 * 16);
    let mut seen = 0;
    for (row, sample) in samples.iter().enumerate() {
        let (_, text, pictures) = expected.iter().find(|(line, ..)| sample.ends_with(line)).unwrap();
        assert_eq!(said(&batch, row, 1), *text, "{sample}");
        // Its views follow one another, and its visual tokens are theirs.
        let tokens = 4 * pictures.len();
        for token in 0..plan.visual_tokens {
            let at = row * plan.visual_tokens + token;
            let [rows, weights] = [
                batch.visual_rows_bn4[at * VISUAL_PARTS..][..VISUAL_PARTS].to_vec(),
                batch.visual_weights_bn4[at * VISUAL_PARTS..][..VISUAL_PARTS]
                    .iter()
                    .map(|&w| w as i32)
                    .collect(),
            ];
            if token < tokens {
                assert_eq!((rows[0], weights), ((seen * 4 + token) as i32, vec![1, 0, 0, 0]));
            } else {
                assert_eq!((batch.image_index_bn[at], rows, weights), (-1, vec![0; 4], vec![0; 4]));
            }
        }
        for (number, picture) in pictures.iter().enumerate() {
            let value = (f32::from(shade(*picture)) / 255.0 - 0.5) / 0.5;
            let pixels = &batch.pixels_bchw[(seen + number) * side..][..side];
            assert!(pixels.iter().all(|pixel| (pixel - value).abs() < 1e-6), "{sample}: {}", pixels[0]);
        }
        seen += pictures.len();
    }
    assert_eq!((views, seen), (6, 3));
    assert!(
        batch.pixels_bchw[seen * side..].iter().all(|&pixel| pixel == 0.0),
        "views that are not used are zero"
    );
}

#[test]
fn a_template_without_a_place_for_pictures_has_them_where_the_conversation_shows_them() {
    let setting = Setting { rows: 1, image_token: false, ..Setting::default() };
    let (_folder, ConversationBatch { batch, .. }) =
        first(&setting, &[row(&[1, 2], &[("a", "b"), ("c", "d")])]);
    assert_eq!(said(&batch, 0, 1), "user:########a<eos>assistant:[b][<eos>]user:c<eos>assistant:[d][<eos>]");
}

#[test]
fn samples_that_share_a_row_do_not_see_each_other_and_each_begins_at_zero() {
    let rows: Vec<String> = (0..9).map(|n| row(if n % 2 == 0 { &[1] } else { &[] }, &[("a", "b")])).collect();
    let setting = Setting { samples_per_row: 3, ..Setting::default() };
    let (_folder, ConversationBatch { batch, samples, places: of_samples, .. }) = first(&setting, &rows);
    let length = batch.plan().sequence_len;
    assert!(samples.len() > 2, "some rows hold several");
    // A value that tells row and segment of every target.
    let told = |row: usize, segment: i32| (10 * row) as f32 + segment as f32;
    let values: Vec<f32> = (batch.target_index_bm.iter().enumerate())
        .map(|(slot, &at)| (slot / batch.plan().targets, at as usize))
        .map(|(row, at)| told(row, batch.segments_bt[row * length + at]))
        .collect();
    let mut found = 0;
    for row in 0..2 {
        let segments = &batch.segments_bt[row * length..][..length];
        assert!(!segments.contains(&0), "nothing is seen by all");
        let most = segments.iter().copied().max().unwrap();
        for segment in 1..=most {
            let places = places(&batch, row, segment);
            let first = places[0];
            for (offset, &at) in places.iter().enumerate() {
                assert_eq!(batch.positions_bt[row * length + at], offset as i32);
                for key in 0..length {
                    let own = places.contains(&key) && key <= at;
                    assert_eq!(may_attend(segments, at, key, true), own, "{at} of {segment} looks at {key}");
                }
            }
            assert_eq!(places.len(), places.last().unwrap() - first + 1);
            let picture = said(&batch, row, segment).contains("####");
            let text = if picture { "user:####a<eos>" } else { "user:a<eos>" };
            assert_eq!(said(&batch, row, segment), format!("{text}assistant:[b][<eos>]"));
            // What is asked is the prompt, and no answer is.
            let prompt: Vec<bool> =
                places.iter().map(|&at| batch.prompt_mask_bt[row * length + at] == 1.0).collect();
            assert!(
                prompt[..places.len() - 2].iter().all(|&of| of) && prompt[places.len() - 2..] == [false; 2]
            );
            assert_eq!(of_samples[found], (row, segment));
            assert_eq!(batch.mean_over_targets(&values, row, Some(segment)), Some(told(row, segment)));
            found += 1;
        }
        assert_eq!(batch.mean_over_targets(&values, row, Some(most + 1)), None);
        let of_row = (1..=most).map(|segment| told(row, segment)).sum::<f32>() / most as f32;
        assert_eq!(batch.mean_over_targets(&values, row, None), Some(of_row), "all have as many targets");
        for at in (0..length).filter(|&at| segments[at] == PADDING_SEGMENT) {
            assert_eq!(batch.prompt_mask_bt[row * length + at], 0.0);
        }
    }
    assert_eq!(found, samples.len());
}

/// Features are mixed by the arrays as [`VisualLayout::pack`](crossloom_data::image::VisualLayout::pack) packs them, tested against transformers.
#[test]
fn tiles_are_mixed_as_their_layout_says_and_of_several_pictures_each_is_a_base() {
    let rows = [row(&[9], &[("a", "b")]), row(&[9, 1], &[("a", "b")])];
    let setting = Setting { pictures: anyres(), views: vec![5], ..Setting::default() };
    let folder = Folder::new();
    let sources = vec![folder.source("a.jsonl", &rows, None)];
    let reader = setting.reader();
    let read: Vec<_> = (0..2).map(|number| reader.read(&sources[0], number).unwrap()).collect();
    let views: Vec<Vec<usize>> =
        read.iter().map(|of| of.pictures.iter().map(|p| p.views.len()).collect()).collect();
    assert_eq!(views, [vec![3], vec![1, 1]], "a wide picture alone is a base and two tiles");

    let ConversationBatch { batch, samples, .. } = setting.stream(sources).next_batch().unwrap();
    let plan = batch.plan();
    let all = plan.views.unwrap() * 4;
    let feature = |row: usize| [row as f32 + 1.0, (row * row) as f32];
    let end = feature(all);
    let mut first = 0;
    for (row, sample) in samples.iter().enumerate() {
        let conversation = &read[usize::from(sample.ends_with("line 2"))];
        let mut token = row * plan.visual_tokens;
        for shown in &conversation.pictures {
            let count = 4 * shown.views.len();
            let features: Vec<f32> = (first * 4..first * 4 + count).flat_map(feature).collect();
            let mut packed = vec![0.0; 2 * shown.layout.tokens()];
            shown.layout.pack(&features, &end, &mut packed).unwrap();
            for (offset, expected) in packed.chunks_exact(2).enumerate() {
                assert_eq!(batch.image_index_bn[token], (shown.start + offset) as i32);
                let mut found = [0.0; 2];
                for part in token * VISUAL_PARTS..(token + 1) * VISUAL_PARTS {
                    let of = feature(batch.visual_rows_bn4[part] as usize);
                    found
                        .iter_mut()
                        .zip(of)
                        .for_each(|(sum, of)| *sum += batch.visual_weights_bn4[part] * of);
                }
                assert_eq!(found, expected, "{sample}, token {offset}");
                token += 1;
            }
            first += shown.views.len();
        }
    }
    assert_eq!(first, 5);
}

#[test]
fn where_each_row_has_one_whole_picture_at_most_views_are_not_counted() {
    let rows = [row(&[1], &[("a", "b")]), row(&[], &[("c", "d")])];
    let (_folder, ConversationBatch { batch, samples, .. }) =
        first(&Setting { views: vec![1], ..Setting::default() }, &rows);
    assert_eq!((batch.plan().views, batch.visual_rows_bn4.len(), batch.pixels_bchw.len()), (None, 0, 2 * 48));
    for (row, sample) in samples.iter().enumerate() {
        let shown = sample.ends_with("line 1");
        let value = if shown { (f32::from(shade(1)) / 255.0 - 0.5) / 0.5 } else { 0.0 };
        assert!(batch.pixels_bchw[row * 48..][..48].iter().all(|pixel| (pixel - value).abs() < 1e-6));
        let index = &batch.image_index_bn[row * 4..][..4];
        assert_eq!(index, if shown { [2, 3, 4, 5] } else { [-1; 4] });
    }
}
