#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::assets::ClientError;
use zip::write::{SimpleFileOptions, ZipWriter};

/// Gives a prepared archive and counts how often it was asked.
struct Shelf {
    archive: Vec<u8>,
    asked: Arc<AtomicUsize>,
}

impl PackageClient for Shelf {
    fn fetch(
        &self,
        asset: &Asset,
        into: &Path,
        _: &AtomicBool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ClientError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        progress(self.archive.len() as u64);
        fs::write(into.join(&asset.file), &self.archive).unwrap();
        Ok(())
    }

    fn command(&self, asset: &Asset, into: &Path) -> String {
        format!("take {} to {}", asset.name, into.display())
    }
}

struct Bench {
    root: tempfile::TempDir,
    archive: Vec<u8>,
    registry: Registry,
    asked: Arc<AtomicUsize>,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("made.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, content) in [("pack/one.txt", "one"), ("pack/deep/two.txt", "two!")] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let archive = fs::read(&path).unwrap();
        let (bytes, sha256) = hash_file(&path).unwrap();
        fs::remove_file(path).unwrap();
        let registry = Registry::parse(&format!(
            "[[asset]]\nname = \"pack\"\nversion = \"2.0\"\nsource = \"pypi\"\nfile = \"pack-2.0.whl\"\nbytes = {bytes}\n\
             sha256 = \"{sha256}\"\nunpacked_bytes = 100\nfiles = 5\nlicence = \"MIT\"\ndescription = \"\"\n"
        ));
        Self { root, archive, registry: registry.unwrap(), asked: Arc::default() }
    }

    fn cache(&self) -> AssetCache {
        self.cache_with(Box::new(Shelf { archive: self.archive.clone(), asked: self.asked.clone() }))
    }

    fn cache_with(&self, client: Box<dyn PackageClient>) -> AssetCache {
        AssetCache::new(self.root.path().join("cache"), self.registry.clone(), client)
    }

