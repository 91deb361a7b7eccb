//! What sessions promise on every device. Each function panics where the device breaks a promise.

use std::sync::Arc;

use crossloom_compiler::training::{Group, Training};
use crossloom_compiler::{Context, Mode, compile, plan};
use crossloom_ir::{DType, Func, Role, TensorType, text};

use crate::{Arena, Device, Executable, Home, HostBytes, RunError, Session, Store};

/// Everything. `device` makes devices with a budget, all of one kind.
pub fn all(device: &dyn Fn(crate::Budget) -> Arc<dyn Device>) {
    let unlimited = device(crate::Budget::unlimited());
    results(&unlimited);
    types(&unlimited);
    several_sessions(&unlimited);
    arenas(&unlimited);
    errors(&unlimited);
    non_finite(&unlimited);
    profile(&unlimited);
    homes(&unlimited);
    budgets(device);
    saved_and_restored(&unlimited);
    unlike_devices(&unlimited, &device(crate::Budget::unlimited()));
}

/// Scales what is given by a weight, and counts the calls in a state.
const SCALE: &str = r#"func @scale {
  input  %x "x": f32[3]
  input  %id "id": i32[2]
  weight %w "w": f32[3]
  state  %n "n": f32[3]
  a.b:
    %0 = mul %x, %w : f32[3]
    %1 = affine %n {mul = 1.0, add = 1.0} : f32[3]
    %2 = to_float %id : f32[2]
    %3 = affine %2 {mul = 2.0, add = 0.0} : f32[2]
    %4 = to_int %3 : i32[2]
  return "y" = %0
  return "twice" = %4
  update %n = %1
}
"#;

/// Rows of a table.
const LOOKUP: &str = r#"func @lookup {
  input  %id "id": i32[2]
  weight %table "table": f32[3, 2]
  look.up:
    %0 = embedding %table, %id : f32[2, 2]
  return "rows" = %0
}
"#;

/// The function of that text, made ready.
pub fn executable(device: &Arc<dyn Device>, source: &str) -> Executable {
    let func = text::parse(source).unwrap_or_else(|e| panic!("{e}"));
    Executable::new(device, plan::plan(func, device.target()).unwrap()).unwrap()
}

fn store(device: &Arc<dyn Device>) -> (Store, Arena) {
    let store = Store::new(device).unwrap();
    let arena = Arena::new(&store);
    (store, arena)
}

/// What is written is what the run sees; what it computes and updates is read.
pub fn results(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let mut session = Session::new(&executable(device, SCALE), &arena).unwrap();
    assert_eq!(store.read::<f32>("n").unwrap(), [0.0; 3], "new tensors are zero");
    store.write("w", &[1.0_f32, 10.0, 100.0]).unwrap();
    for call in 1..4 {
        let x = [call as f32, 2.0, 3.0];
        session.write("x", &x).unwrap();
        session.write("id", &[call, -7]).unwrap();
        session.run().unwrap();
        assert_eq!(session.read::<f32>("y").unwrap(), [x[0], 20.0, 300.0]);
        assert_eq!(session.read::<i32>("twice").unwrap(), [2 * call, -14]);
        assert_eq!(store.read::<f32>("n").unwrap(), [call as f32; 3]);
    }
    // Inputs stay until they are written again.
    session.run().unwrap();
    session.wait().unwrap();
    assert_eq!(session.read::<f32>("y").unwrap(), [3.0, 20.0, 300.0]);
    store.clear("n").unwrap();
    assert_eq!(store.read::<f32>("n").unwrap(), [0.0; 3]);
}

