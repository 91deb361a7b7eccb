//! A checkpoint write that fails or is killed at any point leaves the newest checkpoint whole.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fake::*;
use crossloom_train::checkpoint::storage::{Disk, Storage, StorageFile};
use crossloom_train::{CheckpointError, Checkpoints, RestorePart};

/// How a fault behaves once it has struck.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// The disk is full: writing fails from here on, removing and renaming work.
    Full,
    /// One operation fails, later ones work.
    Once,
    /// The process is gone: nothing works any more.
    Killed,
}

/// A disk on which the `at`-th changing operation fails; a failing write leaves half of its bytes. Syncing counts as an
/// operation and does nothing, because no power is cut here and thousands of real syncs would take minutes.
#[derive(Debug)]
struct Faulty {
    fault: Fault,
    at: u64,
    count: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
}

impl Faulty {
    fn change(&self, frees_space: bool) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let struck = match self.fault {
            Fault::Once => count == self.at,
            Fault::Killed => count >= self.at,
            Fault::Full => count >= self.at && !frees_space,
        };
        if struck {
            self.failures.fetch_add(1, Ordering::Relaxed);
            Err(io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Ok(())
        }
    }
}

struct FaultyFile<'a> {
    file: Box<dyn StorageFile + 'a>,
    disk: &'a Faulty,
}

impl Write for FaultyFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Small writes, so that there are many places to fail at.
        let bytes = &bytes[..bytes.len().min(64)];
        match self.disk.change(false) {
            Ok(()) => self.file.write_all(bytes).map(|()| bytes.len()),
            Err(error) => {
                self.file.write_all(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for FaultyFile<'_> {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.change(false)?;
        self.file.flush()
    }
}

impl Storage for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(false)?;
        Disk.create_dir(path)
    }
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn StorageFile + '_>> {
        self.change(false)?;
        Ok(Box::new(FaultyFile { file: Disk.create_file(path)?, disk: self }))
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.change(true)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(true)?;
        Disk.rename(from, to)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if let Err(error) = self.change(true) {
            // A killed removal has removed some of the files.
            if let Ok(names) = Disk.list(path) {
                for name in names.iter().skip(1) {
                    let _ = std::fs::remove_file(path.join(name));
                }
            }
            return Err(error);
        }
        Disk.remove_dir(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.read(path)
    }
    fn size(&self, path: &Path) -> io::Result<u64> {
        Disk.size(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Disk.list(path)
    }
}

/// The states of an unbroken training after 0..=8 steps.
fn unbroken() -> BTreeMap<u64, FakeModel> {
    (0..=8)
        .map(|steps| {
            let mut model = FakeModel::new();
            run(&mut trainer(options(steps)), &mut model, &mut FakeSource::new(5, &[4, 2]), None, &never())
                .unwrap();
            (steps, model)
        })
        .collect()
}

/// Fail at every operation of the save after step 6, where checkpoints of steps 2 and 4 exist and 2 are kept.
fn fail_everywhere(fault: Fault) {
    let truth = unbroken();
    let (mut committed, mut failed) = (0, 0);
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let healthy = Faulty { fault, at: u64::MAX, count: Arc::default(), failures: Arc::default() };
        let disk = Checkpoints::with_storage(dir.path(), 2, Box::new(healthy));
        let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
        let mut trainer = trainer(options(4));
        run(
            &mut crate::fake::trainer(options(2)),
            &mut FakeModel::new(),
            &mut FakeSource::new(5, &[4, 2]),
            Some(&disk),
            &never(),
        )
        .unwrap();
        run(&mut trainer, &mut model, &mut source, Some(&disk), &never()).unwrap();
        assert_eq!(disk.steps().unwrap(), [2, 4]);

        let (count, failures) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let faulty = Checkpoints::with_storage(
            dir.path(),
            2,
            Box::new(Faulty { fault, at, count: Arc::clone(&count), failures: Arc::clone(&failures) }),
        );
        let mut continued = crate::fake::trainer(options(6));
        let checkpoint = disk.newest().unwrap().unwrap();
        let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
        continued.resume(&checkpoint, &SAME_RECIPE, &mut model, &mut source).unwrap();
        let result = run(&mut continued, &mut model, &mut source, Some(&faulty), &never());
        assert_eq!(result.is_err(), failures.load(Ordering::Relaxed) > 0, "{fault:?} at {at}");

        // Whatever happened: the newest checkpoint on the disk is whole, and training on from it is bitwise right.
        let newest = disk.newest().unwrap().unwrap();
        newest.verify().unwrap();
        let step = newest.state().step;
        assert!(step == 4 || step == 6, "{fault:?} at {at}: newest is {step}");
        let (mut resumed, mut resumed_source) = (FakeModel::new(), FakeSource::new(5, &[4, 2]));
        let mut after = crate::fake::trainer(options(8));
        after.resume(&newest, &SAME_RECIPE, &mut resumed, &mut resumed_source).unwrap();
        assert_eq!(resumed.bits(), truth[&step].bits());
        run(&mut after, &mut resumed, &mut resumed_source, Some(&disk), &never()).unwrap();
        assert_eq!(resumed.bits(), truth[&8].bits());
        // The next save has tidied up.
        let names: Vec<String> = Disk.list(dir.path()).unwrap();
        let kept = if step == 6 { ["latest", "step-6", "step-8"] } else { ["latest", "step-4", "step-8"] };
        assert_eq!(names, kept, "{fault:?} at {at}");
        assert_eq!(std::fs::read_to_string(dir.path().join("latest")).unwrap(), "step-8\n");

        if let Err(error) = result {
            failed += 1;
            let text = error.to_string();
            assert!(text.contains("step 6") && text.contains("free some space"), "{text}");
        }
        if step == 6 {
            committed += 1;
        }
        if count.load(Ordering::Relaxed) <= at {
            break;
        }
    }
    // There are failing positions before and after the commit.
    assert!(failed > 40 && committed > 5, "{failed} failures, {committed} commits");
}

