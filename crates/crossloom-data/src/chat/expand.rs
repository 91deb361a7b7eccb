//! From one placeholder per picture to one token per feature.

use std::ops::Range;

use super::ChatError;

/// A prompt whose pictures have their room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// Token ids; the image token once for every visual token.
    pub ids: Vec<i32>,
    /// The positions of every picture, in their order.
    pub images: Vec<Range<usize>>,
}

/// Puts `tokens[i]` image tokens in the place of the i-th placeholder. A prompt without pictures is as it was.
///
/// # Errors
/// Another number of placeholders than pictures; the error names the sample.
pub fn expand_images(ids: &[i32], image: i32, tokens: &[usize], sample: &str) -> Result<Expanded, ChatError> {
    let places = ids.iter().filter(|&&id| id == image).count();
    if places != tokens.len() {
        return Err(ChatError::Places { sample: sample.to_owned(), places, pictures: tokens.len() });
    }
    let mut expanded = Expanded {
        ids: Vec::with_capacity(ids.len() + tokens.iter().sum::<usize>()),
        images: Vec::with_capacity(places),
    };
    let mut counts = tokens.iter();
    for &id in ids {
        match counts.as_slice().first().filter(|_| id == image) {
            Some(&count) => {
                counts.next();
                let start = expanded.ids.len();
                expanded.ids.resize(start + count, image);
                expanded.images.push(start..start + count);
            }
            None => expanded.ids.push(id),
        }
    }
    Ok(expanded)
}

/// Refuses a sequence that has another number of image tokens than its pictures have features, as one that was cut has.
///
/// # Errors
/// Where they differ; the error names the sample.
pub fn check_images(ids: &[i32], image: i32, features: usize, sample: &str) -> Result<(), ChatError> {
    let tokens = ids.iter().filter(|&&id| id == image).count();
    if tokens == features {
        return Ok(());
    }
    Err(ChatError::Tokens { sample: sample.to_owned(), tokens, features })
}
