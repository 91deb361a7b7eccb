//! Weights that stay in their file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossloom_cpu::CpuDevice;
use crossloom_runtime::testing::suite::executable;
use crossloom_runtime::{Arena, Budget, Device, Home, MappedFile, RunError, Session, Store};
use safetensors::tensor::{Dtype, TensorView};

const PRODUCT: &str = r#"func @product {
  input  %x "x": f32[1, 4]
  weight %w "w": f32[2, 4]
  a.b:
    %0 = linear %x, %w : f32[1, 2]
  return "y" = %0
}
"#;

const TRAINED: &str = r#"func @trained {
  weight %w "w": f32[2, 4]
  opt:
    %0 = affine %w {mul = 0.5, add = 0.0} : f32[2, 4]
  update %w = %0
}
"#;

fn write(path: &Path, values: &[f32; 8]) {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![2, 4], &bytes).unwrap();
    safetensors::serialize_to_file([("w", view)], None, path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, &[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    (folder, path)
}

/// Maps a tensor of a file under the name that it has there.
fn map(store: &Store, name: &str, file: &Arc<MappedFile>) -> Result<(), RunError> {
    let (ty, tensor) = file.tensor(name)?;
    store.map(name, &ty, tensor)
}

fn session(device: &Arc<dyn Device>, file: &Arc<MappedFile>) -> Session {
    let store = Store::new(device).unwrap();
    map(&store, "w", file).unwrap();
    let mut session = Session::new(&executable(device, PRODUCT), &Arena::new(&store)).unwrap();
    session.write("x", &[3.0_f32, 4.0, 5.0, 6.0]).unwrap();
    session
}

#[test]
fn a_mapped_weight_takes_no_memory_of_the_device() {
    let (_folder, path) = file();
    let mapped = MappedFile::open(&path).unwrap();
    assert_eq!(
        (mapped.header().keys().map(String::as_str).collect::<Vec<_>>(), mapped.is_copy()),
        (vec!["w"], false)
    );
    let budget = Budget::new(1 << 20);
    let device: Arc<dyn Device> = Arc::new(CpuDevice::with_budget(budget.clone()));
    let store = Store::new(&device).unwrap();
    map(&store, "w", &mapped).unwrap();
    assert_eq!(budget.used(), 0);
    let info = store.info("w").unwrap();
    assert!(matches!(info.home, Home::Mapped(_)) && !info.resident);
    let mut session = session(&device, &mapped);
    session.run().unwrap();
    assert_eq!(session.read::<f32>("y").unwrap(), [3.0, 8.0]);
    assert!(matches!(store.write("w", &[0.0_f32; 8]), Err(RunError::ReadOnly { home: "mapped", .. })));
    assert!(map(&store, "w", &mapped).is_err());
    let RunError::File { message, .. } = map(&store, "v", &mapped).unwrap_err() else {
        panic!("a file's error")
    };
    assert!(message.contains("`v`"), "{message}");
}

#[test]
fn a_plan_that_updates_a_mapped_weight_is_refused() {
    let (_folder, path) = file();
    let device = CpuDevice::shared();
    let store = Store::new(&device).unwrap();
    map(&store, "w", &MappedFile::open(&path).unwrap()).unwrap();
    let error = Session::new(&executable(&device, TRAINED), &Arena::new(&store)).unwrap_err().to_string();
    assert!(error.contains("`w` is mapped") && error.contains("affine") && error.contains("opt"), "{error}");
}

/// What is done to the file, and what the error says of it.
fn is_refused(says: &str, change: impl Fn(&Path)) {
    let (_folder, path) = file();
    let device = CpuDevice::shared();
    let mapped = MappedFile::open(&path).unwrap();
    let mut session = session(&device, &mapped);
    session.run().unwrap();
    let executable = executable(&device, PRODUCT);
    change(&path);
    for error in [
        session.run().unwrap_err(),
        Session::new(&executable, &Arena::new(session.store())).unwrap_err(),
        map(&Store::new(&device).unwrap(), "w", &mapped).unwrap_err(),
    ] {
        assert!(matches!(error, RunError::File { .. }) && error.to_string().contains(says), "{error}");
    }
    assert!(matches!(session.read::<f32>("y"), Err(RunError::NotRun { .. })));
}

#[test]
fn a_file_that_is_not_what_it_was_is_an_error_before_anything_reads_it() {
    is_refused("changed", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap());
    is_refused("changed", |path| OpenOptions::new().write(true).open(path).unwrap().set_len(64).unwrap());
    is_refused("changed", |path| {
        let later = SystemTime::now() + Duration::from_mins(1);
        File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
    });
    is_refused("gone", |path| fs::remove_file(path).unwrap());
    is_refused("been replaced", |path| {
        let other = path.with_extension("new");
        write(&other, &[7.0; 8]);
        fs::rename(other, path).unwrap();
    });
}

#[test]
fn a_file_that_others_may_write_is_read_at_once() {
    let (_folder, path) = file();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let device = CpuDevice::shared();
    let mapped = MappedFile::open(&path).unwrap();
    assert!(mapped.is_copy());
    let mut session = session(&device, &mapped);
    assert!(session.store().info("w").unwrap().resident);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    session.run().unwrap();
    assert_eq!(session.read::<f32>("y").unwrap(), [3.0, 8.0]);
}

#[test]
fn a_file_that_is_no_weights_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in
        [("empty", &b""[..]), ("short", b"\x08\0\0"), ("huge", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}")]
    {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        assert!(matches!(MappedFile::open(&path), Err(RunError::File { .. })), "{name}");
    }
    assert!(MappedFile::open(folder.path()).is_err());
    assert!(MappedFile::open(&folder.path().join("none")).is_err());
}
