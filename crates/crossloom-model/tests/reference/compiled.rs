//! The same models as plans of the CPU: logits, loss, gradients, and the graphs of the phases.

use std::collections::BTreeMap;

use crossloom_compiler::training::{Group, Training, hyper_input};
use crossloom_compiler::{Context, Mode, Plan, compile};
use crossloom_cpu::{CpuDevice, CpuTarget};
use crossloom_ir::{DType, Func, Param, Role, Tensor, TensorType};
use crossloom_model::{ModelGraph, Outputs, inputs};
use crossloom_runtime::{Arena, Executable, Session, Store};

use crate::fixture::assert_close;
use crate::model::{Case, number_type};
use crate::{IN_F32, each_case};

/// A plan in memory of its own.
struct Running {
    store: Store,
    session: Session,
}

impl Running {
    fn new(plan: Plan) -> Self {
        let device = CpuDevice::shared();
        let store = Store::new(&device).unwrap();
        let session = Session::new(&Executable::new(&device, plan).unwrap(), &Arena::new(&store)).unwrap();
        Self { store, session }
    }

    /// A plan that computes what a function does.
    fn forward(func: &Func) -> Self {
        let cx = Context { verify: true, ..Context::new(&CpuTarget, Mode::Forward) };
        Self::new(compile(func, &cx).unwrap_or_else(|e| panic!("{e}")).main.plan)
    }

    /// Gives every parameter of the plan's function its value, and runs it.
    fn run(&mut self, value: impl Fn(&Func, &Param) -> Tensor<f64>) {
        let func = self.session.plan().func.clone();
        for param in func.params() {
            let (data, dtype) = (value(&func, param).data, func.dtype(param.value));
            let singles: Vec<f32> = data.iter().map(|&x| x as f32).collect();
            let whole: Vec<i32> = data.iter().map(|&x| x as i32).collect();
            match (param.role, dtype) {
                (Role::Input, DType::I32) => self.session.write(&param.name, &whole).unwrap(),
                (Role::Input, _) => self.session.write(&param.name, &singles).unwrap(),
                (_, DType::I32) => self.store.write(&param.name, &whole).unwrap(),
                _ => self.store.write(&param.name, &singles).unwrap(),
            }
        }
        self.session.run().unwrap();
    }

    /// A tensor that the store holds.
    fn held(&self, name: &str, ty: &TensorType) -> Tensor<f32> {
        let data = match ty.dtype {
            DType::I32 => self.store.read::<i32>(name).unwrap().into_iter().map(|x| x as f32).collect(),
            _ => self.store.read::<f32>(name).unwrap(),
        };
        Tensor::new(&ty.shape[..], data).unwrap()
    }

    /// A result.
    fn result(&mut self, name: &str, ty: &TensorType) -> Tensor<f32> {
        let data = match ty.dtype {
            DType::I32 => self.session.read::<i32>(name).unwrap().into_iter().map(|x| x as f32).collect(),
            _ => self.session.read::<f32>(name).unwrap(),
        };
        Tensor::new(&ty.shape[..], data).unwrap()
    }
}

/// Runs a graph of a phase as [`Case::interpreted`] does.
pub(crate) fn call(
    case: &Case,
    model: &ModelGraph,
    state: &mut BTreeMap<String, Tensor<f32>>,
    given: &BTreeMap<&'static str, Tensor<f64>>,
) -> BTreeMap<String, Tensor<f32>> {
    let func = model.graph.lift().unwrap();
    let mut running = Running::forward(&func);
    running.run(|func, p| match p.role {
        Role::Weight => case.fixture.weight(&p.name),
        Role::State => {
            state.get(&p.name).map_or_else(|| Tensor::splat(func.shape(p.value), 7.0), number_type)
        }
        Role::Input => given[p.name.as_str()].clone(),
    });
    let mut named = BTreeMap::new();
    for result in func.results() {
        let ty = func.ty(result.value);
        match &result.updates {
            Some(_) => state.insert(result.name.clone(), running.held(&result.name, ty)),
            None => named.insert(result.name.clone(), running.result(&result.name, ty)),
        };
    }
    named
}

#[test]
fn logits_of_a_plan_are_those_of_the_published_model() {
    each_case(|case| {
        let func = case.build(Outputs::Predictions).graph.lift().unwrap();
        let mut running = Running::forward(&func);
        running.run(|func, p| case.argument(func, p));
        let logits = func.results().iter().find(|result| result.name == "logits").unwrap();
        let logits = number_type::<f32, f64>(&running.result("logits", func.ty(logits.value)));
        let expected = case.tensor("logits");
        let logits = Tensor::new(&expected.shape[..], logits.data).unwrap();
        assert_close(&format!("{case}: logits of a plan"), &logits, expected, IN_F32);
    });
}

/// Gradients are what the first moments become, where nothing of the former ones stays and nothing is clipped.
#[test]
fn loss_and_gradients_of_a_plan_are_those_of_the_published_model() {
    each_case(|case| {
        let model = case.build(Outputs::Loss);
        let func = model.graph.lift().unwrap();
        let expected = case.fixture.gradients();
        let params: Vec<String> = expected.keys().cloned().collect();
        let groups = vec![Group { name: "all".to_owned(), params, weight_decay: 0.0 }];
        let spec = Training { groups, beta1: 0.0, beta2: 0.9, eps: 1e-8, clip_norm: None, accumulate: 1 };
        let cx = Context { verify: true, ..Context::new(&CpuTarget, Mode::Train(&spec)) };
        let set = compile(&func, &cx).unwrap_or_else(|e| panic!("{e}"));
        let mut running = Running::new(set.main.plan);
        running.run(|func, p| {
            let known = case.fixture.under("input.").contains_key(p.name.as_str())
                || p.name == inputs::POOL_MASK
                || model.params.iter().any(|param| param.name == p.name);
            if known {
                return case.argument(func, p);
            }
            if p.name == hyper_input("all") {
                // No step is taken.
                return Tensor::new([3], vec![0.0, 1.0, 1.0]).unwrap();
            }
            // Moments of before.
            Tensor::splat(func.shape(p.value), 0.0)
        });
        let loss = running.session.read::<f32>("loss").unwrap();
        let loss = Tensor::new([], vec![f64::from(loss[0])]).unwrap();
        assert_close(&format!("{case}: loss of a plan"), &loss, case.tensor("loss"), IN_F32);
        for (name, expected) in &expected {
            let held = running.held(&format!("optimizer.m.{name}"), &TensorType::f32(&expected.shape[..]));
            assert_close(
                &format!("{case}: gradient of {name} in a plan"),
                &number_type(&held),
                expected,
                IN_F32,
            );
        }
    });
}