/// Elements are read and written as what they are, all of them, under their names.
pub fn types(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let mut session = Session::new(&executable(device, SCALE), &arena).unwrap();
    session.run().unwrap();
    let ints =
        |error: RunError| assert!(matches!(error, RunError::WrongType { asked: DType::I32, .. }), "{error}");
    let floats =
        |error: RunError| assert!(matches!(error, RunError::WrongType { asked: DType::F32, .. }), "{error}");
    let length = |error: RunError| assert!(matches!(error, RunError::Length { given: 2, .. }), "{error}");
    let unknown = |error: RunError| assert!(matches!(error, RunError::Unknown { .. }), "{error}");
    ints(session.write("x", &[1, 2, 3]).unwrap_err());
    floats(session.write("id", &[1.0_f32, 2.0]).unwrap_err());
    ints(session.read::<i32>("y").unwrap_err());
    floats(session.read::<f32>("twice").unwrap_err());
    ints(store.read::<i32>("w").unwrap_err());
    ints(store.write("w", &[1, 2, 3]).unwrap_err());
    length(session.write("x", &[1.0_f32, 2.0]).unwrap_err());
    length(store.write("w", &[1.0_f32, 2.0]).unwrap_err());
    length(session.read_into("y", &mut [0.0_f32; 2]).unwrap_err());
    length(store.write_bytes("w", &[0; 8]).unwrap_err());
    unknown(session.write("w", &[0.0_f32; 3]).unwrap_err());
    unknown(session.read::<f32>("n").unwrap_err());
    unknown(store.read::<f32>("x").unwrap_err());
    let other = TensorType::f32([4]);
    assert!(matches!(store.add("w", Role::Weight, &other), Err(RunError::Mismatch { .. })));
    store.add("w", Role::Weight, &TensorType::f32([3])).unwrap();
    assert_eq!(session.read::<i32>("twice").unwrap(), [0, 0], "nothing of this changed anything");
}

/// Sessions of one store see each other's updates, in the order in which they ran.
pub fn several_sessions(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let scale = executable(device, SCALE);
    let mut first = Session::new(&scale, &arena).unwrap();
    let own = Arena::new(&store);
    let mut second = Session::new(&scale, &own).unwrap();
    let reader = "func @reader {\n  state %n \"n\": f32[3]\n  %0 = affine %n {mul = 10.0, add = 0.0} : f32[3]\n  return \"tens\" = %0\n}\n";
    let mut third = Session::new(&executable(device, reader), &Arena::new(&store)).unwrap();
    for round in 1..4 {
        first.run().unwrap();
        second.run().unwrap();
        third.run().unwrap();
        assert_eq!(third.read::<f32>("tens").unwrap(), [20.0 * round as f32; 3]);
    }
    // Each has its own inputs.
    store.write("w", &[1.0_f32; 3]).unwrap();
    first.write("x", &[1.0_f32; 3]).unwrap();
    second.write("x", &[2.0_f32; 3]).unwrap();
    first.run().unwrap();
    second.run().unwrap();
    assert_eq!(first.read::<f32>("y").unwrap(), [1.0; 3]);
    assert_eq!(second.read::<f32>("y").unwrap(), [2.0; 3]);
    drop(second);
    first.run().unwrap();
    assert_eq!(store.read::<f32>("n").unwrap(), [9.0; 3]);
    // Threads may share a store; sessions on it never touch memory at one time.
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let mut session = Session::new(&scale, &Arena::new(&store)).unwrap();
            std::thread::spawn(move || (0..20).for_each(|_| session.run().unwrap()))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(store.read::<f32>("n").unwrap(), [69.0; 3]);
}

