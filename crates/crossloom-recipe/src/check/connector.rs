//! The connector at the input, and the question's vector that it may read.

use super::Sections;
use super::wiring::one_question;
use crate::decode::Cx;
use crate::diagnostic::Finding;
use crate::schema::{Conditioning, Input, Join, LayerWeights, Mixture, TokenConcat, TopologySpec, Weighted};
use crate::tree::Node;

/// Everything that can be told of both.
pub(super) fn connector(root: &Node, topology: &TopologySpec, sections: &Sections<'_>, cx: &mut Cx) {
    match &topology.input {
        Input::None | Input::Channels(_) | Input::Windows(_) => {}
        Input::Mixture(of) => mixture(root, topology, of, cx),
        Input::Tokens(of) => tokens(root, topology, of, sections, cx),
        Input::Weighted(of) => weighted(root, topology, of, sections, cx),
    }
    question(root, topology, sections, cx);
}

/// Tokens that are appended, where nothing counts on one per patch.
fn tokens(root: &Node, topology: &TopologySpec, of: &TokenConcat, sections: &Sections<'_>, cx: &mut Cx) {
    let mut error = |path: &str, message: String, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    for tap in std::iter::once(&of.of).chain(&of.also).filter(|tap| topology.width_of(tap) > 1) {
        let message =
            format!("`{tap}` is {} states wide, and tokens are as wide as one", topology.width_of(tap));
        error("topology.input", message, "name states, or means of states");
    }
    if topology.injects() {
        let message =
            "features have one row per patch, and the input has more tokens than patches".to_owned();
        error("topology.input", message, "inject nothing, or name one state at the input");
    }
    if let Some(projector) = sections.projector
        && (projector.merge > 1 || projector.windows().is_some())
    {
        let message = "tokens are appended patch by patch, and the projector merges patches".to_owned();
        error("topology.input", message, "use `model.projector = { kind = \"mlp2x\", merge = 1 }`");
    }
    if sections.language.is_some_and(|language| language.rope_sections.is_some()) {
        let message = "appended tokens have no row and column to be turned by".to_owned();
        error("topology.input", message, "remove `model.language.rope_sections`");
    }
    if let Some(vision) = sections.vision
        && of.pool > vision.tokens()
    {
        let message = format!("{} patches would be one token, and there are {}", of.pool, vision.tokens());
        error("topology.input.pool", message, "pool at most as many as there are");
    }
}

/// Sums of what is alike.
fn weighted(root: &Node, topology: &TopologySpec, of: &Weighted, sections: &Sections<'_>, cx: &mut Cx) {
    let mut error = |path: &str, message: String, help: &str| {
        cx.report(Finding::error(root.place(path), message).help(help));
    };
    if of.of.is_empty() {
        error("topology.input.of", "a weighted sum of nothing".to_owned(), "list at least one tap");
    }
    let added = of.base.iter().filter(|_| of.join == Join::Add);
    for tap in of.of.iter().chain(added).filter(|tap| topology.width_of(tap) > 1) {
        let message =
            format!("`{tap}` is {} states wide, and a sum is as wide as one", topology.width_of(tap));
        error("topology.input", message, "name states, or means of states");
    }
    if let (LayerWeights::Allocator { heads, .. }, Some(vision)) = (&of.weights, sections.vision)
        && !vision.hidden.is_multiple_of(*heads)
    {
        let message = format!("{heads} heads must divide the vision width {}", vision.hidden);
        let help = format!("set `topology.input.weights.heads`, for example to {}", vision.heads);
        error("topology.input.weights.heads", message, &help);
    }
}

/// Mixtures of what is alike, and not of more than there is.
fn mixture(root: &Node, topology: &TopologySpec, of: &Mixture, cx: &mut Cx) {
    for tap in of.of.iter().chain([&of.reserve]).filter(|tap| topology.width_of(tap) > 1) {
        let width = topology.width_of(tap);
        let message = format!("`{tap}` is {width} states wide, and a mixture is as wide as one");
        let place = root.place("topology.input");
        cx.report(Finding::error(place, message).help("name states, or means of states"));
    }
    if of.top_k > of.of.len() {
        let message = format!("{} taps cannot be read of {}", of.top_k, of.of.len());
        let place = root.place("topology.input.top_k");
        cx.report(Finding::error(place, message).help("list more taps as `of`, or choose a smaller `top_k`"));
    }
}

/// What reads the question has one, and one alone.
fn question(root: &Node, topology: &TopologySpec, sections: &Sections<'_>, cx: &mut Cx) {
    let reads = match &topology.input {
        Input::Weighted(of) => of.weights.reads_question(),
        Input::Mixture(_) => true,
        _ => false,
    };
    let given = topology.conditioning != Conditioning::None {};
    if reads && !given {
        let message = "the weights depend on the question, and there is no vector of it";
        let help = "write `topology.conditioning = \"embeddings\"` or of kind `sentence`, or use the weights `static` or `uniform`";
        cx.report(Finding::error(root.place("topology.input.weights"), message).help(help));
    }
    if given && !reads {
        let message = "nothing reads the question's vector";
        let help = "remove `topology.conditioning`, or use weights that read it: `question` or `allocator`";
        cx.report(Finding::error(root.place("topology.conditioning"), message).help(help));
    }
    if let Some(data) = sections.data.filter(|_| given) {
        let (what, help) = ("the connector reads the question", "write `data.questions_per_sequence = 1`");
        one_question(root, data, "topology.conditioning", what, help, cx);
    }
}
