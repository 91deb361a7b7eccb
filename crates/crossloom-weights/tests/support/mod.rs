//! What tests that run a pretrained model share: its weights in a store, and graphs compiled over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossloom_compiler::{Context, Mode, Policy, compile};
use crossloom_cpu::CpuDevice;
use crossloom_data::assets::AssetCache;
use crossloom_ir::Role;
use crossloom_model::ModelGraph;
use crossloom_recipe::{LoadOptions, Recipe, load};
use crossloom_runtime::{Arena, Device, Executable, HostBytes, Session, Store};
use crossloom_weights::Pretrained;

/// A pretrained model whose weights have the types of its file, on the CPU.
pub(crate) struct Running {
    policy: Policy,
    device: Arc<dyn Device>,
    arena: Arena,
}

impl Running {
    pub(crate) fn new(model: &Pretrained) -> Self {
        let device = CpuDevice::shared();
        let store = Store::new(&device).unwrap();
        let mut frozen = BTreeMap::new();
        for name in model.names() {
            let (ty, bytes) = model.tensor(name).unwrap();
            frozen.insert(name.to_owned(), ty.dtype);
            let bytes: HostBytes = Arc::new(bytes);
            store.lend(name, Role::Weight, &ty, &bytes).unwrap();
        }
        let policy = Policy { frozen, ..Policy::default() };
        Self { policy, device, arena: Arena::new(&store) }
    }

    /// A graph, all of whose weights are the model's.
    pub(crate) fn session(&self, graph: &ModelGraph) -> Session {
        let func = graph.graph.lift().unwrap();
        let mut cx = Context::new(self.device.target(), Mode::Forward);
        cx.policy = self.policy.clone();
        let set = compile(&func, &cx).unwrap_or_else(|e| panic!("{e}"));
        let before = self.arena.store().tensors().len();
        let session =
            Session::new(&Executable::new(&self.device, set.main.plan).unwrap(), &self.arena).unwrap();
        let added = self.arena.store().tensors().split_off(before);
        let weights: Vec<_> = added.iter().filter(|tensor| tensor.role == Role::Weight).collect();
        assert!(weights.is_empty(), "weights that the file does not have: {weights:?}");
        session
    }
}

/// Some recipe whose model is put in place of.
pub(crate) fn recipe() -> Recipe {
    let synthetic = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/synthetic.toml");
    let loaded = load(&synthetic, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    loaded.variants[0].recipe.clone()
}

/// A file of a package; none, and a line that says so, where tests may not fetch it.
pub(crate) fn fetched(asset: &str, file: &str) -> Option<PathBuf> {
    if std::env::var("CROSSLOOM_NETWORK_TESTS").as_deref() != Ok("1") {
        println!("skipped: set CROSSLOOM_NETWORK_TESTS=1 to fetch {asset}");
        return None;
    }
    let folder = AssetCache::of_user().unwrap().ensure(asset, &mut |_| ()).unwrap();
    Some(folder.join(file))
}