/// One arena is as large as the largest session needs, and a result in it is there until another session runs.
pub fn arenas(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let small = executable(device, SCALE);
    let mut first = Session::new(&small, &arena).unwrap();
    let before = arena.bytes();
    assert_eq!(Some(before), small.plan().arena_bytes());
    store.write("w", &[1.0_f32; 3]).unwrap();
    first.write("x", &[5.0_f32; 3]).unwrap();
    first.run().unwrap();
    let source = "func @large {\n  input %x \"z\": f32[1000]\n  %0 = affine %x {mul = 3.0, add = 0.0} : f32[1000]\n  return \"z\" = %0\n}\n";
    let large = executable(device, source);
    let mut second = Session::new(&large, &arena).unwrap();
    assert_eq!(Some(arena.bytes()), large.plan().arena_bytes());
    assert!(arena.bytes() > before);
    // The arena has grown: what the first session computed is gone, and it runs on.
    assert!(matches!(first.read::<f32>("y"), Err(RunError::Overwritten { .. })));
    assert!(matches!(second.read::<f32>("z"), Err(RunError::NotRun { .. })));
    first.run().unwrap();
    assert_eq!(first.read::<f32>("y").unwrap(), [5.0; 3]);
    second.write("z", &[1.0_f32; 1000]).unwrap();
    second.run().unwrap();
    assert_eq!(second.read::<f32>("z").unwrap(), [3.0; 1000]);
    let error = first.read::<f32>("y").unwrap_err();
    assert!(matches!(&error, RunError::Overwritten { name, .. } if name == "y"), "{error}");
    first.run().unwrap();
    assert_eq!(first.read::<f32>("y").unwrap(), [5.0; 3]);
    assert!(second.read::<f32>("z").is_err());
}

