//! The reference device: every op of the graph by itself, in double precision, nothing fused and nothing shared. It is
//! what the fused plans of the other devices are held against.

use std::sync::Arc;

use super::trace::{Graph, LeafKind, Source};
use crate::reference::{Array, Data, View, strides_of};
use crate::tensor::{Storage, Value};

pub(super) fn run(graph: &Graph, storages: &[Storage], scalars: &[u32]) -> Vec<(usize, Vec<Value>)> {
    let leaves: Vec<(Arc<Data<f64>>, usize)> = graph
        .leaves
        .iter()
        .zip(scalars)
        .map(|(leaf, &bits)| match leaf.kind {
            LeafKind::Scalar => (Arc::new(super::cpu::scalar_data(leaf.meta.dtype, bits)), 0),
            LeafKind::Stored { storage, offset } => match &storages[storage] {
                Storage::Reference(data) => (Arc::clone(data), offset),
                _ => unreachable!("a tensor's storage is of its device"),
            },
        })
        .collect();
    let mut last_use = vec![0; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for input in &node.inputs {
            if let Source::Node(j, _) = *input {
                last_use[j] = i;
            }
        }
    }
    let mut values: Vec<Vec<Arc<Data<f64>>>> = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let inputs: Vec<(Arc<Data<f64>>, usize)> = node
            .inputs
            .iter()
            .map(|input| match *input {
                Source::Leaf(l) => leaves[l].clone(),
                Source::Node(j, k) => (Arc::clone(&values[j][k]), 0),
            })
            .collect();
        let views: Vec<View<f64>> = inputs
            .iter()
            .zip(&node.input_metas)
            .map(|((data, offset), meta)| View {
                shape: &meta.shape,
                strides: strides_of(&meta.shape),
                offset: *offset,
                data,
            })
            .collect();
        let outputs = node.op.reference_f64(&views);
        values.push(outputs.into_iter().map(|Array { data, .. }| Arc::new(data)).collect());
        for input in &node.inputs {
            if let Source::Node(j, _) = *input
                && last_use[j] == i
                && !graph.nodes[j].kept
            {
                values[j].clear();
            }
        }
    }
    let kept = graph.nodes.iter().enumerate().filter(|(_, n)| n.kept);
    kept.map(|(i, _)| {
        let outputs = values[i].iter().map(|d| Value { storage: Storage::Reference(Arc::clone(d)), offset: 0 });
        (i, outputs.collect())
    })
    .collect()
}
