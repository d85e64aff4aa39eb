//! Sums that are made on the way: a launch that loads each element of a value anyhow adds them up besides.
//!
//! The gradient of a bias is the sum of a cotangent that the gradient of the weight reads too, over the same axes. As a
//! step of its own the sum reads all of it once more, in a launch or two that wait for others. So a lowering may ask
//! whether a later step sums one of its inputs (`Lower::sum_wanted`) and make the sum itself; that step then launches
//! nothing and belongs to the group of the one that asked, where checked runs and profiles find it.

use super::Built;
use crate::plan::fuse::{Base, Step};
use crate::tensor::{AnyLowering, DType, Layout, Slot, SumWanted};

/// What is summed, however its axes are cut: base, first element, and the runs of the axes that are left and of the
/// others.
type Summed = (Base, usize, [Vec<(usize, isize)>; 2]);

/// A step that only sums.
pub(super) struct Sum {
    step: usize,
    node: usize,
    summed: Summed,
    /// The step that makes it on its way.
    made_by: Option<usize>,
}

fn summed((base, layout): &(Base, Layout), axes: &[usize]) -> Summed {
    (*base, layout.offset, [false, true].map(|among| layout.runs(axes, among)))
}

impl Built<'_> {
    pub(super) fn sums_of(&self, steps: &[Step]) -> Vec<Sum> {
        let sum = |(step, of): (usize, &Step)| {
            let &Step::Kernel(node) = of else { return None };
            let AnyLowering::Sum(_, axes) = self.graph.nodes[node].op.lower() else { return None };
            let single = self.graph.nodes[node].metas[0].dtype == DType::F32
                && !self.program.halves.contains(&Base::Node(node, 0));
            let summed = summed(&self.program.inputs[&node][0], axes);
            single.then_some(Sum { step, node, summed, made_by: None })
        };
        steps.iter().enumerate().filter_map(sum).collect()
    }

    /// The sum of an input of the step that is being lowered.
    pub(super) fn sum_wanted(&self, input: &(Base, Layout), axes: &[usize]) -> Option<SumWanted> {
        let wanted = summed(input, axes);
        // A step that is lowered a second time makes its sums again.
        let free = |sum: &Sum| sum.step > self.step && sum.made_by.is_none_or(|by| by == self.step);
        self.sums.iter().position(|sum| free(sum) && sum.summed == wanted).map(SumWanted)
    }

    pub(super) fn make_sum(&mut self, SumWanted(k): SumWanted) -> Slot {
        let node = self.sums[k].node;
        self.sums[k].made_by = Some(self.step);
        let elements = self.graph.nodes[node].metas[0].shape.elements();
        self.slot_of(Base::Node(node, 0), elements, DType::F32)
    }

    /// Whether an earlier step has made what this one sums.
    pub(super) fn is_made(&self, step: usize) -> bool {
        self.sums.iter().any(|sum| sum.step == step && sum.made_by.is_some())
    }

    /// Moves the steps whose sums are made elsewhere into the groups that make them.
    pub(super) fn move_sums(&mut self) {
        let made_by = |by: usize| self.sums.iter().filter(move |sum| sum.made_by == Some(by)).map(|sum| sum.step);
        let mut order = Vec::new();
        let mut joined = Vec::new();
        for group in self.program.groups().into_iter().filter(|group| !self.is_made(group.start)) {
            let steps: Vec<usize> = group.clone().chain(group.flat_map(made_by)).collect();
            joined.extend((0..steps.len()).map(|k| k > 0));
            order.extend(steps);
        }
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(to, &from)| place[from] = to);
        let mut steps: Vec<Option<Step>> = std::mem::take(&mut self.program.steps).into_iter().map(Some).collect();
        self.program.steps = order.iter().map(|&from| steps[from].take().expect("each step is moved once")).collect();
        self.program.joined = joined;
        self.launches.iter_mut().for_each(|launch| launch.step = place[launch.step]);
    }
}