    /// Ensures the package; its folder or error, and the events.
    fn ensure(cache: &AssetCache) -> (Result<PathBuf, AssetError>, Vec<AssetEvent>) {
        let mut events = Vec::new();
        let result = cache.ensure("pack", &mut |event| events.push(event));
        let tmp = cache.root().join("tmp");
        if tmp.exists() {
            assert_eq!(fs::read_dir(tmp).unwrap().count(), 0, "no work in progress stays");
        }
        (result, events)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[test]
fn a_package_is_fetched_once_and_re_used() {
    let bench = Bench::new();
    let cache = bench.cache();
    let (path, events) = Bench::ensure(&cache);
    let path = path.unwrap();
    assert_eq!(fs::read_to_string(path.join("pack/deep/two.txt")).unwrap(), "two!");
    assert_eq!(path, cache.files_of("pack").unwrap());
    assert_eq!(events.first(), Some(&AssetEvent::Checking));
    assert!(events.contains(&AssetEvent::Unpacking { done: 2, total: 2 }));
    assert_eq!(events.last(), Some(&AssetEvent::Ready { path: path.clone() }));
    let (again, events) = Bench::ensure(&bench.cache());
    assert_eq!((again.unwrap(), bench.asked(), events.len()), (path, 1, 2));
    assert_eq!(cache.manifest("pack").unwrap().unwrap().files.len(), 2);
}

#[test]
fn every_kind_of_damage_is_seen_and_repaired() {
    let bench = Bench::new();
    let cache = bench.cache();
    let files = Bench::ensure(&cache).0.unwrap();
    let manifest = files.parent().unwrap().join("manifest.json");
    let outside = fs::read_to_string(&manifest).unwrap().replace("pack/one.txt", "../one.txt");
    let damages: [(&str, &dyn Fn()); 6] = [
        ("one.txt has changed", &|| fs::write(files.join("pack/one.txt"), "eno").unwrap()),
        ("has 0 bytes", &|| fs::write(files.join("pack/one.txt"), "").unwrap()),
        ("two.txt", &|| fs::remove_file(files.join("pack/deep/two.txt")).unwrap()),
        ("manifest.json", &|| fs::write(&manifest, "{").unwrap()),
        ("manifest.json", &|| fs::remove_file(&manifest).unwrap()),
        ("outside the package", &|| fs::write(&manifest, &outside).unwrap()),
    ];
    for (round, (expected, damage)) in damages.iter().enumerate() {
        damage();
        assert!(cache.manifest("pack").unwrap().is_none());
        let (path, events) = Bench::ensure(&cache);
        assert_eq!(fs::read_to_string(path.unwrap().join("pack/one.txt")).unwrap(), "one");
        let told =
            events.iter().find(|event| matches!(event, AssetEvent::Corrupted { .. })).unwrap().to_string();
        assert!(told.contains(expected), "{told}");
        assert_eq!(bench.asked(), round + 2);
    }
}

#[test]
fn an_archive_with_another_hash_is_never_unpacked() {
    let bench = Bench::new();
    let mut archive = bench.archive.clone();
    archive[40] ^= 1;
    let cache = bench.cache_with(Box::new(Shelf { archive, asked: bench.asked.clone() }));
    let error = Bench::ensure(&cache).0.unwrap_err();
    assert!(matches!(&error, AssetError::WrongArchive { property: "SHA-256", .. }), "{error}");
    assert!(!cache.files_of("pack").unwrap().exists());
    let cache = bench.cache_with(Box::new(Shelf { archive: vec![1, 2], asked: bench.asked.clone() }));
    assert!(matches!(Bench::ensure(&cache).0, Err(AssetError::WrongArchive { property: "size", .. })));
}

#[test]
fn a_failed_repair_leaves_the_damaged_copy_in_place() {
    let bench = Bench::new();
    let files = Bench::ensure(&bench.cache()).0.unwrap();
    fs::write(files.join("pack/one.txt"), "eno").unwrap();
    let broken = bench.cache_with(Box::new(Shelf { archive: vec![], asked: bench.asked.clone() }));
    assert!(Bench::ensure(&broken).0.is_err());
    assert_eq!(fs::read_to_string(files.join("pack/one.txt")).unwrap(), "eno");
}

#[test]
fn without_a_client_the_error_tells_the_manual_way_and_it_works() {
    let bench = Bench::new();
    let python = PathBuf::from("/nonexistent/python3");
    let cache = bench.cache_with(Box::new(Pip { python, ..Pip::default() }));
    let message = Bench::ensure(&cache).0.unwrap_err().to_string();
    let downloads = cache.root().join("downloads");
    let command = format!(
        "/nonexistent/python3 -m pip download --no-deps --only-binary=:all: pack==2.0 -d {}",
        downloads.display()
    );
    assert!(message.contains("cannot be started") && message.contains(&command), "{message}");
    assert!(message.contains(&downloads.join("pack-2.0.whl").display().to_string()), "{message}");

    fs::write(downloads.join("pack-2.0.whl"), &bench.archive).unwrap();
    let (path, events) = Bench::ensure(&cache);
    assert!(path.unwrap().join("pack/one.txt").exists());
    assert!(events.iter().any(|event| matches!(event, AssetEvent::LocalArchive { .. })));
}

#[test]
fn a_wrong_file_put_by_hand_is_named() {
    let bench = Bench::new();
    let cache = bench.cache();
    let downloads = cache.root().join("downloads");
    fs::create_dir_all(&downloads).unwrap();
    fs::write(downloads.join("pack-2.0.whl"), "not a wheel").unwrap();
    let message = Bench::ensure(&cache).0.unwrap_err().to_string();
    assert!(message.contains("downloads/pack-2.0.whl") && message.contains("delete it"), "{message}");
    assert_eq!(bench.asked(), 0);
}

#[test]
fn two_processes_do_not_fetch_twice() {
    let bench = Bench::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| bench.cache().ensure("pack", &mut |_| {}).unwrap())).collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
    assert_eq!(bench.asked(), 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error() {
    let bench = Bench::new();
    let root = bench.root.path().join("file");
    fs::write(&root, "").unwrap();
    let client = Box::new(Shelf { archive: bench.archive.clone(), asked: bench.asked.clone() });
    let error =
        AssetCache::new(root, bench.registry.clone(), client).ensure("pack", &mut |_| {}).unwrap_err();
    assert!(matches!(error, AssetError::Io { action: "create", .. }), "{error}");
}

/// A stand-in for Python that runs a line of shell.
#[cfg(unix)]
fn interpreter(bench: &Bench, script: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = bench.root.path().join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[cfg(unix)]
#[test]
fn what_the_client_says_is_passed_on() {
    let bench = Bench::new();
    let run = |script, time_limit| {
        let pip = Pip { python: interpreter(&bench, script), time_limit };
        Bench::ensure(&bench.cache_with(Box::new(pip))).0
    };
    let minute = Duration::from_mins(1);
    let failed = run("echo 'ERROR: No matching distribution' >&2; exit 1", minute).unwrap_err().to_string();
    assert!(failed.contains("ERROR: No matching distribution") && failed.contains("By hand"), "{failed}");
    let slow = run("exec sleep 30", Duration::from_millis(150)).unwrap_err().to_string();
    assert!(slow.contains("was stopped after"), "{slow}");
    let idle = run("exit 0", minute).unwrap_err().to_string();
    assert!(idle.contains("left no file `pack-2.0.whl`"), "{idle}");

    let wheel = bench.root.path().join("wheel");
    fs::write(&wheel, &bench.archive).unwrap();
    let expected =
        "test \"$*\" = \"-m pip download --no-deps --only-binary=:all: pack==2.0 -d $8\" || exit 9";
    let copy = format!("{expected}\ncp {} \"$8/pack-2.0.whl\"", wheel.display());
    assert!(run(&copy, minute).is_ok());
}

#[cfg(unix)]
#[test]
fn a_fetch_that_is_stopped_ends_the_program_and_leaves_the_cache_as_it_was() {
    let bench = Bench::new();
    let stop = AtomicBool::new(false);
    let fetched = |script, after: Duration| {
        let pip = Pip { python: interpreter(&bench, script), time_limit: Duration::from_mins(1) };
        let cache = bench.cache_with(Box::new(pip));
        stop.store(false, Ordering::SeqCst);
        let started = std::time::Instant::now();
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(after);
                stop.store(true, Ordering::SeqCst);
            });
            cache.ensure_until("pack", &stop, &mut |_| {})
        });
        assert!(matches!(ended, Err(AssetError::Stopped { .. })), "{ended:?}");
        assert!(started.elapsed() < Duration::from_secs(20));
        assert_eq!(fs::read_dir(cache.root().join("tmp")).unwrap().count(), 0);
    };
    fetched("exec sleep 30", Duration::from_millis(200));
    // The program ends by the same Ctrl-C, before the flag is set.
    fetched("exit 130", Duration::from_millis(30));
    // Another process fetches the same package.
    let lock = File::create(bench.root.path().join("cache/assets/pack-2.0.lock")).unwrap();
    lock.lock().unwrap();
    fetched("exit 1", Duration::from_millis(200));
}

#[test]
fn a_complete_package_is_read_without_a_lock_and_without_writing() {
    let bench = Bench::new();
    let cache = bench.cache();
    let path = cache.ensure("pack", &mut |_| {}).unwrap();
    let lock = bench.root.path().join("cache/assets/pack-2.0.lock");
    // Held by another process.
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    let mut events = Vec::new();
    let again = cache.ensure("pack", &mut |event| events.push(event)).unwrap();
    assert_eq!(again, path);
    assert!(!events.iter().any(|event| matches!(event, AssetEvent::Waiting)), "{events:?}");
    // No lock is made, nor any folder.
    drop(held);
    fs::remove_file(&lock).unwrap();
    fs::remove_dir_all(cache.root().join("tmp")).unwrap();
    cache.ensure("pack", &mut |_| {}).unwrap();
    assert!(!lock.exists() && !cache.root().join("tmp").exists());
}
