//! Shapes as tables write them: `d (C P P)` is an axis of any extent and one that is channels times patch times patch.
//!
//! A small letter stands for an extent that the tensor has; the capitals are the model's own: [`Dims`].

use std::collections::BTreeMap;

use crossloom_recipe::{Adapter, PointAddress, VisionAddress};

use crate::Architecture;

/// Dimensions of a model that tables can name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dims {
    /// `D`: width of an attention head of the language model.
    pub head: usize,
    /// `H`: its query heads.
    pub heads: usize,
    /// `K`: its key and value heads.
    pub kv_heads: usize,
    /// `P`: edge of a patch.
    pub patch: usize,
    /// `C`: colours of a picture.
    pub channels: usize,
    /// Whether the head of the language model is its word embedding.
    pub tied: bool,
    /// What names of the adapters of its own injection begin with, in the order of its wiring.
    pub adapters: Vec<String>,
    /// The same of those whose queries begin at corners, in the order of the corners.
    pub corners: Vec<String>,
}

impl Dims {
    /// Those of a model; of a part that it does not have they are 0.
    pub fn of(architecture: &Architecture) -> Self {
        let mut dims = Self::default();
        if let Some(language) = &architecture.language {
            (dims.head, dims.heads, dims.kv_heads) = (language.head_dim, language.heads, language.kv_heads);
            dims.tied = language.tie_embeddings;
        }
        if let Some(vision) = &architecture.vision {
            (dims.patch, dims.channels) = (vision.patch_size, vision.channels);
        }
        let wiring = &architecture.wiring;
        if let Some(Adapter::PerEdge { corners, .. }) = &architecture.adapter {
            let name = |(tap, point): &(VisionAddress, PointAddress)| format!("{}.{tap}", point.name());
            dims.adapters = wiring.iter().filter(|(_, point)| !corners.contains(point)).map(name).collect();
            let of = |corner| wiring.iter().filter(move |(_, point)| point == corner);
            dims.corners = corners.iter().flat_map(of).map(name).collect();
        } else {
            for name in wiring.iter().map(|(tap, _)| tap.to_string()) {
                if !dims.adapters.contains(&name) {
                    dims.adapters.push(name);
                }
            }
        }
        dims
    }

    fn of_letter(&self, letter: char) -> Option<usize> {
        Some(match letter {
            'D' => self.head,
            'H' => self.heads,
            'K' => self.kv_heads,
            'P' => self.patch,
            'C' => self.channels,
            _ => return None,
        })
    }
}

/// Extents of which some are not known yet.
#[derive(Debug)]
pub(super) struct Extents<'a> {
    dims: &'a Dims,
    known: BTreeMap<char, usize>,
}

/// An axis as it is written: a product of what is known, and at most one letter that is not.
struct Axis {
    known: usize,
    open: Option<char>,
}

impl<'a> Extents<'a> {
    pub(super) fn new(dims: &'a Dims) -> Self {
        Self { dims, known: BTreeMap::new() }
    }

