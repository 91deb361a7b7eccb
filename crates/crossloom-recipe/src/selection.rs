//! Which tensors of a model are trained, and how: `train.parts` asked name by name.
//!
//! Of tensors it knows their names and parts; which there are, the model's builder says.

use globset::{GlobBuilder, GlobMatcher};

use crate::schema::{KeptIn, Part, Train};

/// Tensors that share a learning rate and a weight decay.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorGroup {
    /// Its name: that of the part, as `language`, or of one of its sets, counted from 1, as `language.2`.
    pub name: String,
    /// The part it is of.
    pub part: Part,
    /// Peak learning rate.
    pub lr: f64,
    /// Factor by which AdamW shrinks its matrices, times the learning rate, per step.
    pub weight_decay: f64,
}

/// What a recipe says of every tensor.
#[derive(Debug, Clone)]
pub struct Selection {
    parts: Vec<PartSelection>,
    groups: Vec<TensorGroup>,
}

/// What it says of the tensors of one part.
#[derive(Debug, Clone)]
struct PartSelection {
    part: Part,
    sets: Vec<SetSelection>,
    /// Group of the part's own tensors; none where they are frozen.
    own: Option<usize>,
    /// Group of its low-rank pairs.
    pairs: Option<usize>,
    dtype: Option<KeptIn>,
}

#[derive(Debug, Clone)]
struct SetSelection {
    pattern: String,
    matcher: Option<GlobMatcher>,
    group: Option<usize>,
}

/// A pattern that can be compared with names; a dot is a letter as any other.
///
/// # Errors
/// It is no pattern.
pub fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build()?.compile_matcher())
}

impl Selection {
    /// What `[train]` says.
    pub fn new(train: &Train) -> Self {
        let mut groups: Vec<TensorGroup> = Vec::new();
        let mut parts = Vec::new();
        for part in Part::ALL {
            let settings = train.parts.get(part);
            let decay = settings.weight_decay.unwrap_or(train.weight_decay);
            let mut group = |name: String, lr_scale: f64, weight_decay: f64| {
                groups.push(TensorGroup { name, part, lr: train.lr * lr_scale, weight_decay });
                groups.len() - 1
            };
            let trained = (settings.trainable || settings.trains_pairs())
                .then(|| group(part.name().to_owned(), settings.lr_scale, decay));
            let mut sets = Vec::with_capacity(settings.tensors.len());
            for (index, set) in settings.tensors.iter().enumerate() {
                let group = set.trainable.then(|| {
                    let lr_scale = set.lr_scale.unwrap_or(settings.lr_scale);
                    let name = format!("{}.{}", part.name(), index + 1);
                    group(name, lr_scale, set.weight_decay.unwrap_or(decay))
                });
                // A recipe's patterns were compiled when it was read.
                let matcher = matcher(&set.pattern).ok();
                sets.push(SetSelection { pattern: set.pattern.clone(), matcher, group });
            }
            parts.push(PartSelection {
                part,
                sets,
                own: trained.filter(|_| settings.trainable),
                pairs: trained.filter(|_| settings.trains_pairs()),
                dtype: settings.dtype,
            });
        }
        Self { parts, groups }
    }

    /// All groups, in the order of the parts. One may turn out to be empty.
    pub fn groups(&self) -> &[TensorGroup] {
        &self.groups
    }

    /// The index of the group that trains a tensor of the model itself; `None` where it is frozen.
    pub fn group_of(&self, part: Part, name: &str) -> Option<usize> {
        let selection = self.part(part)?;
        match selection.set_of(name) {
            Some(set) => selection.sets[set].group,
            None => selection.own,
        }
    }

    /// The index of the group that trains the low-rank pairs of a part.
    pub fn pairs_of(&self, part: Part) -> Option<usize> {
        self.part(part)?.pairs
    }

    /// The type in which a tensor of the model itself is kept, where it is frozen and another than `f32` is asked for.
    pub fn kept_in(&self, part: Part, name: &str) -> Option<KeptIn> {
        let dtype = self.part(part)?.dtype?;
        self.group_of(part, name).is_none().then_some(dtype)
    }

    /// The sets that no tensor belongs to, each as its path in a recipe with its pattern. `names` are all tensors of the model
    /// itself.
    pub fn empty_sets(&self, names: &[(Part, &str)]) -> Vec<EmptySet> {
        let mut empty = Vec::new();
        for selection in &self.parts {
            let own = || names.iter().filter(|(part, _)| *part == selection.part).map(|(_, name)| *name);
            let mut used = vec![false; selection.sets.len()];
            for name in own() {
                if let Some(set) = selection.set_of(name) {
                    used[set] = true;
                }
            }
            for (set, _) in selection.sets.iter().zip(used).filter(|(_, used)| !used) {
                let reaches = own().any(|name| set.matches(name));
                empty.push(EmptySet {
                    part: selection.part,
                    pattern: set.pattern.clone(),
                    hidden: reaches,
                    names: own().map(str::to_owned).collect(),
                });
            }
        }
        empty
    }

    fn part(&self, part: Part) -> Option<&PartSelection> {
        self.parts.get(part as usize)
    }
}

/// A set of `train.parts.X.tensors` to which no tensor belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptySet {
    /// The part.
    pub part: Part,
    /// Its pattern.
    pub pattern: String,
    /// Whether tensors match it that belong to sets before it.
    pub hidden: bool,
    /// All tensors of the part.
    pub names: Vec<String>,
}

impl PartSelection {
    fn set_of(&self, name: &str) -> Option<usize> {
        self.sets.iter().position(|set| set.matches(name))
    }
}

impl SetSelection {
    fn matches(&self, name: &str) -> bool {
        self.matcher.as_ref().is_some_and(|matcher| matcher.is_match(name))
    }
}
