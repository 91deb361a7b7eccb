//! `[topology]`.

use super::fields::{Cx, Fields};
use super::injection::{KEYS, injection, named};
use super::input::{conditioning, input};
use super::sets::Depth;
use super::stream::stream;
use super::taps::Names;
use crate::schema::TopologySpec;
use crate::tree::Node;

pub(super) fn topology(root: &Node, cx: &mut Cx) -> Option<TopologySpec> {
    let names = Names::peek(root);
    let language_depth = Depth::peek(root, "model.language.layers");

    let mut f = Fields::open(root, "topology", cx)?;
    for key in ["input", "stream", "conditioning", "sources", "injections"].into_iter().chain(KEYS) {
        f.ask(key);
    }
    f.finish();

    let stream = stream(root, language_depth, cx);
    let sources = names.sources(root, cx);
    let input = input(root, &names, stream.unwrap_or_default(), cx);
    let conditioning = conditioning(root, cx);
    let main = injection(root, &names, language_depth, cx);
    let named = named(root, &names, language_depth, cx);
    Some(TopologySpec {
        input: input?,
        stream: stream?,
        conditioning: conditioning?,
        sources: sources?,
        main: main?,
        named: named?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::adapter::ADAPTER;
    use super::super::fusion::FUSION;
    use super::super::gate::GATE;
    use crate::json_schema;

    /// Names of the properties that the JSON Schema gives a table with a `kind`.
    fn schema_keys(definition: &str) -> Vec<String> {
        let schema = json_schema();
        let table = schema
            .pointer(&format!("/$defs/{definition}/anyOf/1/properties"))
            .and_then(|keys| keys.as_object());
        let mut keys: Vec<String> = table.into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn tables_of_kinds_list_the_keys_of_the_schema() {
        for (definition, kinds) in [("Adapter", ADAPTER.all), ("Gate", GATE.all), ("Fusion", FUSION.all)] {
            let mut keys: Vec<String> =
                kinds.iter().flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned())).collect();
            keys.push("kind".to_owned());
            keys.sort();
            keys.dedup();
            assert_eq!(keys, schema_keys(definition), "{definition}");
        }
    }
}