/// A step that fails names op, scope and kernel, and leaves nothing to be read; the session can run again.
pub fn errors(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let mut session = Session::new(&executable(device, LOOKUP), &arena).unwrap();
    let mut other = Session::new(&executable(device, SCALE), &Arena::new(&store)).unwrap();
    store.write("table", &[0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    let named = |error: RunError| {
        let RunError::Step { op, scope, kernel, message } = error else { panic!("{error}") };
        assert_eq!((op.as_str(), scope.as_str(), kernel.as_str()), ("embedding", "look.up", "embedding"));
        assert!(message.contains('3'), "{message}");
    };
    for wait in [true, false] {
        session.write("id", &[1, 3]).unwrap();
        let started = session.run();
        // The error belongs to the run that failed, not to whoever runs next.
        other.run().unwrap();
        other.read::<f32>("y").unwrap();
        named(
            started
                .and_then(|()| if wait { session.wait() } else { session.read::<f32>("rows").map(|_| ()) })
                .unwrap_err(),
        );
        let after = session.read::<f32>("rows").unwrap_err();
        assert!(matches!(after, RunError::NotRun { .. }), "{after}");
        session.write("id", &[2, 0]).unwrap();
        session.run().unwrap();
        assert_eq!(session.read::<f32>("rows").unwrap(), [4.0, 5.0, 0.0, 1.0]);
    }
}

/// The first value that is not finite is found, with the op that made it.
pub fn non_finite(device: &Arc<dyn Device>) {
    let (_, arena) = store(device);
    let source = "func @f {\n  input %x \"x\": f32[2]\n  first:\n    %0 = affine %x {mul = 1.0, add = -1.0} : f32[2]\n  second:\n    %1 = recip %0 : f32[2]\n    %2 = exp %1 : f32[2]\n  return \"y\" = %2\n}\n";
    let mut session = Session::new(&executable(device, source), &arena).unwrap();
    session.write("x", &[2.0_f32, 3.0]).unwrap();
    assert_eq!(session.find_non_finite().unwrap(), None);
    assert!(session.read::<f32>("y").unwrap().iter().all(|y| y.is_finite()));
    session.write("x", &[2.0_f32, 1.0]).unwrap();
    let found = session.find_non_finite().unwrap().unwrap();
    assert_eq!((found.op.as_str(), found.scope.as_str()), ("recip", "second"));
    assert!(matches!(session.read::<f32>("y"), Err(RunError::NotRun { .. })));
}

/// A profile runs every step once.
pub fn profile(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let mut session = Session::new(&executable(device, SCALE), &arena).unwrap();
    let times = session.profile().unwrap();
    let steps: Vec<usize> = times.iter().map(|time| time.step).collect();
    assert_eq!(steps, (0..session.plan().steps.len()).collect::<Vec<_>>());
    assert_eq!(store.read::<f32>("n").unwrap(), [1.0; 3]);
}

/// What the caller lends is read and never written.
pub fn homes(device: &Arc<dyn Device>) {
    let (store, arena) = store(device);
    let lent = |values: &[f32]| Arc::new(bytemuck::cast_slice::<f32, u8>(values).to_vec()) as HostBytes;
    let ty = TensorType::f32([3]);
    store.lend("w", Role::Weight, &ty, &lent(&[1.0, 2.0, 3.0])).unwrap();
    assert!(store.lend("w", Role::Weight, &ty, &lent(&[1.0; 3])).is_err(), "the name is taken");
    assert!(store.lend("v", Role::Weight, &ty, &lent(&[1.0; 2])).is_err(), "too short");
    assert!(matches!(store.info("w").unwrap().home, Home::Lent));
    let scale = executable(device, SCALE);
    let mut session = Session::new(&scale, &arena).unwrap();
    session.write("x", &[1.0_f32; 3]).unwrap();
    session.run().unwrap();
    assert_eq!(session.read::<f32>("y").unwrap(), [1.0, 2.0, 3.0]);
    assert!(matches!(store.write("w", &[0.0_f32; 3]), Err(RunError::ReadOnly { .. })));
    store.clear("").unwrap();
    assert_eq!(store.read::<f32>("w").unwrap(), [1.0, 2.0, 3.0]);
    // A plan that updates it is refused where it is bound, and adds nothing.
    let (store, arena) = self::store(device);
    store.lend("n", Role::State, &ty, &lent(&[0.0; 3])).unwrap();
    let error = Session::new(&scale, &arena).unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("`n` is lent") && shown.contains("affine") && shown.contains("a.b"), "{shown}");
    assert_eq!(store.tensors().len(), 1);
}

/// More than the budget is refused with both numbers, what is given back can be used again.
pub fn budgets(device: &dyn Fn(crate::Budget) -> Arc<dyn Device>) {
    let none = device(crate::Budget::new(0));
    let (empty, _) = store(&none);
    let error = empty.add("w", Role::Weight, &TensorType::f32([4])).unwrap_err();
    assert_eq!(error, RunError::OverBudget { need: 16, used: 0, limit: 0 });
    assert!(empty.tensors().is_empty());
    let budget = crate::Budget::new(4096);
    let (store, arena) = store(&device(budget.clone()));
    let session = Session::new(&executable(store.device(), SCALE), &arena).unwrap();
    let (inputs, tensors) = (12 + 8, 12 + 12);
    assert_eq!(budget.used(), inputs + tensors + arena.bytes());
    let large = |n: usize| {
        format!(
            "func @large {{\n  input %x \"z\": f32[2]\n  %0 = broadcast %x {{axes = [1], shape = [{n}, 2]}} : f32[{n}, 2]\n  %1 = affine %0 {{mul = 2.0, add = 0.0}} : f32[{n}, 2]\n return \"z\" = %1\n}}\n"
        )
    };
    let error = Session::new(&executable(store.device(), &large(2048)), &arena).unwrap_err();
    assert!(matches!(error, RunError::OverBudget { limit: 4096, .. }), "{error}");
    // The first one runs on, in the arena that could not grow.
    let mut session = session;
    session.run().unwrap();
    assert_eq!(session.read::<f32>("y").unwrap(), [0.0; 3]);
    assert_eq!(budget.used(), inputs + tensors + arena.bytes());
    drop(session);
    assert_eq!(budget.used(), tensors + arena.bytes());
    drop(arena);
    drop(store);
    assert_eq!(budget.used(), 0);
}

/// A small network whose training step has products, norms, a table and state.
fn network() -> Func {
    let source = r#"func @network {
  input  %ids "ids": i32[1, 6]
  input  %targets "targets": i32[6]
  weight %table "table": f32[7, 8]
  weight %g "g": f32[8]
  weight %w "w": f32[7, 8]
  model:
    %0 = embedding %table, %ids : f32[1, 6, 8]
    %1, %2 = rms_norm %0, %g {eps = 0.00001} : f32[1, 6, 8], f32[1, 6]
    %3 = linear %1, %w : f32[1, 6, 7]
    %4 = reshape %3 {shape = [6, 7]} : f32[6, 7]
    %5, %6, %7 = cross_entropy %4, %targets : f32[], f32[6], f32[6]
  return "loss" = %5
}
"#;
    text::parse(source).unwrap_or_else(|e| panic!("{e}"))
}

