//! Random recipes compute what their equations say.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestRunner};

use crate::compare::compare;
use crate::product::load;
use crate::settings::{Adapter, Gate, Settings, Tap, Wiring};
use crate::strategy::settings;

/// The same recipes in every run; `PROPTEST_CASES` asks for more of them.
fn runner(cases: u32) -> TestRunner {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    TestRunner::new(ProptestConfig {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5ea_b0a7),
        ..ProptestConfig::default()
    })
}

/// What of the options a recipe uses.
fn features(settings: &Settings) -> Vec<String> {
    let injection = &settings.injection;
    let mut used = vec![
        format!("fusion {:?}", injection.fusion),
        format!("sequential {}", injection.sequential),
        format!("tap norm {:?}", injection.tap_norm),
        format!("merged {}", settings.projector.merge > 1),
        format!("input norm {:?}", settings.projector.norm),
        format!("frames {}", settings.vision.frames),
        format!("turned patches {}", settings.vision.theta.is_some()),
        format!("by corners {}", settings.vision.position_grid.is_some() && settings.vision.by_corners),
        format!("sections {}", settings.language.sections.is_some()),
        format!("multipliers {}", settings.language.multipliers.residual.is_some()),
    ];
    used.extend(injection.taps.iter().map(|tap| match tap {
        Tap::Block(_) => "tap Block".to_owned(),
        other => format!("tap {other:?}"),
    }));
    used.extend(injection.points.iter().map(|point| format!("after {}", point.after)));
    used.push(match &injection.wiring {
        Wiring::Pairs(_, written) => format!("pairs, ends written {written}"),
        Wiring::Diagonal if injection.taps.len() > 1 => "diagonal of several".to_owned(),
        other => format!("wiring {other:?}"),
    });
    used.push(match &injection.adapter {
        Adapter::Amp { per_linear, .. } => format!("amp per linear {per_linear}"),
        Adapter::PerEdge(corners) => format!("per edge, corners {}", !corners.is_empty()),
        other => format!("adapter {other:?}"),
    });
    used.push(format!("windows {}", settings.projector.windows.is_some()));
    used.push(format!("input {}", injection.input.is_some()));
    match injection.gate {
        Gate::Agf(agf) => {
            let several = injection.points.iter().any(|point| injection.taps_of(*point).len() > 1);
            used.push(format!("share {:?}", agf.share));
            used.push(format!("attention {:?}", agf.attention));
            used.push(format!("several heads {}", agf.heads > 1));
            used.push(format!("channel {}", agf.channel));
            used.push(format!("gate norm {}", agf.norm));
            used.push(format!("prompt {}", agf.prompt));
            used.push(format!("sequential {} of several {several}", injection.sequential));
        }
        Gate::Static { .. } => used.push("gate Static".to_owned()),
        Gate::Constant(_) => used.push("gate Constant".to_owned()),
        Gate::None => {}
    }
    used
}

/// Every option that must be met, each in several recipes.
const OPTIONS: [&str; 47] = [
    "fusion Add",
    "fusion GatedAdd",
    "fusion Convex",
    "sequential false",
    "sequential true",
    "tap norm None",
    "tap norm Layer",
    "tap norm Merged",
    "merged true",
    "input norm Layer",
    "input norm Merged",
    "frames 2",
    "turned patches true",
    "by corners true",
    "sections true",
    "multipliers true",
    "tap Embed",
    "tap Block",
    "tap PostNorm",
    "after false",
    "after true",
    "wiring Dense",
    "wiring Broadcast",
    "diagonal of several",
    "pairs, ends written false",
    "pairs, ends written true",
    "adapter Shared",
    "adapter PerTap",
    "per edge, corners false",
    "per edge, corners true",
    "windows true",
    "input false",
    "amp per linear false",
    "amp per linear true",
    "gate Static",
    "gate Constant",
    "share Point",
    "share Edge",
    "share Global",
    "attention None",
    "attention Shared",
    "attention Separate",
    "several heads true",
    "channel true",
    "prompt true",
    "sequential false of several true",
    "sequential true of several true",
];

#[test]
fn what_a_recipe_says_is_what_its_graph_computes() {
    let seen: RefCell<BTreeMap<String, usize>> = RefCell::default();
    let result = runner(320).run(&(settings(), any::<u64>()), |(settings, seed)| {
        for option in features(&settings) {
            *seen.borrow_mut().entry(option).or_default() += 1;
        }
        // Every recipe that is drawn is valid: one that the checker refuses is a failure too.
        let recipe = load(&settings.recipe()).map_err(TestCaseError::fail)?;
        compare(&recipe, &settings, seed)
            .map_err(|difference| TestCaseError::fail(format!("{difference}\n{}", settings.recipe())))
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    let seen = seen.into_inner();
    for option in OPTIONS {
        assert!(seen.get(option).copied().unwrap_or(0) >= 10, "`{option}` is hardly met: {seen:?}");
    }
}
