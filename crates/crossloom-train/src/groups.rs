//! Parameter groups: every part of the model has its own learning rate, weight decay and freezing.

use serde::{Deserialize, Serialize};

/// A part of the model, in the order data flows through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The vision encoder.
    Vision,
    /// The projector from vision width to language width.
    Projector,
    /// Per-tap adapters of an injection.
    Adapter,
    /// Gates of an injection.
    Gate,
    /// The language model.
    Language,
}

impl Part {
    /// Every part, in order.
    pub const ALL: [Self; 5] = [Self::Vision, Self::Projector, Self::Adapter, Self::Gate, Self::Language];

    /// The part's name as recipes and metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Projector => "projector",
            Self::Adapter => "adapter",
            Self::Gate => "gate",
            Self::Language => "language",
        }
    }

    /// The part that a parameter belongs to, by the first components of its Hugging Face name; `None` for a name of no
    /// known part.
    pub fn of_parameter(name: &str) -> Option<Self> {
        const PREFIXES: [(&str, Part); 5] = [
            ("vision_tower.", Part::Vision),
            ("multi_modal_projector.", Part::Projector),
            ("injection.adapter.", Part::Adapter),
            ("injection.gate.", Part::Gate),
            ("language_model.", Part::Language),
        ];
        PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|&(_, part)| part)
    }
}

/// How one part is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartSettings {
    /// `false` freezes the part: no gradient, no optimizer state.
    pub trainable: bool,
    /// Peak learning rate, reached at the end of the warm-up.
    pub lr: f64,
    /// Decoupled weight decay (AdamW): every update multiplies a weight by `1 - lr·weight_decay`.
    pub weight_decay: f64,
}

/// The settings of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ParamGroups {
    settings: [PartSettings; 5],
}

impl ParamGroups {
    /// All parts trainable with one learning rate and one weight decay.
    pub const fn uniform(lr: f64, weight_decay: f64) -> Self {
        Self { settings: [PartSettings { trainable: true, lr, weight_decay }; 5] }
    }

    /// The same groups with one part's settings replaced.
    pub const fn with(mut self, part: Part, settings: PartSettings) -> Self {
        self.settings[part as usize] = settings;
        self
    }

    /// The settings of one part.
    pub const fn get(&self, part: Part) -> PartSettings {
        self.settings[part as usize]
    }

    /// The weight decay of one parameter: its part's for matrices and larger, 0 for vectors and scalars (biases, norm
    /// gains, gate biases), and 0 for a name of no known part.
    pub fn weight_decay_of(&self, name: &str, shape: &[usize]) -> f64 {
        match Part::of_parameter(name) {
            Some(part) if shape.len() >= 2 => self.get(part).weight_decay,
            _ => 0.0,
        }
    }

    /// Rates of one update: every part's peak rate times the schedule's `factor`.
    pub fn rates(&self, factor: f64) -> PartRates {
        PartRates {
            rates: self.settings.map(|settings| PartRate {
                trainable: settings.trainable,
                lr: if settings.trainable { (settings.lr * factor) as f32 } else { 0.0 },
                weight_decay: settings.weight_decay as f32,
            }),
        }
    }

    /// Every problem of the settings, as sentences; empty when they are sound.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for part in Part::ALL {
            let PartSettings { trainable, lr, weight_decay } = self.get(part);
            if trainable && !(lr.is_finite() && lr >= 0.0) {
                problems.push(format!("{}: the learning rate must be a number ≥ 0, it is {lr}", part.name()));
            }
            if trainable && !(weight_decay.is_finite() && weight_decay >= 0.0) {
                problems.push(format!(
                    "{}: the weight decay must be a number ≥ 0, it is {weight_decay}",
                    part.name()
                ));
            }
        }
        if Part::ALL.iter().all(|&part| !self.get(part).trainable) {
            problems.push("every part is frozen: there is nothing to train".to_owned());
        }
        problems
    }
}

/// Learning rate and decay of one part in one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartRate {
    /// Whether the part is updated at all.
    pub trainable: bool,
    /// Learning rate of this very update; 0 for a frozen part.
    pub lr: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
}

/// Learning rates and decays of all parts in one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartRates {
    rates: [PartRate; 5],
}

impl PartRates {
    /// The rate of one part.
    pub const fn get(&self, part: Part) -> PartRate {
        self.rates[part as usize]
    }

    /// All parts with their rates, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Part, PartRate)> + '_ {
        Part::ALL.into_iter().map(|part| (part, self.get(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_belongs_to_the_part_its_name_says() {
        let cases = [
            ("vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight", Some(Part::Vision)),
            ("multi_modal_projector.linear_1.bias", Some(Part::Projector)),
            ("injection.adapter.block.3.lora_A.weight", Some(Part::Adapter)),
            ("injection.gate.layer.2.controller.bias", Some(Part::Gate)),
            ("language_model.model.norm.weight", Some(Part::Language)),
            ("optimizer.m.language_model.model.norm.weight", None),
            ("language_modelx", None),
        ];
        for (name, part) in cases {
            assert_eq!(Part::of_parameter(name), part, "{name}");
        }
    }

    #[test]
    fn each_part_keeps_its_own_rate_and_a_frozen_part_has_none() {
        let frozen = PartSettings { trainable: false, lr: 9.0, weight_decay: 0.5 };
        let gate = PartSettings { trainable: true, lr: 8e-3, weight_decay: 0.0 };
        let groups = ParamGroups::uniform(2e-3, 0.1).with(Part::Vision, frozen).with(Part::Gate, gate);
        let rates = groups.rates(0.5);
        assert_eq!(rates.get(Part::Vision), PartRate { trainable: false, lr: 0.0, weight_decay: 0.5 });
        assert_eq!(rates.get(Part::Gate), PartRate { trainable: true, lr: 4e-3, weight_decay: 0.0 });
        assert_eq!(rates.get(Part::Language), PartRate { trainable: true, lr: 1e-3, weight_decay: 0.1 });
        assert!(rates.iter().map(|(part, _)| part).eq(Part::ALL));
    }

    #[test]
    fn vectors_do_not_decay() {
        let groups = ParamGroups::uniform(1e-3, 0.1);
        assert_eq!(groups.weight_decay_of("language_model.model.norm.weight", &[96]), 0.0);
        assert_eq!(groups.weight_decay_of("language_model.lm_head.weight", &[48, 96]), 0.1);
        assert_eq!(groups.weight_decay_of("unknown.weight", &[48, 96]), 0.0);
    }

    #[test]
    fn unsound_settings_are_all_named() {
        let bad = PartSettings { trainable: true, lr: f64::NAN, weight_decay: -1.0 };
        let problems = ParamGroups::uniform(1e-3, 0.0).with(Part::Gate, bad).problems();
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().all(|problem| problem.starts_with("gate")));
        let frozen = PartSettings { trainable: false, lr: 0.0, weight_decay: 0.0 };
        let all_frozen =
            Part::ALL.into_iter().fold(ParamGroups::uniform(0.0, 0.0), |g, part| g.with(part, frozen));
        assert_eq!(all_frozen.problems(), ["every part is frozen: there is nothing to train"]);
    }
}