fn training_session(device: &Arc<dyn Device>) -> Session {
    let func = network();
    let params = ["table", "g", "w"].map(str::to_owned).to_vec();
    let spec = Training {
        groups: vec![Group { name: "all".to_owned(), params, weight_decay: 0.1 }],
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        clip_norm: Some(1.0),
        accumulate: 1,
    };
    let set = compile(&func, &Context::new(device.target(), Mode::Train(&spec))).unwrap();
    let store = Store::new(device).unwrap();
    let session =
        Session::new(&Executable::new(device, set.main.plan).unwrap(), &Arena::new(&store)).unwrap();
    for (at, tensor) in store.tensors().into_iter().filter(|tensor| tensor.role == Role::Weight).enumerate() {
        let value = |i: usize| ((i * 7919 + at * 31) % 1000) as f32 / 500.0 - 1.0;
        store.write(&tensor.name, &(0..tensor.ty.elements()).map(value).collect::<Vec<_>>()).unwrap();
    }
    session
}

fn train(session: &mut Session, steps: std::ops::Range<i32>) -> Vec<u32> {
    let mut losses = Vec::new();
    for step in steps {
        let ids: Vec<i32> = (0..6).map(|i| (i * 3 + step) % 7).collect();
        session.write("ids", &ids).unwrap();
        session.write("targets", &ids.iter().map(|id| (id + 1) % 7).collect::<Vec<_>>()).unwrap();
        let corrections = [0.9_f32, 0.99].map(|beta| (1.0 - beta.powi(step + 1)).recip());
        session.write("hyper.all", &[0.05, corrections[0], corrections[1]]).unwrap();
        session.run().unwrap();
        losses.push(session.read::<f32>("loss").unwrap()[0].to_bits());
    }
    losses
}

fn bytes_of(store: &Store) -> Vec<(String, Vec<u8>)> {
    store.tensors().into_iter().map(|t| (t.name.clone(), store.read_bytes(&t.name).unwrap())).collect()
}

/// Bits of the losses of a training run of some steps, and of everything it leaves in its store.
pub fn training_run(device: &Arc<dyn Device>) -> (Vec<u32>, Vec<(String, Vec<u8>)>) {
    let mut session = training_session(device);
    let losses = train(&mut session, 0..12);
    let loss = |bits: &u32| f32::from_bits(*bits);
    assert!(loss(losses.last().unwrap()) < 0.5 * loss(&losses[0]), "it learns: {losses:?}");
    (losses, bytes_of(session.store()))
}

/// A store that is written out and read into another goes on bit for bit.
pub fn saved_and_restored(device: &Arc<dyn Device>) {
    let mut whole = training_session(device);
    train(&mut whole, 0..3);
    let saved = bytes_of(whole.store());
    let expected = train(&mut whole, 3..6);
    let mut resumed = training_session(device);
    for (name, bytes) in &saved {
        resumed.store().write_bytes(name, bytes).unwrap();
    }
    assert_eq!(train(&mut resumed, 3..6), expected);
    assert_eq!(bytes_of(resumed.store()), bytes_of(whole.store()));
}

/// What was made for one device is refused by another, of the same kind even.
pub fn unlike_devices(device: &Arc<dyn Device>, other: &Arc<dyn Device>) {
    let (store, arena) = store(other);
    let error = Session::new(&executable(device, SCALE), &arena).unwrap_err();
    assert!(matches!(error, RunError::OtherDevice { .. }), "{error}");
    assert!(store.tensors().is_empty());
}