/// Fail at every operation of a save that replaces a different checkpoint of the same step.
fn fail_while_replacing(fault: Fault) {
    let (mut old_kept, mut replaced) = (0, 0);
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let disk = Checkpoints::new(dir.path(), 2);
        run(
            &mut trainer(options(3)),
            &mut FakeModel::new(),
            &mut FakeSource::new(5, &[4, 2]),
            Some(&disk),
            &never(),
        )
        .unwrap();
        let old = disk.newest().unwrap().unwrap();
        let (old_bits, state) = (loaded_bits(&old), old.state().clone());
        let (count, failures) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let faulty = Faulty { fault, at, count: Arc::clone(&count), failures: Arc::clone(&failures) };
        let faulty = Checkpoints::with_storage(dir.path(), 2, Box::new(faulty));
        let mut other = FakeModel::new();
        other.weight = vec![7.0, 8.0, 9.0];
        let result = faulty.save(&other, &state);

        // A new process brings back what the old one left aside.
        disk.restore_replaced().unwrap();
        let newest = disk.newest().unwrap().unwrap_or_else(|| panic!("{fault:?} at {at}: both are lost"));
        newest.verify().unwrap();
        let bits = loaded_bits(&newest);
        assert!(bits == old_bits || bits == other.bits(), "{fault:?} at {at}");
        if bits == old_bits {
            old_kept += 1;
            let text = result.unwrap_err().to_string();
            // After a kill there is nobody to say it.
            let said = text.contains("the checkpoint of step 3 is untouched");
            assert!(said || fault == Fault::Killed, "{text}");
        } else {
            replaced += 1;
        }
        disk.save(&other, &state).unwrap();
        assert_eq!(Disk.list(dir.path()).unwrap(), ["latest", "step-3"], "{fault:?} at {at}");
        if count.load(Ordering::Relaxed) <= at {
            break;
        }
    }
    assert!(old_kept > 20 && replaced > 3, "{fault:?}: {old_kept} old, {replaced} new");
}

fn loaded_bits(checkpoint: &crossloom_train::Checkpoint<'_>) -> Vec<(String, Vec<u32>)> {
    let mut model = FakeModel::new();
    checkpoint.restore_model(&mut model, RestorePart::All).unwrap();
    model.bits()
}

#[test]
fn a_checkpoint_that_is_being_replaced_is_never_lost() {
    for fault in [Fault::Full, Fault::Once, Fault::Killed] {
        fail_while_replacing(fault);
    }
}

#[test]
fn a_full_disk_at_any_write_keeps_the_newest_checkpoint() {
    fail_everywhere(Fault::Full);
}

#[test]
fn a_single_failure_at_any_operation_keeps_the_newest_checkpoint() {
    fail_everywhere(Fault::Once);
}

#[test]
fn a_kill_at_any_operation_keeps_the_newest_checkpoint() {
    fail_everywhere(Fault::Killed);
}

#[test]
fn a_full_disk_leaves_nothing_half_written_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Checkpoints::new(dir.path(), 0);
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    run(&mut trainer(options(2)), &mut model, &mut source, Some(&disk), &never()).unwrap();
    let before = files_below(dir.path());
    let faulty = Faulty { fault: Fault::Full, at: 6, count: Arc::default(), failures: Arc::default() };
    let full = Checkpoints::with_storage(dir.path(), 0, Box::new(faulty));
    let error = run(&mut trainer(options(3)), &mut model, &mut source, Some(&full), &never()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("step-3.tmp") && text.contains("the checkpoint of step 2 is untouched"), "{text}");
    assert_eq!(files_below(dir.path()), before);
    assert_eq!(Disk.list(dir.path()).unwrap(), ["latest", "step-2"]);
}

#[test]
fn a_model_that_cannot_hand_out_its_tensors_leaves_nothing_behind() {
    struct Bad(&'static str);
    impl crossloom_train::ModelState for Bad {
        fn visit_state(
            &self,
            visit: &mut crossloom_train::Visit<'_>,
        ) -> Result<(), crossloom_train::BoxError> {
            match self.0 {
                "twice" => visit(tensor("w", &[1], &[0; 4])).and_then(|()| visit(tensor("w", &[1], &[0; 4]))),
                "length" => visit(tensor("w", &[2, 3], &[0; 20])),
                "overflow" => visit(tensor("w", &[usize::MAX, 2], &[0; 20])),
                _ => Err("the device is gone".into()),
            }
        }
        fn load_state(
            &mut self,
            _: crossloom_train::StateTensor<'_>,
        ) -> Result<(), crossloom_train::BoxError> {
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(dir.path(), 0);
    let (mut model, mut source) = (FakeModel::new(), FakeSource::new(5, &[4]));
    run(&mut trainer(options(1)), &mut model, &mut source, Some(&checkpoints), &never()).unwrap();
    let state =
        crossloom_train::TrainState { step: 2, ..checkpoints.newest().unwrap().unwrap().state().clone() };
    for (kind, says) in
        [("twice", "twice"), ("length", "20 bytes"), ("overflow", "20 bytes"), ("gone", "device")]
    {
        let error = checkpoints.save(&Bad(kind), &state).unwrap_err();
        assert!(matches!(error, CheckpointError::Model { step: 2, .. }));
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(Disk.list(dir.path()).unwrap(), ["latest", "step-1"]);
    }
    let mut unfit = Bad("length");
    let newest = checkpoints.newest().unwrap().unwrap();
    assert!(newest.restore_model(&mut unfit, RestorePart::All).is_err());
}