    /// The axes of a written shape.
    fn axes(&self, written: &str) -> Result<Vec<Axis>, String> {
        let ill = || format!("the table writes a shape as `{written}`, which has no meaning");
        let mut axes: Vec<Axis> = Vec::new();
        let mut within = false;
        for word in written.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match word {
                "(" if !within => {
                    within = true;
                    axes.push(Axis { known: 1, open: None });
                    continue;
                }
                ")" if within => {
                    within = false;
                    continue;
                }
                _ => {}
            }
            if !within {
                axes.push(Axis { known: 1, open: None });
            }
            let axis = axes.last_mut().ok_or_else(ill)?;
            let letter = word.chars().next().filter(|_| word.len() == 1);
            let known = word.parse().ok().or_else(|| {
                let letter = letter?;
                self.dims.of_letter(letter).or_else(|| self.known.get(&letter).copied())
            });
            match (known, letter.filter(char::is_ascii_lowercase)) {
                (Some(factor), _) => axis.known = axis.known.checked_mul(factor).ok_or_else(ill)?,
                (None, Some(letter)) if axis.open.is_none() => axis.open = Some(letter),
                _ => return Err(ill()),
            }
        }
        if within { Err(ill()) } else { Ok(axes) }
    }

    /// Takes the extents of letters from a shape.
    pub(super) fn take(&mut self, written: &str, shape: &[usize]) -> Result<(), String> {
        let other = || format!("has shape {shape:?}; `{written}` is expected");
        let axes = self.axes(written)?;
        if axes.len() != shape.len() {
            return Err(other());
        }
        for (axis, &extent) in axes.iter().zip(shape) {
            match axis.open {
                None if axis.known == extent => {}
                Some(_) if axis.known > 0 && extent.is_multiple_of(axis.known) => {}
                _ => return Err(other()),
            }
            let Some(letter) = axis.open else { continue };
            let extent = extent / axis.known;
            if *self.known.entry(letter).or_insert(extent) != extent {
                return Err(other());
            }
        }
        Ok(())
    }

    /// The shape that is written, all of whose letters are known.
    pub(super) fn shape(&self, written: &str) -> Result<Vec<usize>, String> {
        let axes = self.axes(written)?;
        if axes.iter().any(|axis| axis.open.is_some()) {
            return Err(format!("`{written}` has extents that nothing gives"));
        }
        Ok(axes.into_iter().map(|axis| axis.known).collect())
    }

    /// The extents that are written, which together make `total`: at most one letter is not known, and counts as often as it
    /// is written.
    pub(super) fn parts(&mut self, written: &str, total: usize) -> Result<Vec<usize>, String> {
        let other = || format!("has {total} rows, which are no `{written}`");
        let axes = self.axes(written)?;
        let sum = |open: bool| {
            let of = axes.iter().filter(|axis| axis.open.is_some() == open);
            of.map(|axis| axis.known).try_fold(0_usize, usize::checked_add)
        };
        let (fixed, per_letter) = sum(false).zip(sum(true)).ok_or_else(other)?;
        if let Some(letter) = axes.iter().find_map(|axis| axis.open) {
            let rest = total.checked_sub(fixed).ok_or_else(other)?;
            if per_letter == 0 || !rest.is_multiple_of(per_letter) {
                return Err(other());
            }
            self.known.insert(letter, rest / per_letter);
        }
        let parts = self.shape(written)?;
        if parts.iter().sum::<usize>() == total { Ok(parts) } else { Err(other()) }
    }
}

/// Those of a small model, which injects nothing, for the tests of layouts.
#[cfg(test)]
pub(super) const SMALL: Dims = Dims {
    head: 4,
    heads: 3,
    kv_heads: 1,
    patch: 2,
    channels: 3,
    tied: false,
    adapters: Vec::new(),
    corners: Vec::new(),
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    static DIMS: Dims = SMALL;

    #[test]
    fn letters_take_what_a_shape_has_and_give_it_back() {
        let mut extents = Extents::new(&DIMS);
        extents.take("d (C P P)", &[7, 12]).unwrap();
        assert_eq!(extents.shape("d C P P").unwrap(), [7, 3, 2, 2]);
        let mut extents = Extents::new(&DIMS);
        extents.take("(D n) d", &[12, 5]).unwrap();
        assert_eq!(extents.shape("1 n d").unwrap(), [1, 3, 5]);
        for (written, shape) in
            [("d d", vec![2, 3]), ("d", vec![2, 3]), ("1 d", vec![2, 3]), ("(2 d)", vec![3])]
        {
            assert!(Extents::new(&DIMS).take(written, &shape).is_err(), "{written}");
        }
        for ill in ["(d", "d)", "((d))", "Q", "ab", "(a b)"] {
            assert!(Extents::new(&DIMS).take(ill, &[6]).is_err(), "{ill}");
        }
    }

    #[test]
    fn parts_are_those_of_heads_or_equal() {
        assert_eq!(Extents::new(&DIMS).parts("(H D) (K D) (K D)", 20).unwrap(), [12, 4, 4]);
        assert_eq!(Extents::new(&DIMS).parts("a a a", 15).unwrap(), [5, 5, 5]);
        assert_eq!(Extents::new(&DIMS).parts("(2 a) a 1", 16).unwrap(), [10, 5, 1]);
        for (written, total) in [("(H D) (K D) (K D)", 21), ("a a a", 16), ("a 9", 8)] {
            assert!(Extents::new(&DIMS).parts(written, total).is_err(), "{written}");
        }
    }
}
