//! Random views: what the lifted function computes is what luminal computes.

use crossloom_graph::lift;
use crossloom_graph::luminal::op::{Add, Contiguous, Exp2, Function, MaxReduce, Recip, SumReduce};
use crossloom_graph::luminal::prelude::{Graph, NodeIndex, ShapeTracker, Tensor};
use crossloom_ir::{Tensor as Dense, interp};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

#[derive(Clone, Debug)]
enum Step {
    Permute(u8),
    Repeat(u8, u8),
    Slice(u8, u8, u8),
    Pad(u8, u8, u8),
    Unary(bool),
    Contiguous,
    Sum(u8),
    Max(u8),
    Double,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        any::<u8>().prop_map(Step::Permute),
        (any::<u8>(), 1..3_u8).prop_map(|(at, extent)| Step::Repeat(at, extent)),
        (any::<u8>(), 0..2_u8, 0..2_u8).prop_map(|(axis, start, end)| Step::Slice(axis, start, end)),
        (any::<u8>(), 0..2_u8, 0..3_u8).prop_map(|(axis, before, after)| Step::Pad(axis, before, after)),
        any::<bool>().prop_map(Step::Unary),
        Just(Step::Contiguous),
        any::<u8>().prop_map(Step::Sum),
        any::<u8>().prop_map(Step::Max),
        Just(Step::Double),
    ];
    prop::collection::vec(step, 1..8)
}

struct Chain {
    graph: Graph,
    node: NodeIndex,
    view: ShapeTracker,
}

impl Chain {
    fn shape(&self) -> Vec<usize> {
        let extent = |&at: &usize| {
            let number = |e: &crossloom_graph::luminal::shape::symbolic::Expression| e.to_usize().unwrap();
            let (pad, slice) = (&self.view.padding[at], &self.view.slices[at]);
            (number(&self.view.dims[at]) + number(&pad.0) + number(&pad.1)).min(number(&slice.1))
                - number(&slice.0)
        };
        self.view.indexes.iter().map(extent).collect()
    }

    fn put(&mut self, node: NodeIndex, shape: &[usize]) {
        self.node = node;
        self.view = ShapeTracker::new(&shape.iter().map(|&extent| extent.into()).collect::<Vec<_>>());
    }

    fn step(&mut self, step: &Step) {
        let shape = self.shape();
        let axis = |at: u8| usize::from(at) % shape.len();
        let whole = |at: usize, view: &ShapeTracker| {
            let at = view.indexes[at];
            view.padding[at] == (0.into(), 0.into()) && view.slices[at] == (0.into(), i32::MAX.into())
        };
        match *step {
            Step::Permute(at) => {
                let mut axes: Vec<usize> = (0..shape.len()).collect();
                axes.rotate_left(axis(at));
                self.view.permute(&axes);
            }
            Step::Repeat(at, extent) if shape.len() < 4 => {
                self.view.expand(usize::from(at) % (shape.len() + 1), usize::from(extent).into());
            }
            Step::Slice(at, start, end)
                if usize::from(start + end) < shape[axis(at)] && whole(axis(at), &self.view) =>
            {
                let stop = shape[axis(at)] - usize::from(end);
                let at = self.view.indexes[axis(at)];
                self.view.slices[at] = (usize::from(start).into(), stop.into());
            }
            Step::Pad(at, before, after) if whole(axis(at), &self.view) => {
                let at = self.view.indexes[axis(at)];
                if !self.view.fake[at] {
                    self.view.padding[at] = (usize::from(before).into(), usize::from(after).into());
                }
            }
            Step::Unary(true) => self.node = self.graph.add_op(Exp2).input(self.node, 0, self.view).finish(),
            Step::Unary(false) => {
                self.node = self.graph.add_op(Recip).input(self.node, 0, self.view).finish();
            }
            Step::Contiguous => {
                let node = self.graph.add_op(Contiguous).input(self.node, 0, self.view).finish();
                self.put(node, &shape);
            }
            Step::Sum(at) | Step::Max(at) if shape.len() > 1 => {
                let axis = axis(at);
                let node = if matches!(step, Step::Sum(_)) {
                    self.graph.add_op(SumReduce(axis)).input(self.node, 0, self.view).finish()
                } else {
                    self.graph.add_op(MaxReduce(axis)).input(self.node, 0, self.view).finish()
                };
                let mut shape = shape;
                shape.remove(axis);
                self.put(node, &shape);
            }
            Step::Double => {
                let (node, view) = (self.node, self.view);
                let node = self.graph.add_op(Add).input(node, 0, view).input(node, 0, view).finish();
                self.put(node, &shape);
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lifted_views_show_what_luminal_shows(steps in steps(), shape in prop::collection::vec(1..4_usize, 1..4)) {
        let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| ((i * 7 + 3) % 11) as f32 / 4.0 + 0.5).collect();
        let mut graph = Graph::new();
        let values = data.clone();
        let load = Function("x Load".to_owned(), Box::new(move |_| vec![Tensor::new(values.clone())]));
        let node = graph.add_op(load).finish();
        let mut chain = Chain { graph, node, view: ShapeTracker::new(&[]) };
        chain.put(node, &shape);
        for step in &steps {
            chain.step(step);
        }
        chain.step(&Step::Contiguous);
        chain.graph.retrieve_tensors(chain.node);
        let lifted = match lift(&chain.graph, "f") {
            Ok(lifted) => lifted,
            // Views that luminal itself computes inconsistently are refused, and nothing else is.
            Err(errors) => {
                let text = errors.to_string();
                prop_assert!(text.contains("padded view") || text.contains("luminal miscounts"), "{}", text);
                return Ok(());
            }
        };
        chain.graph.execute();
        let expected = chain.graph.get_tensor_ref(chain.node, 0).unwrap();
        let expected = expected.data.as_any().downcast_ref::<Vec<f32>>().unwrap();
        let given = interp::run(&lifted.func, &[Dense::new(shape, data).unwrap()]).unwrap();
        prop_assert_eq!(given[0].data.len(), expected.len());
        for (x, y) in given[0].data.iter().zip(expected) {
            let same = (x - y).abs() <= 1e-4 * y.abs().max(1.0) || x == y || (x.is_nan() && y.is_nan());
            prop_assert!(same, "{} is not {}", x, y);
        }
    }
}
